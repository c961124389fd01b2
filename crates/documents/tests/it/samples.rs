//! Invoices as they occur.

use accrue_documents::{Detail, Invoice, Kind, Line, Locale, Party, Period, Reference, TaxTotal};
use chrono::NaiveDate;

pub(crate) fn on(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

pub(crate) fn january() -> Period {
    Period { first_on: on("2026-01-01"), last_on: on("2026-01-31") }
}

fn texts<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

fn charge(description: &str, quantity: &str, unit_price: &str, amount: &str) -> Line {
    Line {
        description: description.to_owned(),
        period: Some(january()),
        quantity: Some(quantity.into()),
        unit_price: Some(unit_price.into()),
        tax: Some("19%".into()),
        amount: amount.to_owned(),
        details: vec![],
    }
}

fn tier(description: &str, quantity: &str, unit_price: &str, amount: &str) -> Detail {
    Detail {
        description: description.to_owned(),
        quantity: Some(quantity.into()),
        unit_price: Some(unit_price.into()),
        amount: Some(amount.into()),
    }
}

/// One page: a fixed fee, seats, and usage in three tiers, with a discount and one rate of tax.
pub(crate) fn open_invoice() -> Invoice {
    let usage = Line {
        quantity: Some("1250000".into()),
        unit_price: None,
        details: vec![
            tier("First 100,000", "100000", "0", "0"),
            tier("Next 900,000", "900000", "0.0004", "360"),
            tier("Above 1,000,000", "250000", "0.00025", "62.5"),
        ],
        ..charge("API requests", "", "", "422.50")
    };
    Invoice {
        kind: Kind::Invoice,
        locale: Locale::En,
        number: Some("ACME-2026-0042".into()),
        issued_on: on("2026-02-01"),
        due_on: Some(on("2026-02-15")),
        paid_on: None,
        voided_on: None,
        period: Some(january()),
        issuer: Party {
            name: "Acme Cloud GmbH".into(),
            address: texts(["Torstraße 140", "10119 Berlin", "Germany"]),
            tax_ids: texts(["VAT ID DE 811 907 980"]),
            email: Some("billing@acme-cloud.example".into()),
        },
        customer: Party {
            name: "Globex Manufacturing Ltd".into(),
            address: texts(["Accounts Payable", "12 Harbour Street", "Dublin D02 X285", "Ireland"]),
            tax_ids: texts(["VAT ID IE 6388047V"]),
            email: Some("ap@globex.example".into()),
        },
        references: vec![Reference { label: "Purchase order".into(), text: "PO-4711".into() }],
        currency: "EUR".into(),
        lines: vec![
            charge("Team plan", "1", "199.00", "199.00"),
            charge("Seats", "25", "12.00", "300.00"),
            usage,
            Line {
                tax: Some("19%".into()),
                ..charge("Credit for unused time on Starter plan", "1", "-34.50", "-34.50")
            },
        ],
        subtotal: "887.00".into(),
        discount_total: Some("88.70".into()),
        taxes: vec![TaxTotal { label: "VAT 19%".into(), base: "798.30".into(), amount: "151.68".into() }],
        tax_note: None,
        total: "949.98".into(),
        credits_applied: Some("50.00".into()),
        amount_paid: "0.00".into(),
        amount_due: "899.98".into(),
        payment_instructions: Some("Bank transfer to Acme Cloud GmbH\nIBAN DE89 3704 0044 0532 0130 00 · BIC COBADEFFXXX\nReference ACME-2026-0042".into()),
        payment_url: Some("https://billing.acme-cloud.example/i/8fK2mQ7vN4xR1tY6wZ3b".into()),
        notes: Some("Thank you for your business. Questions about this invoice? Write to billing@acme-cloud.example.".into()),
        footer: Some("Acme Cloud GmbH · Torstraße 140 · 10119 Berlin · Managing director: Ada Weber\nAmtsgericht Charlottenburg HRB 123456 B · VAT ID DE 811 907 980".into()),
        previous_balance: None,
        logo: None,
        color: None,
    }
}

/// Several pages: 60 lines of three kinds, paid.
pub(crate) fn long_invoice() -> Invoice {
    let sample = open_invoice();
    let lines = (1..=60)
        .map(|number| match number % 6 {
            0 => Line { description: format!("API requests, project {number}"), ..sample.lines[2].clone() },
            3 => Line {
                description: format!("Virtual machine c6.large, eu-central-1, instance i-{number:04}, on demand, billed by the second"),
                ..charge("", "744", "0.0912", "67.85")
            },
            _ => Line { period: None, ..charge(&format!("Block storage, volume {number}"), "500 GB", "0.08", "40.00") },
        })
        .collect();
    Invoice {
        lines,
        paid_on: Some(on("2026-02-03")),
        subtotal: "6503.50".into(),
        discount_total: None,
        taxes: vec![
            TaxTotal { label: "VAT 19%".into(), base: "6003.50".into(), amount: "1140.67".into() },
            TaxTotal { label: "VAT 7%".into(), base: "500.00".into(), amount: "35.00".into() },
        ],
        total: "7679.17".into(),
        credits_applied: None,
        amount_paid: "7679.17".into(),
        amount_due: "0.00".into(),
        payment_instructions: None,
        payment_url: None,
        ..sample
    }
}

/// In a currency without minor units.
pub(crate) fn yen_invoice() -> Invoice {
    Invoice {
        locale: Locale::Ja,
        currency: "JPY".into(),
        customer: Party {
            name: "株式会社サンプル".into(),
            address: texts(["〒100-0005", "東京都千代田区丸の内1-1-1"]),
            tax_ids: texts(["T1234567890123"]),
            email: Some("keiri@sample.example".into()),
        },
        lines: vec![
            Line { tax: Some("10%".into()), ..charge("Team plan", "1", "29800", "29800") },
            Line { tax: Some("10%".into()), ..charge("APIリクエスト", "1250000", "0.05", "62500") },
        ],
        subtotal: "92300".into(),
        discount_total: None,
        taxes: vec![TaxTotal { label: "消費税 10%".into(), base: "92300".into(), amount: "9230".into() }],
        total: "101530".into(),
        credits_applied: None,
        amount_paid: "0".into(),
        amount_due: "101530".into(),
        payment_instructions: None,
        ..open_invoice()
    }
}

/// In German throughout.
pub(crate) fn german_invoice() -> Invoice {
    let sample = open_invoice();
    let mut lines = sample.lines.clone();
    lines[0].description = "Team-Tarif".into();
    lines[1].description = "Nutzerplätze".into();
    lines[2].description = "API-Anfragen".into();
    lines[3].description = "Gutschrift für ungenutzte Zeit im Starter-Tarif".into();
    for (detail, description) in
        lines[2].details.iter_mut().zip(["Erste 100.000", "Nächste 900.000", "Über 1.000.000"])
    {
        detail.description = description.into();
    }
    Invoice {
        locale: Locale::De,
        lines,
        references: vec![Reference { label: "Bestellnummer".into(), text: "PO-4711".into() }],
        taxes: vec![TaxTotal { label: "USt. 19 %".into(), base: "798.30".into(), amount: "151.68".into() }],
        payment_instructions: Some("Überweisung an Acme Cloud GmbH\nIBAN DE89 3704 0044 0532 0130 00\nVerwendungszweck ACME-2026-0042".into()),
        notes: Some("Vielen Dank für Ihren Auftrag.".into()),
        ..sample
    }
}

/// Proof of the payment of [`open_invoice`].
pub(crate) fn receipt() -> Invoice {
    Invoice {
        kind: Kind::Receipt,
        number: Some("ACME-R-2026-0007".into()),
        due_on: None,
        paid_on: Some(on("2026-02-03")),
        amount_paid: "899.98".into(),
        amount_due: "0.00".into(),
        references: vec![
            Reference { label: "Invoice".into(), text: "ACME-2026-0042".into() },
            Reference { label: "Payment method".into(), text: "Visa •••• 4242".into() },
        ],
        payment_instructions: None,
        payment_url: None,
        ..open_invoice()
    }
}
