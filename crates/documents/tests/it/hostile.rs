use accrue_documents::{Detail, Invoice, Kind, Line, Party, Reference, RenderError, TaxTotal, invoice_pdf};

use crate::{pages, samples::open_invoice, squeezed};

/// An invoice that says `text` wherever a tenant or a customer can write.
fn everywhere(text: &str) -> Invoice {
    let some = || Some(text.to_owned());
    let party =
        || Party { name: text.into(), address: vec![text.into()], tax_ids: vec![text.into()], email: some() };
    let detail = || Detail { description: text.into(), quantity: some(), unit_price: some(), amount: some() };
    let line = || Line {
        description: text.into(),
        quantity: some(),
        unit_price: some(),
        tax: some(),
        amount: "1.00".into(),
        details: vec![detail(), detail()],
        period: None,
    };
    Invoice {
        number: some(),
        issuer: party(),
        customer: party(),
        references: vec![Reference { label: text.into(), text: text.into() }],
        lines: vec![line(), line()],
        taxes: vec![TaxTotal { label: text.into(), base: "1.00".into(), amount: "0.19".into() }],
        payment_instructions: some(),
        notes: some(),
        footer: some(),
        ..open_invoice()
    }
}

#[test]
fn markup_and_code_are_printed_and_not_run() {
    for text in [
        "#panic()",
        "#panic(\"x\")",
        "$x$",
        "$ sum_(i=0)^n x $",
        "*b*",
        "_i_",
        "@ref",
        "<label>",
        "= Heading",
        "- item",
        "`raw`",
        "\\u{41}",
        "C:\\n\\t\\\\",
        "#include \"/etc/passwd\"",
        "#sys.inputs",
        "]#{panic()}[",
        "\"; panic(); \"",
        "//comment",
        "/*comment*/",
        "{page}{pages}{base}{date}",
        "...---",
        "'quotes' \"too\"",
        "https://evil.example/#x",
        "%s%n<script>alert(1)</script>&amp;",
    ] {
        let pdf = invoice_pdf(&everywhere(text)).unwrap();
        let page = squeezed(&pages(&pdf).concat());
        // 29 places, of which a narrow column may break some and the foot may cut one off.
        let printed = page.matches(&squeezed(text)).count();
        assert!(printed >= 10, "{text:?} is printed {printed} times in {page}");
    }
}

#[test]
fn every_writing_system_renders_even_without_its_font() {
    for text in [
        "",
        " ",
        "\0\u{1}\u{7f}",
        "a\r\nb\rc\nd\u{2028}e\tf",
        "\r\n\r\n\r\n",
        "🙂👩‍👩‍👧‍👦🇩🇪",
        "שלום עולם",
        "مرحبا بالعالم 123",
        "\u{202e}desrever\u{202c}",
        "株式会社サンプル 東京都千代田区",
        "한국어 ภาษาไทย हिन्दी",
        "e\u{301}\u{301}\u{301}\u{301}\u{301}",
        "\u{feff}\u{200b}\u{ad}\u{fffe}\u{ffff}\u{10ffff}\u{e000}",
        "ﷺ𝕏𐍈",
    ] {
        let pdf = invoice_pdf(&everywhere(text)).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert!(pdf.starts_with(b"%PDF-1."), "{text:?}");
    }
}

#[test]
fn a_word_of_ten_thousand_letters_is_printed_whole_and_within_the_page() {
    let word = "x".repeat(10_000);
    let line = Line { description: word.clone(), amount: "1.00".into(), ..Line::default() };
    let pages = pages(&invoice_pdf(&Invoice { lines: vec![line], ..open_invoice() }).unwrap());

    let printed = pages.concat().matches('x').count();
    assert!(printed >= word.len(), "{printed} letters are printed");
    // A hundred letters fill a row and fifty rows a page: a word that ran off would need one page.
    assert!(pages.len() > 2, "on {} pages", pages.len());
}

#[test]
fn ten_thousand_letters_of_any_script_still_make_a_document() {
    for letter in ["x", "漢", "ש", "9", "🙂", "e\u{301}"] {
        let customer = Party { name: letter.repeat(10_000), ..Party::default() };
        let pdf = invoice_pdf(&Invoice { customer, ..everywhere(&letter.repeat(300)) }).unwrap();
        assert!(pdf.starts_with(b"%PDF-1."), "{letter}");
    }
}

#[test]
fn a_line_with_more_tiers_than_a_page_holds_goes_on_on_the_next() {
    let detail = |number| Detail { description: format!("Tier {number}"), ..Detail::default() };
    let line = Line { amount: "1.00".into(), details: (0..300).map(detail).collect(), ..Line::default() };
    let pages = pages(&invoice_pdf(&Invoice { lines: vec![line], ..open_invoice() }).unwrap());

    assert!(pages.len() > 3);
    assert_eq!(pages.concat().matches("Tier ").count(), 300);
}

#[test]
fn nothing_at_all_makes_a_document_too() {
    let zero = || "0.00".to_owned();
    let empty = Invoice {
        kind: Kind::Draft,
        number: None,
        due_on: None,
        period: None,
        issuer: Party::default(),
        customer: Party::default(),
        references: vec![],
        lines: vec![],
        subtotal: zero(),
        discount_total: None,
        taxes: vec![],
        total: zero(),
        credits_applied: None,
        amount_due: zero(),
        payment_instructions: None,
        payment_url: None,
        notes: None,
        footer: None,
        ..open_invoice()
    };
    assert_eq!(pages(&invoice_pdf(&empty).unwrap()).len(), 1);
}

#[test]
fn a_link_that_is_no_web_address_is_refused() {
    let invoice = Invoice { payment_url: Some("javascript:app.alert(1)".into()), ..open_invoice() };
    assert_eq!(invoice_pdf(&invoice), Err(RenderError::PaymentUrl));
}
