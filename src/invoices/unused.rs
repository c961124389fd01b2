//! What was billed in advance and is not used: after a change of terms, in a pause, after the end. It goes back by credit
//! notes of the invoices that billed it, with the tax that was charged, and never more than is left of a line (RULES 8–10,
//! 15, decision 0049).

use std::collections::BTreeMap;

use accrue_core::{
    exact::Exact,
    id::{InvoiceId, InvoiceLineId},
    money::Money,
    proration::{self, Basis},
};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction};

use super::{
    credit_notes::{
        self, CreditKind, CreditNote, CreditReason, Share, Wanted,
        service::{NewCreditNote, left_of_lines},
    },
    model::{Invoice, InvoiceStatus, Line},
    past::Past,
    service::{self, InvoiceError},
    store,
};
use crate::{
    auth::Tenant,
    catalog::{Price, PriceKind, Timing},
    subscriptions::{Subscription, Unused},
};

/// What is unused of the lines of an invoice.
pub struct UnusedOf {
    pub invoice: Invoice,
    /// In terms of their amounts, which contain inclusive taxes.
    pub lines: Vec<(InvoiceLineId, Money)>,
}

/// Finds what is unused, invoice by invoice, the oldest first. The subscription is as it was before the change, and its
/// invoices are locked.
pub(super) async fn find(
    db: &impl ConnectionTrait,
    subscription: &Subscription,
    unused: Unused,
) -> Result<Vec<UnusedOf>, InvoiceError> {
    let past = Past::of(db, subscription).await?;
    let billed = store::fees_billed_within(db, subscription, unused.period).await?;
    let mut invoices = BTreeMap::<InvoiceId, Vec<InvoiceLineId>>::new();
    for (invoice, line) in billed {
        invoices.entry(invoice).or_default().push(line);
    }
    let mut found = Vec::new();
    for (id, ids) in invoices {
        let invoice = service::get(db, subscription.tenant_id, id).await?;
        // What was given up, or was a mistake, was never paid for.
        if !matches!(invoice.status, InvoiceStatus::Open | InvoiceStatus::Paid) {
            continue;
        }
        let left = left_of_lines(db, &invoice).await?;
        let mut lines = Vec::new();
        for line in invoice.lines.iter().filter(|line| ids.contains(&line.id)) {
            let price = line.price_id.and_then(|id| past.price(id)).filter(|price| is_in_advance(price));
            let (Some(price), Some(left)) = (price, left.get(&line.id)) else { continue };
            let amount = unused_of(subscription, (price, line), *left, unused)?;
            if !amount.is_zero() {
                lines.push((line.id, amount));
            }
        }
        if !lines.is_empty() {
            found.push(UnusedOf { invoice, lines });
        }
    }
    Ok(found)
}

fn is_in_advance(price: &Price) -> bool {
    matches!(price.kind, PriceKind::Fixed | PriceKind::Seat) && price.timing == Timing::Advance
}

/// What is unused of a line: by what it really charged, and no more than is left of it (RULES 9).
fn unused_of(
    subscription: &Subscription,
    (price, line): (&Price, &Line),
    left: Money,
    Unused { from, basis, unprorated, billed_from, .. }: Unused,
) -> Result<Money, InvoiceError> {
    if !price.prorate {
        return Ok(if unprorated { left } else { Money::zero(left.currency()) });
    }
    if from <= line.period.start && line.period.start == billed_from {
        return Ok(left);
    }
    if basis == Basis::None || line.period.start != billed_from || line.period.end <= from {
        return Ok(Money::zero(left.currency()));
    }
    let full = subscription.full(line.period)?;
    let part = proration::remaining(basis, line.period, full, from, subscription.timezone);
    let part = part.map_err(super::rating::ChargeError::from)?;
    let rated: Exact = line.tiers.iter().map(|tier| &tier.amount).sum();
    let credited = line.amount.checked_sub(left)?;
    let credit = proration::credit(rated, part, line.amount, credited);
    Ok(credit.map_err(super::rating::ChargeError::from)?.checked_neg()?)
}

/// Gives back what is unused as credit, which pays the customer's next invoices. A change does so once: its ordinal is the
/// credit notes' cause. The subscription and its invoices are locked.
pub(super) async fn give_back(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    subscription: &Subscription,
    unused: Unused,
    change: i32,
) -> Result<Vec<CreditNote>, InvoiceError> {
    let found = find(tx, subscription, unused).await?;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let mut payers: Vec<_> = found.iter().map(|of| of.invoice.customer_id).collect();
    payers.sort_unstable();
    payers.dedup();
    for payer in payers {
        credit_notes::service::lock_of_customer(tx, tenant.id, payer).await?;
    }
    let mut notes = Vec::with_capacity(found.len());
    for UnusedOf { mut invoice, lines } in found {
        let new = NewCreditNote {
            kind: CreditKind::Credit,
            reason: CreditReason::Unused,
            cause: Some(format!("change:{}:{change}", subscription.id)),
            memo: None,
            wanted: Wanted::Lines(
                lines
                    .into_iter()
                    .map(|(id, amount)| (id, Share::Correction { amount, quantity: None }))
                    .collect(),
            ),
            metadata: Metadata::new(),
        };
        notes.push(credit_notes::service::issue(tx, now, tenant, &mut invoice, new).await?);
    }
    Ok(notes)
}
