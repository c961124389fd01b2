use accrue_documents::{Invoice, Kind, Locale, RenderError, invoice_pdf};

use crate::{pages, samples::*, squeezed};

fn text_of(invoice: &Invoice) -> String {
    squeezed(&pages(&invoice_pdf(invoice).unwrap()).concat())
}

#[track_caller]
fn assert_shows(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(&squeezed(part)), "{part:?} is missing in {text}");
    }
}

#[test]
fn an_invoice_shows_who_what_when_and_how_much() {
    let pages = pages(&invoice_pdf(&open_invoice()).unwrap());

    assert_eq!(pages.len(), 1);
    assert_shows(
        &squeezed(&pages[0]),
        &[
            "Invoice number ACME-2026-0042",
            "Date of issue 1 Feb 2026",
            "Due date 15 Feb 2026",
            "Billing period 1 Jan 2026 – 31 Jan 2026",
            "Purchase order PO-4711",
            "Globex Manufacturing Ltd",
            "VAT ID IE 6388047V",
            "VAT ID DE 811 907 980",
            "Amount due EUR 899.98",
            "API requests 1 Jan 2026 – 31 Jan 2026 1,250,000 19% 422.50",
            "Next 900,000 900,000 0.0004 360",
            "Subtotal 887.00",
            "Discounts -88.70",
            "VAT 19% on 798.30 151.68",
            "Total EUR 949.98",
            "Credits applied -50.00",
            "IBAN DE89 3704 0044 0532 0130 00",
            "Managing director: Ada Weber",
            "Page 1 of 1",
        ],
    );
}

#[test]
fn what_has_no_tax_says_why_below_the_sums() {
    let words = "Steuerschuldnerschaft des Leistungsempfängers (Reverse charge).";
    let invoice = Invoice { taxes: vec![], tax_note: Some(words.into()), ..german_invoice() };

    assert_shows(&text_of(&invoice), &["Rabatte -88,70", words, "Gesamtbetrag"]);
    assert!(!text_of(&german_invoice()).contains(&squeezed("Reverse charge")));
}

#[test]
fn every_page_of_a_long_invoice_repeats_the_heads_of_the_columns_and_says_which_page_it_is() {
    let pages = pages(&invoice_pdf(&long_invoice()).unwrap());

    assert_eq!(pages.len(), 4);
    for (page, number) in pages.iter().zip(1..) {
        let head = "Description Quantity Unit price Tax Amount (EUR)";
        assert_shows(&squeezed(page), &[head, &format!("Page {number} of 4"), "ACME-2026-0042"]);
    }
    for number in 1..=60 {
        let names = [format!("volume{number}500"), format!("i-{number:04}"), format!("project{number}1")];
        let found = names.iter().filter(|name| squeezed(&pages.concat()).contains(*name)).count();
        assert_eq!(found, 1, "line {number}");
    }
}

#[test]
fn a_line_and_its_tiers_stay_on_one_page() {
    let pages = pages(&invoice_pdf(&long_invoice()).unwrap());

    for page in pages {
        assert_eq!(page.matches("API requests").count(), page.matches("Above 1,000,000").count());
    }
}

#[test]
fn the_sums_never_stand_on_a_page_without_a_line() {
    for count in 1..40 {
        let lines = long_invoice().lines.into_iter().take(count).collect();
        let pages = pages(&invoice_pdf(&Invoice { lines, ..open_invoice() }).unwrap());

        let with_sums = pages.iter().find(|page| page.contains("Subtotal")).unwrap();
        assert!(["volume", "i-00", "project"].iter().any(|line| with_sums.contains(line)), "{count} lines");
    }
}

#[test]
fn a_paid_invoice_shows_the_mark_with_its_date_and_asks_for_nothing() {
    let invoice = Invoice { paid_on: Some(on("2026-02-03")), ..open_invoice() };
    let text = text_of(&invoice);

    assert_shows(&text, &["PAID 3 Feb 2026"]);
    assert!(!text.contains("Payonline") && !text.contains("IBAN"), "{text}");
}

#[test]
fn a_void_invoice_shows_the_mark_with_its_date_and_asks_for_nothing() {
    let invoice = Invoice { voided_on: Some(on("2026-02-03")), ..open_invoice() };
    let text = text_of(&invoice);

    assert_shows(&text, &["VOID 3 Feb 2026"]);
    assert!(!text.contains("Payonline") && !text.contains("Amountdue"), "{text}");
}

#[test]
fn a_draft_says_so_and_needs_no_number() {
    let text = text_of(&Invoice { kind: Kind::Draft, number: None, ..open_invoice() });

    assert_shows(&text, &["Draft invoice", "DRAFT", "no payment is due"]);
    assert!(!text.contains("Invoicenumber"), "{text}");
}

#[test]
fn a_receipt_shows_what_was_paid_and_when() {
    assert_shows(
        &text_of(&receipt()),
        &["Receipt number ACME-R-2026-0007", "Date of payment 3 Feb 2026", "Amount paid EUR 899.98", "PAID"],
    );
}

#[test]
fn a_credit_note_shows_what_was_credited() {
    let text = text_of(&Invoice { kind: Kind::CreditNote, ..open_invoice() });
    assert_shows(&text, &["Credit note", "Total credited EUR 949.98"]);
}

#[test]
fn a_german_invoice_is_german_in_words_and_numbers() {
    assert_shows(
        &text_of(&german_invoice()),
        &[
            "Rechnung",
            "Rechnungsdatum 01.02.2026",
            "Zu zahlen 899,98 EUR",
            "1.250.000",
            "0,0004",
            "Seite 1 von 1",
        ],
    );
}

#[test]
fn yen_have_no_digits_after_the_point() {
    assert_shows(&text_of(&yen_invoice()), &["Amount due JPY 101,530", "Amount (JPY)", "on 92,300"]);
}

#[test]
fn every_kind_renders_in_every_locale() {
    for locale in Locale::ALL {
        for kind in [Kind::Invoice, Kind::Draft, Kind::CreditNote, Kind::Receipt] {
            let pdf = invoice_pdf(&Invoice { kind, locale, paid_on: None, ..open_invoice() });
            assert_eq!(pages(&pdf.unwrap()).len(), 1, "{kind:?} in {locale:?}");
        }
    }
}

#[test]
fn the_same_invoice_gives_the_same_bytes() {
    let first = invoice_pdf(&long_invoice()).unwrap();
    invoice_pdf(&german_invoice()).unwrap();
    assert!(first == invoice_pdf(&long_invoice()).unwrap());
}

#[test]
fn invoices_rendered_at_the_same_time_do_not_disturb_one_another() {
    let invoices = [open_invoice(), long_invoice(), german_invoice(), yen_invoice()];
    let alone = invoices.clone().map(|invoice| invoice_pdf(&invoice).unwrap());

    let together = std::thread::scope(|scope| {
        invoices
            .each_ref()
            .map(|invoice| scope.spawn(|| invoice_pdf(invoice).unwrap()))
            .map(|thread| thread.join().unwrap())
    });

    assert!(alone == together);
}

#[test]
fn the_metadata_names_document_author_and_date_and_claims_the_archival_standard() {
    let pdf = invoice_pdf(&open_invoice()).unwrap();
    let text = String::from_utf8_lossy(&pdf);

    for part in [
        "Invoice · ACME-2026-0042 · Acme Cloud GmbH",
        "<rdf:li>Acme Cloud GmbH</rdf:li>",
        "2026-02-01",
        "<pdfaid:part>3</pdfaid:part>",
    ] {
        assert!(text.contains(part), "{part:?} is missing");
    }
}

#[test]
fn an_amount_that_is_no_number_is_refused_by_name() {
    let invoice = Invoice { total: "12,50".into(), ..open_invoice() };
    assert_eq!(invoice_pdf(&invoice), Err(RenderError::Amount { field: "total" }));
}

#[test]
fn an_invoice_survives_its_json() {
    let json = serde_json::to_string(&long_invoice()).unwrap();
    assert_eq!(serde_json::from_str::<Invoice>(&json).unwrap(), long_invoice());
}
