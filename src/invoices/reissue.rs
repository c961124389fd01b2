//! Issuing an open invoice anew: another one says the same turn with the usage that is known now, and the old one is void
//! (RULES 18, 36).

use std::collections::BTreeMap;

use accrue_core::id::InvoiceId;
use chrono::{DateTime, Utc};
use sea_orm::DatabaseTransaction;

use super::{
    draft::{self, Basis},
    giving_back,
    late::Missing,
    model::{Invoice, Line, Reason, TaxCopy},
    past::Past,
    progress,
    rating::{self, Charge, Due, Part, TRUE_UP},
    service::{self, InvoiceError},
    store,
};
use crate::{
    auth::Tenant,
    catalog::{self, Price, TaxTable},
    subscriptions::Subscription,
};

/// The kind of lines that correct the bill of an earlier period.
const LATE: &str = "usage_adjustment";

/// Issues the open invoices anew of which something is missing, and answers with what is missing on others. The subscription
/// and its invoices are locked, and what the new ones say is right: so it happens once.
pub(super) async fn reissue<'a>(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    (subscription, past): (&Subscription, &'a Past),
    missing: Vec<Missing<'a>>,
    open: &[InvoiceId],
) -> Result<Vec<Missing<'a>>, InvoiceError> {
    let mut of_invoices: BTreeMap<InvoiceId, Vec<Missing<'a>>> = BTreeMap::new();
    let mut beside = Vec::new();
    for of_price in missing {
        let Due { price, period, .. } = of_price.due;
        match store::that_billed_last(tx, subscription, price.id, period).await? {
            Some(id) if open.contains(&id) => of_invoices.entry(id).or_default().push(of_price),
            _ => beside.push(of_price),
        }
    }
    for (id, missing) in of_invoices {
        let invoice = service::get(tx, tenant.id, id).await?;
        if invoice.is_voidable() {
            replace(tx, now, tenant, (subscription, past), invoice, &missing).await?;
        } else {
            beside.extend(missing);
        }
    }
    Ok(beside)
}

/// Issues an invoice anew. What would make it less than nothing, credit notes of other invoices give back.
async fn replace(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    (subscription, past): (&Subscription, &Past),
    invoice: Invoice,
    missing: &[Missing<'_>],
) -> Result<(), InvoiceError> {
    let mut charges = charges(tx, past, &invoice, missing).await?;
    let taxes = catalog::service::tax_table(tx, tenant.id).await?;
    let basis = basis(subscription, past, &invoice, taxes);
    let left_over = draft::limit_credits(&basis, &mut charges)?;
    rating::leave_out(&mut charges, &left_over);
    let draft = draft::draft(basis, charges, now)?;
    service::replace(tx, now, tenant, invoice, draft, subscription.net_terms_days).await?;
    giving_back::give_back(tx, now, tenant, subscription, &left_over).await
}

/// The lines of the invoice; those of which something is missing as they would be billed now, beside all other invoices.
async fn charges<'a>(
    tx: &DatabaseTransaction,
    past: &'a Past,
    invoice: &Invoice,
    missing: &[Missing<'a>],
) -> Result<Vec<Charge<'a>>, InvoiceError> {
    let mut anew = Vec::with_capacity(missing.len());
    for Missing { due, .. } in missing {
        let before: Vec<&Line> = invoice.lines.iter().filter(|line| bills(line, due)).collect();
        let is_late = invoice.reason == Reason::Adjustment || before.iter().any(|line| line.kind == LATE);
        let then = &past.at(due.period.start).subscription;
        let mut charges = progress::since_billed(tx, then, *due, Some(invoice.id)).await?;
        let taxes = taxes_of(past, invoice, due.price);
        for charge in &mut charges {
            charge.taxes.clone_from(&taxes);
        }
        if is_late {
            for charge in &mut charges {
                (charge.is_late, charge.adjustment) = (true, charge.adjustment.max(1));
            }
        }
        anew.push(charges);
    }
    let mut charges = Vec::with_capacity(invoice.lines.len());
    for line in &invoice.lines {
        match missing.iter().position(|of_price| bills(line, &of_price.due)) {
            // All of it stands where its first line stood.
            Some(at) => charges.append(&mut anew[at]),
            None => charges.push(as_it_was(past, line)),
        }
    }
    charges.extend(anew.into_iter().flatten());
    Ok(charges)
}

/// Whether a line bills a price for a period, which is known by its start.
fn bills(line: &Line, due: &Due<'_>) -> bool {
    line.price_id == Some(due.price.id) && line.period.start == due.period.start
}

/// The taxes that an invoice has for a price: those of its own lines, else those of lines that are taxed as it is. Where
/// nothing says so, the price has those of now.
fn taxes_of(past: &Past, invoice: &Invoice, price: &Price) -> Option<Vec<TaxCopy>> {
    let own = invoice.lines.iter().find(|line| line.price_id == Some(price.id));
    let alike = || {
        let is_taxed_alike = |line: &&Line| {
            let of_line = line.price_id.and_then(|id| past.price(id));
            of_line.is_some_and(|of_line| of_line.tax_code == price.tax_code)
        };
        invoice.lines.iter().find(is_taxed_alike)
    };
    own.or_else(alike).map(taxes_of_line)
}

fn taxes_of_line(line: &Line) -> Vec<TaxCopy> {
    line.taxes.iter().map(|row| row.tax.clone()).collect()
}

/// What makes the same line again.
fn as_it_was<'a>(past: &'a Past, line: &Line) -> Charge<'a> {
    let price = line.price_id.and_then(|id| past.price(id));
    Charge {
        price: price.expect("a line is for a price of one of its subscription's plans"),
        part: if line.kind == TRUE_UP { Part::TrueUp } else { Part::Bucket(line.bucket.clone()) },
        period: line.period,
        quantity: line.quantity,
        unit_price: line.unit_price,
        proration: line.proration,
        exact_amount: line.exact_amount,
        tiers: line.tiers.clone(),
        adjustment: line.adjustment,
        is_late: line.kind == LATE,
        taxes: Some(taxes_of_line(line)),
    }
}

/// The same turn, parties and taxes: only usage is another one.
fn basis<'a>(
    subscription: &'a Subscription,
    past: &'a Past,
    invoice: &Invoice,
    taxes: TaxTable,
) -> Basis<'a> {
    Basis {
        subscription,
        plans: past.plans(),
        period: invoice.period,
        reason: invoice.reason,
        change: invoice.change,
        taxes,
        tax_rounding: invoice.tax_rounding,
        exemption: invoice.exemption,
        payer: invoice.customer_id,
        made_for: invoice.made_for.clone(),
        issuer_id: invoice.issuer_id,
        issuer: invoice.issuer.clone(),
        customer: invoice.customer.clone(),
        letterhead: invoice.letterhead.clone(),
    }
}
