//! Invoices and what they are made of, for unit tests.

use accrue_core::{
    calendar::Period,
    id::{CustomerId, InvoiceId, InvoiceLineId, PriceId, SubscriptionId, TenantId},
    invoice::TaxRounding,
    money::{Currency, Money},
};
use chrono::{DateTime, Utc};

use super::model::{Bucket, Invoice, InvoiceStatus, Letterhead, Line, PartyCopy, Reason, TaxCopy, TaxRow};
use crate::{customers::Exemption, subscriptions::Collection};

pub(super) fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

pub(super) fn usd(text: &str) -> Money {
    Money::parse(text, Currency::USD).unwrap()
}

/// `[start, end)`, each at midnight UTC.
pub(super) fn period(start: &str, end: &str) -> Period {
    Period::try_new(at(&format!("{start}T00:00:00Z")), at(&format!("{end}T00:00:00Z"))).unwrap()
}

/// 19 % on top of an amount.
pub(super) fn vat(base: Money, amount: Money) -> TaxRow {
    let tax = TaxCopy {
        code: "vat".into(),
        name: "VAT".into(),
        rate: 19.into(),
        inclusive: false,
        jurisdiction: None,
    };
    TaxRow { tax, base_minor: base.minor(), amount_minor: amount.minor() }
}

/// An open invoice of one line, whose total is 100 parts and 19 parts of tax.
pub(super) fn open_invoice(total: &str) -> Invoice {
    let now = at("2026-02-01T00:00:00Z");
    let id = uuid::Uuid::from_u128(7);
    let january = period("2026-01-01", "2026-02-01");
    let total = usd(total);
    let net = Money::from_minor(total.minor() * 100 / 119, Currency::USD);
    let tax = total.checked_sub(net).unwrap();
    Invoice {
        tenant_id: TenantId(id),
        id: InvoiceId(id),
        customer_id: CustomerId(id),
        made_for: None,
        test_clock_id: None,
        subscription_id: Some(SubscriptionId(id)),
        number: Some("INV-000001".into()),
        status: InvoiceStatus::Open,
        reason: Reason::Cycle,
        change: 0,
        collection: Collection::SendInvoice,
        currency: Currency::USD,
        period: january,
        lines: vec![Line {
            id: InvoiceLineId(id),
            subscription_id: Some(SubscriptionId(id)),
            price_id: Some(PriceId(id)),
            kind: "fixed".into(),
            description: "Team – Platform fee".into(),
            period: january,
            quantity: 1.into(),
            unit_price: Some(net.to_decimal()),
            exact_amount: net.to_decimal(),
            amount: net,
            taxable: net,
            tax,
            taxes: vec![vat(net, tax)],
            proration: None,
            tiers: vec![],
            adjustment: 0,
            bucket: Bucket::default(),
        }],
        subtotal: net,
        discount_total: usd("0"),
        tax_total: tax,
        total,
        credits_applied: usd("0"),
        balance_applied: usd("0"),
        balance_credited: usd("0"),
        offset_total: usd("0"),
        credited_total: usd("0"),
        amount_paid: usd("0"),
        issuer_id: None,
        issuer: PartyCopy { name: "Acme Cloud".into(), timezone: Some("UTC".into()), ..PartyCopy::default() },
        customer: PartyCopy { name: "Globex".into(), timezone: Some("UTC".into()), ..PartyCopy::default() },
        letterhead: Letterhead::default(),
        exemption: Exemption::None,
        tax_rounding: TaxRounding::Rate,
        taxes: vec![vat(net, tax)],
        issued_at: Some(now),
        due_at: Some(at("2026-03-03T00:00:00Z")),
        paid_at: None,
        voided_at: None,
        replaces: None,
        replaced_by: None,
        metadata: accrue_platform::check::Metadata::new(),
        created_at: now,
    }
}
