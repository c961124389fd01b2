//! What becomes of fees that were billed in advance when a subscription ends before they are used up (RULES 15).

use accrue_core::{id::InvoiceLineId, money::Money};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use sea_orm::DatabaseTransaction;
use serde::Deserialize;

use super::service::LifecycleError;
use crate::{
    auth::Tenant,
    invoices::{
        self, Invoice, InvoiceStatus, UnusedOf,
        credit_notes::{
            CreditKind, CreditNote, CreditReason, Share, Wanted,
            service::{self as notes, NewCreditNote},
        },
    },
    payments::{self, service::PaymentError},
    subscriptions::{Subscription, Unused},
};

/// What becomes of fees that were billed in advance and are not used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = UnusedFees)]
pub(super) enum OnUnused {
    /// They stay billed.
    #[default]
    None,
    /// A credit note takes them off what is left to pay of their invoice, or else pays the customer's next invoices.
    Credit,
    /// As much of them as was paid goes back the way it came; the rest is credit.
    Refund,
}

/// A line and what is unused of it, in terms of its amount.
type UnusedLine = (InvoiceLineId, Money);

/// Gives back what is unused of a subscription that has just ended. It is as it was before that, and its invoices are
/// locked; each invoice has one cause for it, so it happens once.
pub(super) async fn give_back(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    (subscription, unused): (&Subscription, Unused),
    how: OnUnused,
) -> Result<Vec<CreditNote>, LifecycleError> {
    let mut given = Vec::new();
    if how == OnUnused::None {
        return Ok(given);
    }
    for UnusedOf { mut invoice, lines } in invoices::service::find_unused(tx, subscription, unused).await? {
        if how == OnUnused::Refund && invoice.status == InvoiceStatus::Paid {
            given.extend(refund(tx, now, tenant, &mut invoice, lines).await?);
            continue;
        }
        let kind = kind_of_credit(tx, tenant, &invoice, &lines).await?;
        given.push(issue(tx, now, tenant, &mut invoice, (kind, lines)).await?);
    }
    Ok(given)
}

/// Locks the payments that may be given back.
pub(super) async fn lock_payments(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    subscription: &Subscription,
    now: DateTime<Utc>,
) -> Result<(), LifecycleError> {
    let Some(unused) = subscription.unused_from(now) else { return Ok(()) };
    for UnusedOf { invoice, .. } in invoices::service::find_unused(tx, subscription, unused).await? {
        match payments::service::lock_of_invoice(tx, tenant.id, invoice.id).await {
            Ok(_) | Err(PaymentError::NothingToRefund) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Of an invoice that is still to be paid it is taken off, unless a payment is under way that brings all of it.
async fn kind_of_credit(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    invoice: &Invoice,
    lines: &[UnusedLine],
) -> Result<CreditKind, LifecycleError> {
    if invoice.status != InvoiceStatus::Open {
        return Ok(CreditKind::Credit);
    }
    let payment = payments::service::find_of_invoice(tx, tenant.id, invoice.id).await?;
    let in_flight = payment.is_some_and(|payment| payment.in_flight().is_some());
    let total = total_of(tx, invoice, lines).await?;
    let fits = !in_flight && total.minor() <= invoice.amount_due().minor();
    Ok(if fits { CreditKind::Offset } else { CreditKind::Credit })
}

/// Refunds what was paid of it. What credit had paid becomes credit again.
async fn refund(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    invoice: &mut Invoice,
    lines: Vec<UnusedLine>,
) -> Result<Vec<CreditNote>, LifecycleError> {
    let payment = match payments::service::lock_of_invoice(tx, tenant.id, invoice.id).await {
        Ok(payment) => Some(payment),
        Err(PaymentError::NothingToRefund) => None,
        Err(error) => return Err(error.into()),
    };
    let mut notes = Vec::new();
    let mut rest = lines;
    if let Some(payment) = payment {
        let refundable = payments::service::refundable_of(tx, &payment).await?;
        let paid = at_most(tx, invoice, &rest, refundable).await?;
        if !paid.is_empty() {
            rest = without(rest, &paid)?;
            let note = issue(tx, now, tenant, invoice, (CreditKind::Refund, paid)).await?;
            payments::service::refund_credit_note(tx, now, payment, &note).await?;
            notes.push(note);
        }
    }
    if !rest.is_empty() {
        notes.push(issue(tx, now, tenant, invoice, (CreditKind::Credit, rest)).await?);
    }
    Ok(notes)
}

/// As much of the lines as comes to no more than `most` with its tax, of each line the same share.
async fn at_most(
    tx: &DatabaseTransaction,
    invoice: &Invoice,
    lines: &[UnusedLine],
    most: Money,
) -> Result<Vec<UnusedLine>, LifecycleError> {
    let total = total_of(tx, invoice, lines).await?;
    if total.minor() <= most.minor() {
        return Ok(lines.to_vec());
    }
    let (share, whole) = (i128::from(most.minor()), i128::from(total.minor()));
    let scaled = |amount: Money| {
        let minor = i128::from(amount.minor()) * share / whole;
        Money::from_minor(i64::try_from(minor).expect("a part of what fits"), amount.currency())
    };
    let mut part: Vec<UnusedLine> = lines.iter().map(|(id, amount)| (*id, scaled(*amount))).collect();
    loop {
        part.retain(|(_, amount)| !amount.is_zero());
        if part.is_empty() || total_of(tx, invoice, &part).await?.minor() <= most.minor() {
            return Ok(part);
        }
        // Rounding the tax may add a cent.
        let largest = part.iter_mut().max_by_key(|(_, amount)| amount.minor()).expect("it is not empty");
        largest.1 = largest
            .1
            .checked_sub(Money::from_minor(1, most.currency()))
            .map_err(invoices::service::InvoiceError::from)?;
    }
}

fn without(lines: Vec<UnusedLine>, less: &[UnusedLine]) -> Result<Vec<UnusedLine>, LifecycleError> {
    let mut left = Vec::with_capacity(lines.len());
    for (id, amount) in lines {
        let less =
            less.iter().find(|(of, _)| *of == id).map_or(Money::zero(amount.currency()), |(_, less)| *less);
        let rest = amount.checked_sub(less).map_err(invoices::service::InvoiceError::from)?;
        left.extend((!rest.is_zero()).then_some((id, rest)));
    }
    Ok(left)
}

fn wanted(lines: &[UnusedLine]) -> Wanted {
    Wanted::Lines(
        lines
            .iter()
            .map(|(id, amount)| (*id, Share::Correction { amount: *amount, quantity: None }))
            .collect(),
    )
}

async fn total_of(
    tx: &DatabaseTransaction,
    invoice: &Invoice,
    lines: &[UnusedLine],
) -> Result<Money, LifecycleError> {
    Ok(notes::preview(tx, invoice, CreditKind::Credit, &wanted(lines)).await?.total)
}

async fn issue(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    invoice: &mut Invoice,
    (kind, lines): (CreditKind, Vec<UnusedLine>),
) -> Result<CreditNote, LifecycleError> {
    let word = if kind == CreditKind::Refund { "refund" } else { "credit" };
    let subscription = invoice.subscription_id.map(|id| id.to_string()).unwrap_or_default();
    let new = NewCreditNote {
        kind,
        reason: CreditReason::Unused,
        cause: Some(format!("end:{subscription}:{word}")),
        memo: None,
        wanted: wanted(&lines),
        metadata: Metadata::new(),
    };
    Ok(notes::issue(tx, now, tenant, invoice, new).await?)
}
