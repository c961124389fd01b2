//! From the charges of a turn to an invoice with all its sums. Pure.

use accrue_core::{
    calendar::Period,
    exact::{Exact, Toward},
    id::{CustomerId, InvoiceId, InvoiceLineId, IssuerId},
    invoice::{self as arithmetic, COMMITMENT_LINE, Input, LineInput, TaxRounding, Totals, calculate},
    money::Money,
};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use super::{
    model::{Bucket, Invoice, InvoiceStatus, Letterhead, Line, MadeFor, PartyCopy, Reason, TaxCopy, TaxRow},
    rating::{self, Charge, ONE_TIME, Part, TRUE_UP},
};
use crate::{
    catalog::{PlanVersion, PriceKind, TaxTable},
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
    /// What the charges have that do not bring taxes of their own.
    pub taxes: TaxTable,
    pub tax_rounding: TaxRounding,
    /// Who is exempt pays none; charges that bring their own keep them.
    pub exemption: Exemption,
    /// Who owes it, and for whom if not for themselves.
    pub payer: CustomerId,
    pub made_for: Option<MadeFor>,
    pub issuer_id: Option<IssuerId>,
    pub issuer: PartyCopy,
    pub customer: PartyCopy,
    pub letterhead: Letterhead,
}

/// The draft of a turn's invoice; `None` if there is nothing to put on it.
pub(super) fn draft(
    basis: Basis<'_>,
    charges: Vec<Charge<'_>>,
    now: DateTime<Utc>,
) -> Result<Option<Invoice>, arithmetic::InvoiceError> {
    let Basis { subscription, period, reason, change, exemption, .. } = basis;
    let charges: Vec<Charge<'_>> = charges.into_iter().filter(|charge| !charge.is_nothing()).collect();
    if charges.is_empty() {
        return Ok(None);
    }

    let taxes: Vec<Vec<TaxCopy>> = charges.iter().map(|charge| taxes_of(&basis, charge)).collect();
    let totals = totals(&basis, &charges, &taxes)?;
    let sums = charges.into_iter().zip(taxes).zip(&totals.lines);
    let lines: Vec<Line> = sums
        .map(|((charge, taxes), sums)| {
            line((basis.subscription, &basis.plans), now, charge, shares(taxes, sums), sums)
        })
        .collect();
    let taxes = Invoice::sums_of(lines.iter().flat_map(|line| &line.taxes));
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
        lines,
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
        tax_rounding: basis.tax_rounding,
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

/// Takes so much off the corrections in the customer's favour that the invoice does not come to less than nothing with its
/// taxes (RULES 34), and says what was taken off: see [`rating::limit_credits`], which looks at amounts alone.
pub(super) fn limit_credits<'a>(
    basis: &Basis<'_>,
    charges: &mut [Charge<'a>],
) -> Result<Vec<Charge<'a>>, arithmetic::InvoiceError> {
    let currency = basis.subscription.currency;
    let taxes: Vec<Vec<TaxCopy>> = charges.iter().map(|charge| taxes_of(basis, charge)).collect();
    let before: Vec<Charge<'a>> = charges.to_vec();
    let is_credit = |charge: &Charge<'_>| charge.adjustment > 0 && charge.exact_amount < Decimal::ZERO;
    while let Some(at) = charges.iter().rposition(is_credit) {
        let totals = totals(basis, charges, &taxes)?;
        let too_much = totals.credited_to_balance;
        if too_much.is_zero() {
            break;
        }
        let line = &totals.lines[at];
        let credit = line.taxable.checked_add(line.tax)?.checked_neg()?;
        let kept = credit.checked_sub(too_much)?;
        charges[at].exact_amount = if kept.minor() <= 0 {
            Decimal::ZERO
        } else {
            // Toward nothing, so that it comes to an end.
            let exact = Exact::from(line.amount.to_decimal()) * Exact::from(kept.to_decimal());
            let part = exact.divide(&credit.to_decimal().into())?;
            part.round(currency.digits().cast_signed(), Toward::Infinity).to_decimal()?
        };
    }
    let left_over =
        before.into_iter().zip(charges).filter_map(|(before, now)| rating::left_over(before, now));
    Ok(left_over.collect())
}

/// The charge's own, or those that its price has now.
fn taxes_of(basis: &Basis<'_>, charge: &Charge<'_>) -> Vec<TaxCopy> {
    match &charge.taxes {
        Some(own) => own.clone(),
        None if basis.exemption != Exemption::None => Vec::new(),
        None => basis.taxes.of(charge.price.tax_code.as_deref()).into_iter().map(TaxCopy::from).collect(),
    }
}

/// A line's share of each of its taxes.
fn shares(taxes: Vec<TaxCopy>, sums: &arithmetic::Line) -> Vec<TaxRow> {
    let shares = taxes.into_iter().zip(&sums.taxes);
    let row = |(tax, share): (TaxCopy, &arithmetic::LineTax)| TaxRow {
        tax,
        base_minor: sums.taxable.minor(),
        amount_minor: share.amount.minor(),
    };
    shares.map(row).collect()
}

fn line(
    (subscription, plans): (&Subscription, &[&PlanVersion]),
    now: DateTime<Utc>,
    charge: Charge<'_>,
    taxes: Vec<TaxRow>,
    sums: &arithmetic::Line,
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
        amount: sums.amount,
        taxable: sums.taxable,
        tax: sums.tax,
        taxes,
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
    basis: &Basis<'_>,
    charges: &[Charge<'_>],
    taxes: &[Vec<TaxCopy>],
) -> Result<Totals, arithmetic::InvoiceError> {
    let tax =
        |tax: &TaxCopy| arithmetic::Tax { code: tax.code.clone(), rate: tax.rate, inclusive: tax.inclusive };
    let lines = charges.iter().zip(taxes).enumerate().map(|(at, (charge, taxes))| LineInput {
        id: at.to_string(),
        amount: charge.exact_amount,
        taxes: taxes.iter().map(tax).collect(),
    });
    let input = Input::of(basis.subscription.currency, lines.collect());
    calculate(&Input { tax_rounding: basis.tax_rounding, ..input })
}

fn description(plans: &[&PlanVersion], charge: &Charge<'_>) -> String {
    let has = |plan: &&&PlanVersion| plan.price(charge.price.id).is_some();
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
        PriceKind::OneTime => ONE_TIME,
        PriceKind::Commitment => COMMITMENT_LINE,
        PriceKind::Usage if charge.is_late => "usage_adjustment",
        PriceKind::Usage => "usage",
    }
}
