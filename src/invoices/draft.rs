//! From the charges of a turn to an invoice with all its sums. Pure.

use accrue_core::{
    calendar::Period,
    id::{CustomerId, InvoiceId, InvoiceLineId, IssuerId},
    invoice::{self as arithmetic, Input, LineInput, Totals, calculate},
    money::{Currency, Money},
};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use super::{
    model::{Bucket, Invoice, InvoiceStatus, Letterhead, Line, MadeFor, PartyCopy, Reason, TaxRow},
    rating::{Charge, Part, TRUE_UP},
};
use crate::{
    catalog::{PlanVersion, PriceKind},
    customers::Exemption,
    subscriptions::Subscription,
};

/// Letters of a property's value that a description shows.
const VALUE_MAX: usize = 60;

/// What a turn's invoice is made from, beside its charges.
pub(super) struct Basis<'a> {
    pub subscription: &'a Subscription,
    /// The plans that its charges are of.
    pub plans: Vec<&'a PlanVersion>,
    /// What the invoice is known by (P1).
    pub period: Period,
    pub reason: Reason,
    /// Of a change within a period: the how-manieth it is; else 0.
    pub change: i32,
    /// The tax that every line gets, if there is one.
    pub tax: Option<TaxRate>,
    /// Who is exempt pays none.
    pub exemption: Exemption,
    /// Who owes it, and for whom if not for themselves.
    pub payer: CustomerId,
    pub made_for: Option<MadeFor>,
    pub issuer_id: Option<IssuerId>,
    pub issuer: PartyCopy,
    pub customer: PartyCopy,
    pub letterhead: Letterhead,
}

/// A tax, as an invoice names it.
pub(super) struct TaxRate {
    pub name: String,
    /// 20 for 20 %.
    pub rate: Decimal,
}

/// The draft of a turn's invoice; `None` if there is nothing to put on it.
pub(super) fn draft(
    basis: Basis<'_>,
    charges: Vec<Charge<'_>>,
    now: DateTime<Utc>,
) -> Result<Option<Invoice>, arithmetic::InvoiceError> {
    let Basis { subscription, plans, period, reason, change, tax, exemption, .. } = basis;
    let tax = tax.filter(|_| exemption == Exemption::None);
    let charges: Vec<Charge<'_>> = charges.into_iter().filter(|charge| !charge.is_nothing()).collect();
    if charges.is_empty() {
        return Ok(None);
    }

    let totals = totals(subscription.currency, tax.as_ref(), &charges)?;
    let taxes = totals.taxes.iter().zip(&tax).map(|(total, tax)| TaxRow {
        name: tax.name.clone(),
        rate: tax.rate,
        base_minor: total.taxable.minor(),
        amount_minor: total.amount.minor(),
    });
    let taxes = taxes.collect();
    let sums = charges.into_iter().zip(&totals.lines);
    let lines = sums.map(|(charge, sums)| line(subscription, &plans, now, charge, (sums.amount, sums.tax)));
    Ok(Some(Invoice {
        tenant_id: subscription.tenant_id,
        id: InvoiceId::new(now),
        customer_id: basis.payer,
        made_for: basis.made_for,
        test_clock_id: subscription.test_clock_id,
        subscription_id: Some(subscription.id),
        number: None,
        status: InvoiceStatus::Draft,
        reason,
        change,
        collection: subscription.collection,
        currency: subscription.currency,
        period,
        lines: lines.collect(),
        subtotal: totals.subtotal,
        discount_total: totals.discount_total,
        tax_total: totals.tax_total,
        total: totals.total,
        credits_applied: Money::zero(subscription.currency),
        balance_applied: Money::zero(subscription.currency),
        balance_credited: totals.credited_to_balance,
        offset_total: Money::zero(subscription.currency),
        credited_total: Money::zero(subscription.currency),
        amount_paid: Money::zero(subscription.currency),
        issuer_id: basis.issuer_id,
        issuer: basis.issuer,
        customer: basis.customer,
        letterhead: basis.letterhead,
        exemption,
        taxes,
        issued_at: None,
        due_at: None,
        paid_at: None,
        voided_at: None,
        replaces: None,
        replaced_by: None,
        metadata: Metadata::new(),
        created_at: now,
    }))
}

fn line(
    subscription: &Subscription,
    plans: &[&PlanVersion],
    now: DateTime<Utc>,
    charge: Charge<'_>,
    (amount, tax): (Money, Money),
) -> Line {
    Line {
        id: InvoiceLineId::new(now),
        subscription_id: Some(subscription.id),
        price_id: Some(charge.price.id),
        kind: kind(&charge).to_owned(),
        description: description(plans, &charge),
        period: charge.period,
        quantity: charge.quantity,
        unit_price: charge.unit_price,
        exact_amount: charge.exact_amount,
        amount,
        tax,
        proration: charge.proration,
        tiers: charge.tiers,
        adjustment: charge.adjustment,
        bucket: match charge.part {
            Part::Bucket(bucket) => bucket,
            Part::TrueUp => Bucket::default(),
        },
    }
}

/// The sums, in the order of the charges.
fn totals(
    currency: Currency,
    tax: Option<&TaxRate>,
    charges: &[Charge<'_>],
) -> Result<Totals, arithmetic::InvoiceError> {
    let taxes: Vec<arithmetic::Tax> =
        tax.iter().map(|tax| arithmetic::Tax { code: tax.name.clone(), rate: tax.rate }).collect();
    let lines = charges.iter().enumerate().map(|(at, charge)| LineInput {
        id: at.to_string(),
        amount: charge.exact_amount,
        taxes: taxes.clone(),
    });
    calculate(&Input::of(currency, lines.collect()))
}

fn description(plans: &[&PlanVersion], charge: &Charge<'_>) -> String {
    let has = |plan: &&&PlanVersion| plan.prices.iter().any(|price| price.id == charge.price.id);
    let name = match plans.iter().find(has) {
        Some(plan) if plan.name != charge.price.name => format!("{} – {}", plan.name, charge.price.name),
        _ => charge.price.name.clone(),
    };
    let name = match &charge.part {
        Part::Bucket(bucket) => match told(bucket) {
            bucket if bucket.is_empty() => name,
            bucket => format!("{name} ({bucket})"),
        },
        Part::TrueUp => format!("{name} (up to the minimum)"),
    };
    match charge.adjustment {
        0 => name,
        _ if charge.is_late => format!("{name} (usage told later)"),
        _ => format!("{name} (since the last invoice)"),
    }
}

/// `region: eu, us; model: pro`
fn told(bucket: &Bucket) -> String {
    let filters = bucket.filter.iter().flat_map(|filter| &filter.0).map(|(property, values)| {
        let values = if values.is_empty() { "any".to_owned() } else { values.join(", ") };
        format!("{property}: {}", short(&values))
    });
    let group = bucket.group.iter().map(|(property, value)| {
        format!("{property}: {}", value.as_deref().map_or_else(|| "none".to_owned(), short))
    });
    filters.chain(group).collect::<Vec<_>>().join("; ")
}

/// As much of a text as fits on a line of paper.
fn short(text: &str) -> String {
    let printable = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    match text.char_indices().nth(VALUE_MAX) {
        None => printable.collect(),
        Some(_) => printable.take(VALUE_MAX - 1).chain(['…']).collect(),
    }
}

fn kind(charge: &Charge<'_>) -> &'static str {
    match charge.price.kind {
        _ if charge.part == Part::TrueUp => TRUE_UP,
        PriceKind::Fixed => "fixed",
        PriceKind::Seat => "seat",
        PriceKind::Usage if charge.is_late => "usage_adjustment",
        PriceKind::Usage => "usage",
    }
}
