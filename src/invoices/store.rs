//! Invoices, their lines and their documents in the database.

mod checks;
mod documents;
mod invoices;
mod lines;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use accrue_core::{
    calendar::Period,
    id::{CustomerId, InvoiceId, InvoiceLineId, PriceId, SubscriptionId, TenantId},
    invoice::COMMITMENT_LINE,
    money::Money,
};
use accrue_platform::page::{PageError, PageQuery};
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sea_orm::{
    Condition, ConnectionTrait, DatabaseTransaction, DbErr, ExprTrait, QueryOrder, QuerySelect, QueryTrait,
    entity::prelude::*,
};

use super::{
    credit_notes::corrected,
    model::{Bucket, Invoice, InvoiceStatus, Line, Reason},
    rating::{Billed, Charge, ONE_TIME, Part, TRUE_UP},
};
use crate::{customers::Exemption, subscriptions::Subscription};

pub(super) use checks::{numbers, owed, removed_numbers, unlike_the_replaced, unlike_their_lines, void_ids};
pub(super) use documents::{find_document, keep_document};

/// A statement has an end: usage by group may have thousands of lines.
const LINES_AT_ONCE: usize = 500;

/// Which invoices to list.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Which {
    /// Who owes them.
    pub customer: Option<CustomerId>,
    /// For whom they are, whoever owes them.
    pub made_for: Option<CustomerId>,
    pub subscription: Option<SubscriptionId>,
    pub status: Option<InvoiceStatus>,
}

impl Which {
    fn of(self, tenant: TenantId) -> Select<invoices::Entity> {
        use invoices::Column;

        invoices::of(tenant)
            .apply_if(self.customer, |select, id| select.filter(Column::CustomerId.eq(id)))
            .apply_if(self.made_for, |select, id| {
                let own =
                    Condition::all().add(Column::CustomerId.eq(id)).add(Column::ForCustomerId.is_null());
                select.filter(Condition::any().add(own).add(Column::ForCustomerId.eq(id)))
            })
            .apply_if(self.subscription, |select, id| select.filter(Column::SubscriptionId.eq(id)))
            .apply_if(self.status, |select, status| select.filter(Column::Status.eq(status)))
    }
}

/// What was billed of a usage price for a period, on whatever invoices, less what was given back of it, part by part. A
/// period is known by its start: what was billed before it was cut short belongs to it too. `without` is an invoice that
/// is being issued anew.
pub(super) async fn billed(
    db: &impl ConnectionTrait,
    subscription: &Subscription,
    price: PriceId,
    period: Period,
    without: Option<InvoiceId>,
) -> Result<BTreeMap<Part, Billed>, DbErr> {
    let lines = that_bill(subscription, price, period)
        .apply_if(without, |select, id| select.filter(lines::Column::InvoiceId.ne(id)))
        .all(db)
        .await?;
    let mut given_back = HashMap::<InvoiceLineId, (Decimal, i64)>::new();
    let ids: Vec<InvoiceLineId> = lines.iter().map(|line| line.id).collect();
    for correction in corrected(db, subscription.tenant_id, &ids).await? {
        let (quantity, minor) = given_back.entry(correction.line).or_default();
        *quantity += correction.quantity;
        *minor += correction.minor;
    }
    let given_back = |line: &lines::Model| given_back.get(&line.id).copied().unwrap_or_default();
    let mut billed: BTreeMap<Part, Vec<lines::Model>> = BTreeMap::new();
    for line in lines {
        let part = if line.kind == TRUE_UP { Part::TrueUp } else { Part::Bucket(line.bucket.0.clone()) };
        billed.entry(part).or_default().push(line);
    }
    let sums = |lines: Vec<lines::Model>| Billed {
        quantity: lines.iter().map(|line| line.quantity.0 - given_back(line).0).sum(),
        amount: Money::from_minor(
            lines.iter().map(|line| line.amount_minor - given_back(line).1).sum(),
            subscription.currency,
        ),
        adjustments: lines.iter().map(|line| line.adjustment).max().unwrap_or_default(),
    };
    Ok(billed.into_iter().map(|(part, lines)| (part, sums(lines))).collect())
}

/// The lines that bill fees for a period, or from an instant in it on, each with its invoice, the older first.
pub(super) async fn fees_billed_within(
    db: &impl ConnectionTrait,
    subscription: &Subscription,
    period: Period,
) -> Result<Vec<(InvoiceId, InvoiceLineId)>, DbErr> {
    lines::that_bill(subscription.tenant_id)
        .select_only()
        .column(lines::Column::InvoiceId)
        .column(lines::Column::Id)
        .filter(lines::Column::SubscriptionId.eq(subscription.id))
        .filter(lines::Column::PeriodStartAt.gte(period.start))
        .filter(lines::Column::PeriodStartAt.lt(period.end))
        .filter(lines::Column::Kind.is_in(["fixed", "seat"]))
        .order_by_asc(lines::Column::Id)
        .into_tuple()
        .all(db)
        .await
}

/// What was billed for periods that begin in this one, on whatever invoices, as far as it counts for a plan's minimum,
/// less what was given back of usage.
pub(super) async fn billed_of_period(
    db: &impl ConnectionTrait,
    subscription: &Subscription,
    period: Period,
) -> Result<Money, DbErr> {
    let tenant = subscription.tenant_id;
    let billed: Vec<(InvoiceLineId, i64)> = lines::that_bill(tenant)
        .select_only()
        .column(lines::Column::Id)
        .column(lines::Column::AmountMinor)
        .filter(lines::Column::SubscriptionId.eq(subscription.id))
        .filter(lines::Column::PeriodStartAt.gte(period.start))
        .filter(lines::Column::PeriodStartAt.lt(period.end))
        .filter(lines::Column::Kind.is_not_in([ONE_TIME, COMMITMENT_LINE]))
        .into_tuple()
        .all(db)
        .await?;
    let ids: Vec<InvoiceLineId> = billed.iter().map(|(id, _)| *id).collect();
    let given_back: i64 = corrected(db, tenant, &ids).await?.iter().map(|correction| correction.minor).sum();
    let billed: i64 = billed.iter().map(|(_, minor)| minor).sum();
    Ok(Money::from_minor(billed - given_back, subscription.currency))
}

/// The lines that bill a usage price for a period.
fn that_bill(subscription: &Subscription, price: PriceId, period: Period) -> Select<lines::Entity> {
    lines::that_bill(subscription.tenant_id)
        .filter(lines::Column::SubscriptionId.eq(subscription.id))
        .filter(lines::Column::PriceId.eq(price))
        .filter(lines::Column::PeriodStartAt.eq(period.start))
}

/// The invoice that says what came of a usage price in a period, if there is one: the last that bills it, or the one of
/// the turn that closed the period.
pub(super) async fn that_billed_last(
    db: &impl ConnectionTrait,
    subscription: &Subscription,
    price: PriceId,
    period: Period,
) -> Result<Option<InvoiceId>, DbErr> {
    use invoices::Column;

    let last = that_bill(subscription, price, period)
        .order_by_desc(lines::Column::CreatedAt)
        .order_by_desc(lines::Column::Adjustment)
        .one(db)
        .await?;
    if let Some(line) = last {
        return Ok(Some(line.invoice_id));
    }
    // A turn's invoice is known by the period that it opens, or by the last one that it closes (P1).
    let turns = [
        (period.end, Reason::Cycle),
        (period.end, Reason::Change),
        (period.start, Reason::Change),
        (period.start, Reason::Cancel),
    ];
    let [went_on, changed, changed_only, ended] =
        turns.map(|(start, reason)| Column::PeriodStartAt.eq(start).and(Column::Reason.eq(reason)));
    let select = invoices::of(subscription.tenant_id)
        .filter(Column::SubscriptionId.eq(subscription.id))
        .filter(Column::ReplacedBy.is_null())
        .filter(went_on.or(changed).or(changed_only).or(ended))
        .order_by_asc(Column::Change);
    Ok(select.one(db).await?.map(|row| row.id))
}

/// What lines came to that bill the same usage of the same period as this one, and came before it, less what had been
/// replaced or given back of them by then.
pub(super) async fn billed_before(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    line: &Line,
    at: DateTime<Utc>,
) -> Result<Money, DbErr> {
    let (of_true_up, of_usage) = (lines::Column::Kind.eq(TRUE_UP), lines::Column::Kind.ne(TRUE_UP));
    let at_once = lines::Column::CreatedAt.eq(at).and(lines::Column::Adjustment.lt(line.adjustment));
    let earlier = lines::Column::CreatedAt.lt(at).or(at_once);
    let before = lines::of(tenant)
        .select_only()
        .column(lines::Column::Id)
        .column(lines::Column::AmountMinor)
        .filter(lines::Column::SubscriptionId.eq(line.subscription_id))
        .filter(lines::Column::PriceId.eq(line.price_id))
        .filter(lines::Column::PeriodStartAt.eq(line.period.start))
        .filter(lines::Column::BucketId.eq(line.bucket.id()))
        .filter(if line.kind == TRUE_UP { of_true_up } else { of_usage })
        .filter(earlier);
    let mut billed = Vec::new();
    // Each has an index of its own.
    for still_billed in [lines::Column::ReplacedAt.is_null(), lines::Column::ReplacedAt.gt(at)] {
        billed
            .extend(before.clone().filter(still_billed).into_tuple::<(InvoiceLineId, i64)>().all(db).await?);
    }
    let ids: Vec<InvoiceLineId> = billed.iter().map(|(id, _)| *id).collect();
    let corrections = corrected(db, tenant, &ids).await?;
    // Identifiers rise with time.
    let earlier = corrections.iter().filter(|correction| correction.note.0 < line.id.0);
    let given_back: i64 = earlier.map(|correction| correction.minor).sum();
    let billed: i64 = billed.iter().map(|(_, minor)| minor).sum();
    Ok(Money::from_minor(billed - given_back, line.amount.currency()))
}

/// The lines that bill a charge's usage of its period, the last one first, each with its invoice.
pub(super) async fn lines_that_bill(
    db: &impl ConnectionTrait,
    subscription: &Subscription,
    charge: &Charge<'_>,
) -> Result<Vec<(InvoiceId, InvoiceLineId)>, DbErr> {
    let (of_true_up, of_usage) = (lines::Column::Kind.eq(TRUE_UP), lines::Column::Kind.ne(TRUE_UP));
    let (of_part, bucket) = match &charge.part {
        Part::TrueUp => (of_true_up, Bucket::default()),
        Part::Bucket(bucket) => (of_usage, bucket.clone()),
    };
    that_bill(subscription, charge.price.id, charge.period)
        .select_only()
        .column(lines::Column::InvoiceId)
        .column(lines::Column::Id)
        .filter(lines::Column::BucketId.eq(bucket.id()))
        .filter(of_part)
        .order_by_desc(lines::Column::Id)
        .into_tuple()
        .all(db)
        .await
}

/// Locks the invoices of a subscription, the older first.
pub(super) async fn lock_of_subscription(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    subscription: SubscriptionId,
) -> Result<Vec<(InvoiceId, InvoiceStatus)>, DbErr> {
    let select = invoices::of(tenant).filter(invoices::Column::SubscriptionId.eq(subscription));
    let rows = select.order_by_asc(invoices::Column::Id).lock_exclusive().all(tx).await?;
    Ok(rows.into_iter().map(|row| (row.id, row.status)).collect())
}

/// The invoices of a subscription, the older first.
pub(super) async fn ids_of_subscription(
    db: &impl ConnectionTrait,
    subscription: &Subscription,
) -> Result<Vec<InvoiceId>, DbErr> {
    invoices::of(subscription.tenant_id)
        .select_only()
        .column(invoices::Column::Id)
        .filter(invoices::Column::SubscriptionId.eq(subscription.id))
        .order_by_asc(invoices::Column::Id)
        .into_tuple()
        .all(db)
        .await
}

/// Who owes the invoices of a subscription.
pub(super) async fn payers_of_subscription(
    db: &impl ConnectionTrait,
    subscription: &Subscription,
) -> Result<BTreeSet<CustomerId>, DbErr> {
    let select = invoices::of(subscription.tenant_id)
        .select_only()
        .column(invoices::Column::CustomerId)
        .distinct()
        .filter(invoices::Column::SubscriptionId.eq(subscription.id));
    Ok(select.into_tuple::<CustomerId>().all(db).await?.into_iter().collect())
}

/// The invoices of a subscription that have another exemption than this one.
pub(super) async fn exempt_otherwise(
    db: &impl ConnectionTrait,
    subscription: &Subscription,
    exemption: Exemption,
) -> Result<HashSet<InvoiceId>, DbErr> {
    let select = invoices::of(subscription.tenant_id)
        .select_only()
        .column(invoices::Column::Id)
        .filter(invoices::Column::SubscriptionId.eq(subscription.id))
        .filter(invoices::Column::Exemption.ne(exemption));
    Ok(select.into_tuple::<InvoiceId>().all(db).await?.into_iter().collect())
}

/// The invoices that bill a usage price for a period.
pub(super) async fn invoices_that_bill(
    db: &impl ConnectionTrait,
    subscription: &Subscription,
    price: PriceId,
    period: Period,
) -> Result<HashSet<InvoiceId>, DbErr> {
    let select = that_bill(subscription, price, period).select_only().column(lines::Column::InvoiceId);
    Ok(select.distinct().into_tuple::<InvoiceId>().all(db).await?.into_iter().collect())
}

/// Where an invoice says what came of usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub invoice: InvoiceId,
    pub line: InvoiceLineId,
    pub kind: String,
    pub period: Period,
    pub created_at: DateTime<Utc>,
}

/// The lines for a bucket of a usage price whose period holds an instant, the oldest first.
pub(super) async fn places(
    db: &impl ConnectionTrait,
    subscription: &Subscription,
    price: PriceId,
    bucket: &Bucket,
    at: DateTime<Utc>,
) -> Result<Vec<Place>, DbErr> {
    let lines = lines::that_bill(subscription.tenant_id)
        .filter(lines::Column::SubscriptionId.eq(subscription.id))
        .filter(lines::Column::PriceId.eq(price))
        .filter(lines::Column::BucketId.eq(bucket.id()))
        .filter(lines::Column::Kind.ne(TRUE_UP))
        .filter(lines::Column::PeriodStartAt.lte(at))
        .filter(lines::Column::PeriodEndAt.gt(at))
        .order_by_asc(lines::Column::Adjustment)
        .order_by_asc(lines::Column::Id)
        .all(db)
        .await?;
    let place = |line: lines::Model| Place {
        invoice: line.invoice_id,
        line: line.id,
        kind: line.kind,
        period: Period { start: line.period_start_at, end: line.period_end_at },
        created_at: line.created_at,
    };
    Ok(lines.into_iter().map(place).collect())
}

pub(super) async fn find(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: InvoiceId,
) -> Result<Option<Invoice>, DbErr> {
    let row = invoices::of(tenant).filter(invoices::Column::Id.eq(id)).one(db).await?;
    with_lines(db, tenant, row).await
}

pub(super) async fn find_by_number(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    number: &str,
) -> Result<Option<Invoice>, DbErr> {
    let row = invoices::of(tenant).filter(invoices::Column::Number.eq(number)).one(db).await?;
    with_lines(db, tenant, row).await
}

pub(super) async fn find_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: InvoiceId,
) -> Result<Option<Invoice>, DbErr> {
    let row = invoices::of(tenant).filter(invoices::Column::Id.eq(id)).lock_exclusive().one(tx).await?;
    with_lines(tx, tenant, row).await
}

/// All of them, the oldest first.
pub(super) async fn all(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    which: Which,
) -> Result<Vec<Invoice>, DbErr> {
    let rows = which.of(tenant).order_by_asc(invoices::Column::Id).all(db).await?;
    complete(db, tenant, rows).await
}

/// A page of them.
pub(super) async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    which: Which,
    page: &PageQuery,
) -> Result<Vec<Invoice>, PageError> {
    let rows = page.fetch::<invoices::Entity, InvoiceId>(which.of(tenant), invoices::Column::Id, db).await?;
    Ok(complete(db, tenant, rows).await?)
}

/// Stores an invoice with its lines, once: another one of its subscription, period and reason is a unique
/// violation (P1).
pub(super) async fn insert(tx: &DatabaseTransaction, invoice: &Invoice) -> Result<(), DbErr> {
    invoices::Entity::insert(invoices::row_of(invoice)).exec_without_returning(tx).await?;
    let rows = invoice.lines.iter().zip(0..).map(|(line, position)| lines::row_of(invoice, line, position));
    let rows: Vec<_> = rows.collect();
    for some in rows.chunks(LINES_AT_ONCE) {
        lines::Entity::insert_many(some.to_vec()).exec_without_returning(tx).await?;
    }
    Ok(())
}

/// Saves what may still change of an invoice once it has a number (RULES 36).
pub(super) async fn save(tx: &DatabaseTransaction, invoice: &Invoice) -> Result<(), DbErr> {
    use invoices::Column;

    let saved = invoices::Entity::update_many()
        .col_expr(Column::Status, Expr::value(invoice.status))
        .col_expr(Column::OffsetMinor, invoice.offset_total.minor().into())
        .col_expr(Column::CreditedMinor, invoice.credited_total.minor().into())
        .col_expr(Column::AmountPaidMinor, invoice.amount_paid.minor().into())
        .col_expr(Column::PaidAt, invoice.paid_at.into())
        .col_expr(Column::VoidedAt, invoice.voided_at.into())
        .col_expr(Column::ReplacedBy, Expr::value(invoice.replaced_by))
        .filter(Column::TenantId.eq(invoice.tenant_id))
        .filter(Column::Id.eq(invoice.id))
        .exec(tx)
        .await?;
    if saved.rows_affected == 1 { Ok(()) } else { Err(DbErr::RecordNotUpdated) }
}

/// Notes that another invoice says what this one said: its lines bill nothing any more.
pub(super) async fn replace_lines(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    invoice: &Invoice,
) -> Result<(), DbErr> {
    lines::Entity::update_many()
        .col_expr(lines::Column::ReplacedAt, now.into())
        .filter(lines::Column::TenantId.eq(invoice.tenant_id))
        .filter(lines::Column::InvoiceId.eq(invoice.id))
        .exec(tx)
        .await
        .map(drop)
}

async fn with_lines(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    row: Option<invoices::Model>,
) -> Result<Option<Invoice>, DbErr> {
    Ok(complete(db, tenant, row.into_iter().collect()).await?.pop())
}

/// Reads the lines of all these invoices at once.
async fn complete(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    rows: Vec<invoices::Model>,
) -> Result<Vec<Invoice>, DbErr> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let ids = rows.iter().map(|row| row.id);
    let found = lines::of(tenant)
        .filter(lines::Column::InvoiceId.is_in(ids))
        .order_by_asc(lines::Column::Position)
        .all(db)
        .await?;
    let mut lines: HashMap<InvoiceId, Vec<lines::Model>> = HashMap::new();
    for line in found {
        lines.entry(line.invoice_id).or_default().push(line);
    }
    rows.into_iter()
        .map(|row| {
            let lines = lines.remove(&row.id).unwrap_or_default();
            invoices::invoice(row, lines)
        })
        .collect()
}
