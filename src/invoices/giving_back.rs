//! What no invoice can take off any more, since the subscription has ended or its invoices have another exemption, goes back
//! by credit notes of the invoices that billed it (RULES 9, 18).

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use accrue_core::{
    id::{InvoiceId, InvoiceLineId},
    money::Money,
};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use sea_orm::DatabaseTransaction;

use super::{
    credit_notes::{
        self, CreditKind, CreditReason, Share, Wanted,
        service::{NewCreditNote, left_of_lines},
    },
    model::InvoiceStatus,
    rating::Charge,
    service::{self, InvoiceError},
    store,
};
use crate::{auth::Tenant, subscriptions::Subscription};

/// What the credit notes say to the customer.
const MEMO: &str = "Less was used than was billed.";

/// Gives back what is left over of corrections: from the lines that billed the usage, the last one first, one credit
/// note for each invoice. The subscription and its invoices are locked, and what was given back counts as not billed: so
/// it happens once. What void or credited invoices do not hold any more cannot be given back.
pub(super) async fn give_back(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    subscription: &Subscription,
    left_over: &[Charge<'_>],
) -> Result<(), InvoiceError> {
    let mut lefts: HashMap<InvoiceId, HashMap<InvoiceLineId, Money>> = HashMap::new();
    let mut wanted: BTreeMap<InvoiceId, Vec<(InvoiceLineId, Share)>> = BTreeMap::new();
    for charge in left_over {
        let mut missing = Money::round(-charge.exact_amount, subscription.currency)?;
        let mut quantity = Some(-charge.quantity).filter(|quantity| !quantity.is_zero());
        for (invoice, line) in store::lines_that_bill(tx, subscription, charge).await? {
            let lines = match lefts.entry(invoice) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => unknown.insert(left_of(tx, tenant, invoice).await?),
            };
            let Some(left) = lines.get_mut(&line) else { continue };
            let amount = if left.minor() < missing.minor() { *left } else { missing };
            if amount.is_zero() {
                continue;
            }
            *left = left.checked_sub(amount)?;
            missing = missing.checked_sub(amount)?;
            let share = Share::Correction { amount, quantity: quantity.take() };
            wanted.entry(invoice).or_default().push((line, share));
        }
    }
    for (invoice, lines) in wanted {
        let mut invoice = service::get_for_update(tx, tenant.id, invoice).await?;
        let new = NewCreditNote {
            kind: CreditKind::Credit,
            reason: CreditReason::UsageCorrection,
            // What was credited before only grows: each correction has a cause of its own.
            cause: Some(format!("usage:{}", invoice.credited_total.minor())),
            memo: Some(MEMO.to_owned()),
            wanted: Wanted::Lines(lines),
            metadata: Metadata::new(),
        };
        credit_notes::service::issue(tx, now, tenant, &mut invoice, new).await?;
    }
    Ok(())
}

/// What is left to correct of an invoice's lines, in the terms of their amounts.
async fn left_of(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    invoice: InvoiceId,
) -> Result<HashMap<InvoiceLineId, Money>, InvoiceError> {
    let invoice = service::get(tx, tenant.id, invoice).await?;
    if !matches!(invoice.status, InvoiceStatus::Open | InvoiceStatus::Paid) {
        return Ok(HashMap::new());
    }
    left_of_lines(tx, &invoice).await
}
