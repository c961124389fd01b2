//! What of an invoice is printed where, and how it is written. Pure.

use accrue_core::{
    calendar::{self, local_date},
    decimal::Number,
    exact::Exact,
    money::Money,
    price::TierCharge,
    proration::Fraction,
};
use accrue_documents::{self as printed, Detail, Kind, Locale, Party, Reference, TaxTotal};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;
use rust_decimal::Decimal;

use super::{Margin, Sort, tax_ids};
use crate::{
    invoices::model::{Invoice, InvoiceStatus, Line, PartyCopy, TaxRow},
    subscriptions::Collection,
};

/// Dates are the issuer's, periods are in the zone in which they begin and end.
pub(super) fn document(invoice: &Invoice, margin: Margin, sort: Sort) -> printed::Invoice {
    let zone = invoice.issuer.zone();
    let on = |at: DateTime<Utc>| local_date(at, zone);
    let paper =
        Paper { locale: locale(invoice), zone: invoice.customer.zone(), digits: invoice.currency.digits() };
    let issued_on = on(invoice.issued_at.unwrap_or(invoice.created_at));
    // What is paid is not due.
    let due_on = invoice.due_at.filter(|_| sort == Sort::Invoice).map(on);
    printed::Invoice {
        kind: match sort {
            Sort::Receipt => Kind::Receipt,
            Sort::Invoice if invoice.status == InvoiceStatus::Draft => Kind::Draft,
            Sort::Invoice => Kind::Invoice,
        },
        locale: paper.locale,
        number: invoice.number.clone(),
        issued_on,
        due_on,
        paid_on: invoice.paid_at.map(on),
        voided_on: invoice.voided_at.map(on),
        period: paper.common_period(&invoice.lines),
        issuer: paper.party(&invoice.issuer),
        customer: paper.party(&invoice.customer),
        references: [
            margin.replaces.map(|number| paper.replaces(number)),
            invoice.made_for.as_ref().map(|child| paper.made_for(child.name.clone())),
            due_on.map(|due_on| paper.terms(invoice.collection, issued_on, due_on)),
        ]
        .into_iter()
        .flatten()
        .collect(),
        currency: invoice.currency.code().to_owned(),
        lines: invoice.lines.iter().map(|line| paper.line(line)).collect(),
        subtotal: invoice.subtotal.to_string(),
        discount_total: positive(invoice.discount_total),
        taxes: invoice.taxes.iter().map(|tax| paper.tax_total(tax, invoice)).collect(),
        tax_note: invoice.exemption_note().map(str::to_owned),
        total: invoice.total.to_string(),
        credits_applied: positive(credits(invoice)),
        previous_balance: invoice.balance_applied.checked_neg().ok().and_then(positive),
        amount_paid: invoice.amount_paid.to_string(),
        amount_due: invoice.amount_due().to_string(),
        payment_instructions: None,
        payment_url: None,
        notes: margin.notes,
        footer: invoice.letterhead.footer.clone(),
        logo: margin.logo,
        color: invoice.letterhead.color.clone(),
    }
}

/// The language of a document, the zone of its periods, and the digits of its currency.
#[derive(Clone, Copy)]
struct Paper {
    locale: Locale,
    zone: Tz,
    digits: u32,
}

impl Paper {
    /// Half-open periods are printed with their last day.
    fn period(self, period: calendar::Period) -> printed::Period {
        let last = period.end - TimeDelta::microseconds(1);
        printed::Period {
            first_on: local_date(period.start, self.zone),
            last_on: local_date(last, self.zone),
        }
    }

    /// The period of all lines, if they have the same.
    fn common_period(self, lines: &[Line]) -> Option<printed::Period> {
        let first = lines.first()?.period;
        lines.iter().all(|line| line.period == first).then(|| self.period(first))
    }

    fn line(self, line: &Line) -> printed::Line {
        let rates: Vec<String> = line.taxes.iter().map(|row| self.percent(row.tax.rate)).collect();
        printed::Line {
            description: line.description.clone(),
            period: Some(self.period(line.period)),
            quantity: Some(plain(line.quantity)),
            unit_price: unit_price(line).map(|price| self.money(price)),
            tax: (!rates.is_empty()).then(|| rates.join(" + ")),
            amount: line.amount.to_string(),
            details: self.details(line),
        }
    }

    /// Tiers, where there is more to say than quantity times unit price; then the proration.
    fn details(self, line: &Line) -> Vec<Detail> {
        let mut details = Vec::new();
        // What continues or corrects a bill is only a part of what its tiers come to.
        if line.adjustment == 0
            && unit_price(line).is_none()
            && line.tiers.iter().any(|tier| !tier.unit_price.is_zero())
        {
            let mut above = None;
            for tier in &line.tiers {
                details.extend(self.tier(tier, above));
                above = tier.up_to;
            }
        }
        details.extend(line.proration.map(|part| self.proration(line, part)));
        details
    }

    /// Its units, and its flat fee if there is one.
    fn tier(self, tier: &TierCharge, above: Option<Number>) -> Vec<Detail> {
        let above = above.map(|bound| format!("> {}", self.number(bound.0)));
        let up_to = tier.up_to.map(|bound| format!("≤ {}", self.number(bound.0)));
        let bounds: Vec<String> = [above, up_to].into_iter().flatten().collect();
        let row = |quantity: Decimal, unit_price: Decimal, amount: Option<Decimal>| Detail {
            description: bounds.join(", "),
            quantity: Some(plain(quantity)),
            unit_price: Some(self.money(unit_price)),
            amount: amount.map(|amount| self.money(amount)),
        };
        let [quantity, unit_price, fee] = [&tier.quantity, &tier.unit_price, &tier.flat_fee].map(kept);
        let units = row(quantity, unit_price, Some(kept(&(&tier.amount - &tier.flat_fee))));
        let fee = (!fee.is_zero()).then(|| row(Decimal::ONE, fee, Some(fee)));
        std::iter::once(units).chain(fee).collect()
    }

    /// `199 × 22/31`: the line's amount is what that comes to.
    fn proration(self, line: &Line, part: Fraction) -> Detail {
        let whole = kept(&line.tiers.iter().map(|tier| &tier.amount).sum());
        let Fraction { numerator, denominator } = part;
        let description = format!("{} × {numerator}/{denominator}", self.written(self.money(whole)));
        Detail { description, ..Detail::default() }
    }

    fn tax_total(self, row: &TaxRow, invoice: &Invoice) -> TaxTotal {
        let TaxRow { tax, base_minor, amount_minor } = row;
        let money = |minor| Money::from_minor(minor, invoice.currency).to_string();
        let label = format!("{} {}", tax.name, self.percent(tax.rate));
        let included = tax.inclusive.then(|| self.included().to_owned());
        let more: Vec<String> = tax.jurisdiction.iter().cloned().chain(included).collect();
        TaxTotal {
            label: if more.is_empty() { label } else { format!("{label} ({})", more.join(", ")) },
            base: money(*base_minor),
            amount: money(*amount_minor),
        }
    }

    /// What is said of a tax that the amounts contain.
    fn included(self) -> &'static str {
        match self.locale {
            Locale::En => "included",
            Locale::De => "enthalten",
            Locale::Fr => "incluse",
            Locale::Es => "incluido",
            Locale::Ja => "内税",
        }
    }

    fn percent(self, rate: Decimal) -> String {
        let number = self.number(rate);
        match self.locale {
            Locale::En | Locale::Ja => format!("{number}%"),
            Locale::De | Locale::Fr | Locale::Es => format!("{number}\u{a0}%"),
        }
    }

    fn number(self, number: Decimal) -> String {
        self.written(plain(number))
    }

    fn written(self, plain: String) -> String {
        self.locale.number(&plain).unwrap_or(plain)
    }

    /// At least the digits of the currency, and all that a unit price has.
    fn money(self, amount: Decimal) -> String {
        let mut amount = amount.normalize();
        if amount.scale() < self.digits {
            amount.rescale(self.digits);
        }
        amount.to_string()
    }

    fn party(self, copy: &PartyCopy) -> Party {
        Party {
            name: copy.name.clone(),
            address: copy.address.clone(),
            tax_ids: copy.tax_ids.iter().map(|id| tax_ids::named(id, self.locale)).collect(),
            email: copy.email.clone(),
        }
    }

    /// The void invoice in whose place it was issued.
    fn replaces(self, number: String) -> Reference {
        let label = match self.locale {
            Locale::En => "Replaces",
            Locale::De => "Ersetzt",
            Locale::Fr => "Remplace",
            Locale::Es => "Sustituye a",
            Locale::Ja => "差替元",
        };
        Reference { label: label.to_owned(), text: number }
    }

    /// The customer for whom another one pays.
    fn made_for(self, name: String) -> Reference {
        let label = match self.locale {
            Locale::En => "For",
            Locale::De => "Für",
            Locale::Fr => "Pour",
            Locale::Es => "Para",
            Locale::Ja => "ご利用者",
        };
        Reference { label: label.to_owned(), text: name }
    }

    /// When and how it is to be paid.
    fn terms(self, collection: Collection, issued_on: NaiveDate, due_on: NaiveDate) -> Reference {
        let days = (due_on - issued_on).num_days();
        let (label, automatic, net) = match self.locale {
            Locale::En | Locale::Ja => ("Payment terms", "charged automatically", format!("net {days} days")),
            Locale::De => ("Zahlungsbedingungen", "wird automatisch abgebucht", format!("{days} Tage netto")),
            Locale::Fr => ("Conditions de paiement", "prélevé automatiquement", format!("{days} jours nets")),
            Locale::Es => ("Condiciones de pago", "se cobra automáticamente", format!("{days} días netos")),
        };
        let text = match collection {
            Collection::Automatic => automatic.to_owned(),
            Collection::SendInvoice => net,
        };
        Reference { label: label.to_owned(), text }
    }
}

/// The one price of every unit, if that and the quantity make the whole price.
fn unit_price(line: &Line) -> Option<Decimal> {
    let only = match line.tiers.as_slice() {
        [tier] if tier.flat_fee.is_zero() && kept(&tier.quantity) == line.quantity => {
            Some(kept(&tier.unit_price))
        }
        _ => None,
    };
    line.unit_price.or(only)
}

/// As a line keeps its own numbers.
fn kept(number: &Exact) -> Decimal {
    number.to_decimal().expect("what a line tells has at most 28 digits")
}

/// Bare digits: the document writes them in its locale's way.
fn plain(number: Decimal) -> String {
    number.normalize().to_string()
}

/// What credit notes paid, of this invoice or of earlier ones.
fn credits(invoice: &Invoice) -> Money {
    let paid = positive_part(invoice.balance_applied);
    let credits = invoice.credits_applied.checked_add(invoice.offset_total);
    credits.and_then(|credits| credits.checked_add(paid)).expect("no more than the total")
}

fn positive_part(amount: Money) -> Money {
    if amount.is_negative() { Money::zero(amount.currency()) } else { amount }
}

fn positive(amount: Money) -> Option<String> {
    (amount.minor() > 0).then(|| amount.to_string())
}

/// The customer's language, or English.
fn locale(invoice: &Invoice) -> Locale {
    let language = invoice.customer.language();
    Locale::ALL.into_iter().find(|locale| locale.code() == language).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use accrue_core::tax_id::{TaxId, TaxIdKind};

    use super::*;
    use crate::{
        customers::Exemption,
        invoices::{
            model::Letterhead,
            samples::{at, open_invoice, period},
        },
    };

    fn tier(up_to: Option<&str>, quantity: &str, unit_price: &str, flat_fee: &str) -> TierCharge {
        let number = |text: &str| Number(text.parse().unwrap());
        let amount = number(quantity).0 * number(unit_price).0 + number(flat_fee).0;
        TierCharge {
            up_to: up_to.map(number),
            quantity: number(quantity).into(),
            unit_price: number(unit_price).into(),
            flat_fee: number(flat_fee).into(),
            amount: amount.into(),
        }
    }

    #[test]
    fn a_period_is_printed_with_its_last_day_in_the_zone_it_ends_in() {
        let mut invoice = open_invoice("119.00");
        assert_eq!(
            document(&invoice, Margin::default(), Sort::Invoice).period,
            Some(printed::Period {
                first_on: "2026-01-01".parse().unwrap(),
                last_on: "2026-01-31".parse().unwrap(),
            })
        );
        // Midnight in New York.
        invoice.customer.timezone = Some("America/New_York".into());
        invoice.lines[0].period = accrue_core::calendar::Period {
            start: at("2026-03-01T05:00:00Z"),
            end: at("2026-04-01T04:00:00Z"),
        };
        let line = &document(&invoice, Margin::default(), Sort::Invoice).lines[0];
        assert_eq!(line.period.unwrap().last_on, "2026-03-31".parse().unwrap());
    }

    #[test]
    fn what_replaces_another_invoice_names_it() {
        let mut invoice = open_invoice("119.00");
        invoice.customer.locale = Some("de".into());
        let margin = Margin { replaces: Some("INV-000007".into()), ..Margin::default() };
        let printed = document(&invoice, margin, Sort::Invoice);
        let named = Reference { label: "Ersetzt".into(), text: "INV-000007".into() };
        assert_eq!(printed.references.first(), Some(&named));
        assert_eq!(document(&invoice, Margin::default(), Sort::Invoice).references.len(), 1);
    }

    #[test]
    fn lines_of_several_periods_leave_the_heads_period_out() {
        let mut invoice = open_invoice("119.00");
        let mut second = invoice.lines[0].clone();
        second.period = period("2026-02-01", "2026-03-01");
        invoice.lines.push(second);
        assert_eq!(document(&invoice, Margin::default(), Sort::Invoice).period, None);
    }

    #[test]
    fn dates_are_those_of_the_issuers_calendar() {
        let mut invoice = open_invoice("119.00");
        invoice.issuer.timezone = Some("Asia/Tokyo".into());
        invoice.issued_at = Some(at("2026-01-31T15:00:00Z"));
        assert_eq!(
            document(&invoice, Margin::default(), Sort::Invoice).issued_on,
            "2026-02-01".parse().unwrap()
        );
    }

    #[test]
    fn tiers_are_details_whose_amounts_add_up() {
        let mut invoice = open_invoice("119.00");
        let line = &mut invoice.lines[0];
        line.unit_price = None;
        line.quantity = 1500.into();
        line.tiers = vec![tier(Some("1000"), "1000", "0", "5"), tier(None, "500", "0.0125", "2.5")];

        let details = document(&invoice, Margin::default(), Sort::Invoice).lines[0].details.clone();
        let rows: Vec<_> = details
            .iter()
            .map(|row| {
                [Some(&row.description), row.quantity.as_ref(), row.unit_price.as_ref(), row.amount.as_ref()]
            })
            .map(|cells| cells.map(|cell| cell.map_or("", String::as_str)).join(" | "))
            .collect();
        assert_eq!(
            rows,
            [
                "≤ 1,000 | 1000 | 0.00 | 0.00",
                "≤ 1,000 | 1 | 5.00 | 5.00",
                "> 1,000 | 500 | 0.0125 | 6.25",
                "> 1,000 | 1 | 2.50 | 2.50"
            ]
        );
    }

    #[test]
    fn a_prorated_line_says_of_what_it_is_which_part() {
        let mut invoice = open_invoice("119.00");
        invoice.customer.locale = Some("de-AT".into());
        let line = &mut invoice.lines[0];
        line.unit_price = Some(1999.into());
        line.tiers = vec![tier(None, "1", "1999", "0")];
        line.proration = Some(Fraction { numerator: 22, denominator: 31 });
        assert_eq!(
            document(&invoice, Margin::default(), Sort::Invoice).lines[0].details[0].description,
            "1.999,00 × 22/31"
        );
    }

    #[test]
    fn a_receipt_is_headed_so_and_tax_numbers_say_what_they_are() {
        let mut invoice = open_invoice("119.00");
        let id = |kind, value: &str| TaxId { kind, value: value.into() };
        invoice.issuer.tax_ids =
            vec![id(TaxIdKind::EuVat, "IE1234567T"), id(TaxIdKind::Other, "27/123/45678")];
        let printed = document(&invoice, Margin::default(), Sort::Receipt);
        assert_eq!(printed.kind, Kind::Receipt);
        assert_eq!(printed.issuer.tax_ids, ["VAT ID IE1234567T", "Tax number 27/123/45678"]);
        assert_eq!(document(&invoice, Margin::default(), Sort::Invoice).kind, Kind::Invoice);
    }

    #[test]
    fn what_has_no_tax_says_why_in_the_customers_language() {
        let mut invoice = open_invoice("119.00");
        assert_eq!(document(&invoice, Margin::default(), Sort::Invoice).tax_note, None);
        let mut notes = Vec::new();
        for exemption in [Exemption::Exempt, Exemption::ReverseCharge] {
            for locale in [None, Some("de-AT"), Some("fr"), Some("es"), Some("ja"), Some("pt-BR")] {
                (invoice.exemption, invoice.customer.locale) = (exemption, locale.map(str::to_owned));
                notes.extend(document(&invoice, Margin::default(), Sort::Invoice).tax_note);
            }
        }
        insta::assert_snapshot!(notes.join("\n"), @r"
        Exempt from tax.
        Steuerfreie Leistung.
        Opération exonérée de taxe.
        Operación exenta de impuestos.
        非課税取引 (Exempt from tax).
        Exempt from tax.
        Reverse charge: the tax is owed by the customer.
        Steuerschuldnerschaft des Leistungsempfängers (Reverse charge).
        Autoliquidation : la taxe est due par le preneur (Reverse charge).
        Inversión del sujeto pasivo: el impuesto lo debe el destinatario (Reverse charge).
        リバースチャージ方式の対象 (Reverse charge).
        Reverse charge: the tax is owed by the customer.
        ");
    }

    /// A picture of one pixel.
    const DOT: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0:~\x9bU\0\0\0\nIDATx\x9cc`\0\0\0\x02\0\x01H\xaf\xa4q\0\0\0\0IEND\xaeB`\x82";

    #[test]
    fn a_line_names_all_its_rates_and_the_sums_say_whose_they_are_and_which_are_included() {
        let mut invoice = open_invoice("119.00");
        let mut second = invoice.lines[0].taxes[0].clone();
        second.tax.rate = "9.975".parse().unwrap();
        second.tax.jurisdiction = Some("Québec".into());
        invoice.lines[0].taxes.push(second.clone());
        second.tax.inclusive = true;
        invoice.taxes.push(second);
        let labels = |invoice: &Invoice| {
            let printed = document(invoice, Margin::default(), Sort::Invoice);
            let sums = printed.taxes.iter().map(|tax| tax.label.clone());
            [printed.lines[0].tax.clone().unwrap()].into_iter().chain(sums).collect::<Vec<_>>()
        };
        assert_eq!(labels(&invoice), ["19% + 9.975%", "VAT 19%", "VAT 9.975% (Québec, included)"]);
        invoice.customer.locale = Some("fr".into());
        assert_eq!(labels(&invoice)[2], "VAT 9,975\u{a0}% (Québec, incluse)");
    }

    #[test]
    fn every_state_of_an_invoice_prints() {
        let margin = Margin { logo: Some(DOT.to_vec()), ..Margin::default() };
        let letterhead = Letterhead {
            footer: Some("Court of Somewhere".into()),
            color: Some("#1f4fd8".into()),
            logo: None,
        };
        let open = Invoice { letterhead, ..open_invoice("119.00") };
        let mut paid = open.clone();
        paid.pay(paid.total, at("2026-02-02T00:00:00Z")).unwrap();
        let mut void = open.clone();
        void.void(at("2026-02-02T00:00:00Z")).unwrap();
        assert_eq!(
            document(&paid, Margin::default(), Sort::Invoice).paid_on,
            Some("2026-02-02".parse().unwrap())
        );
        let exempt = Invoice { exemption: Exemption::ReverseCharge, taxes: vec![], ..open.clone() };
        for invoice in [open, paid, void, exempt] {
            let pdf = super::super::render(&invoice, margin.clone(), Sort::Invoice).unwrap();
            assert!(pdf.starts_with(b"%PDF-"), "{}", invoice.status);
        }
    }
}
