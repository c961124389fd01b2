//! Invoices, their lines and their documents in the database.

use std::collections::HashMap;

use accrue_core::{
    calendar::Period,
    id::{CustomerId, DocumentId, InvoiceId, InvoiceLineId, PriceId, SubscriptionId, TenantId, TestClockId},
    money::{Currency, Money},
    price::TierCharge,
    proration::Fraction,
};
use accrue_platform::{
    check::Metadata,
    column::{Dec, Json},
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DatabaseTransaction, DbErr, QueryOrder, QuerySelect, QueryTrait,
    Statement, entity::prelude::*, sea_query::OnConflict,
};

use super::model::{Invoice, InvoiceStatus, Line, PartyCopy, Reason, TaxRow};
use crate::subscriptions::Collection;

mod invoices {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "invoices")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub tenant_id: TenantId,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: InvoiceId,
        pub customer_id: CustomerId,
        pub test_clock_id: Option<TestClockId>,
        pub subscription_id: Option<SubscriptionId>,
        pub number: Option<String>,
        pub status: InvoiceStatus,
        pub reason: Reason,
        pub collection: Collection,
        pub currency: String,
        pub period_start_at: DateTime<Utc>,
        pub period_end_at: DateTime<Utc>,
        pub subtotal_minor: i64,
        pub discount_minor: i64,
        pub tax_minor: i64,
        pub total_minor: i64,
        pub amount_paid_minor: i64,
        pub issuer: Json<PartyCopy>,
        pub customer: Json<PartyCopy>,
        pub taxes: Json<Vec<TaxRow>>,
        pub issued_at: Option<DateTime<Utc>>,
        pub due_at: Option<DateTime<Utc>>,
        pub paid_at: Option<DateTime<Utc>>,
        pub voided_at: Option<DateTime<Utc>>,
        pub metadata: Json<Metadata>,
        pub created_at: DateTime<Utc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}

    /// Every query starts here, so that none can forget its tenant.
    pub(super) fn of(tenant: TenantId) -> Select<Entity> {
        Entity::find().filter(Column::TenantId.eq(tenant))
    }
}

mod lines {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "invoice_lines")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub tenant_id: TenantId,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: InvoiceLineId,
        pub invoice_id: InvoiceId,
        pub subscription_id: Option<SubscriptionId>,
        pub price_id: Option<PriceId>,
        pub position: i32,
        pub kind: String,
        pub description: String,
        pub period_start_at: DateTime<Utc>,
        pub period_end_at: DateTime<Utc>,
        pub quantity: Dec,
        pub unit_price: Option<Dec>,
        pub exact_amount: Dec,
        pub amount_minor: i64,
        pub tax_minor: i64,
        pub proration: Option<Json<Fraction>>,
        pub tiers: Json<Vec<TierCharge>>,
        pub created_at: DateTime<Utc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}

    pub(super) fn of(tenant: TenantId) -> Select<Entity> {
        Entity::find().filter(Column::TenantId.eq(tenant))
    }
}

mod documents {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "documents")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub tenant_id: TenantId,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: DocumentId,
        pub invoice_id: InvoiceId,
        pub kind: String,
        pub state: String,
        pub content: Vec<u8>,
        pub created_at: DateTime<Utc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}

    pub(super) fn of(tenant: TenantId) -> Select<Entity> {
        Entity::find().filter(Column::TenantId.eq(tenant))
    }
}

/// Which invoices to list.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Which {
    pub customer: Option<CustomerId>,
    pub subscription: Option<SubscriptionId>,
    pub status: Option<InvoiceStatus>,
}

impl Which {
    fn of(self, tenant: TenantId) -> Select<invoices::Entity> {
        use invoices::Column;

        invoices::of(tenant)
            .apply_if(self.customer, |select, id| select.filter(Column::CustomerId.eq(id)))
            .apply_if(self.subscription, |select, id| select.filter(Column::SubscriptionId.eq(id)))
            .apply_if(self.status, |select, status| select.filter(Column::Status.eq(status)))
    }
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
    invoices::Entity::insert(row_of(invoice)).exec_without_returning(tx).await?;
    let rows = invoice.lines.iter().zip(0..).map(|(line, position)| line_row_of(invoice, line, position));
    lines::Entity::insert_many(rows).exec_without_returning(tx).await.map(drop)
}

/// Saves what may still change of an invoice once it has a number (RULES 36).
pub(super) async fn save(tx: &DatabaseTransaction, invoice: &Invoice) -> Result<(), DbErr> {
    use invoices::Column;

    let saved = invoices::Entity::update_many()
        .col_expr(Column::Status, Expr::value(invoice.status))
        .col_expr(Column::AmountPaidMinor, invoice.amount_paid.minor().into())
        .col_expr(Column::PaidAt, invoice.paid_at.into())
        .col_expr(Column::VoidedAt, invoice.voided_at.into())
        .filter(Column::TenantId.eq(invoice.tenant_id))
        .filter(Column::Id.eq(invoice.id))
        .exec(tx)
        .await?;
    if saved.rows_affected == 1 { Ok(()) } else { Err(DbErr::RecordNotUpdated) }
}

/// A document as it was printed for this state of its invoice.
pub(super) async fn find_document(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    invoice: InvoiceId,
    kind: &str,
    state: &str,
) -> Result<Option<Vec<u8>>, DbErr> {
    let row = documents::of(tenant)
        .filter(documents::Column::InvoiceId.eq(invoice))
        .filter(documents::Column::Kind.eq(kind))
        .filter(documents::Column::State.eq(state))
        .one(db)
        .await?;
    Ok(row.map(|row| row.content))
}

/// Keeps a document, unless somebody else has printed the same one meanwhile.
pub(super) async fn keep_document(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    invoice: &Invoice,
    (kind, state): (&str, &str),
    content: Vec<u8>,
) -> Result<(), DbErr> {
    use documents::Column;

    let row = documents::ActiveModel {
        tenant_id: Set(invoice.tenant_id),
        id: Set(DocumentId::new(now)),
        invoice_id: Set(invoice.id),
        kind: Set(kind.to_owned()),
        state: Set(state.to_owned()),
        content: Set(content),
        created_at: Set(now),
    };
    let same = OnConflict::columns([Column::TenantId, Column::InvoiceId, Column::Kind, Column::State])
        .do_nothing()
        .to_owned();
    documents::Entity::insert(row).on_conflict(same).exec_without_returning(tx).await.map(drop)
}

const OWED: &str = "
select customer_id, currency,
    cast(sum(case when status = 'open' then total_minor - amount_paid_minor else 0 end) as bigint) as owed
from invoices where tenant_id = $1 and status <> 'draft' group by customer_id, currency";

/// What each customer owes in each currency by open invoices, zeros included.
pub(super) async fn owed(
    db: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<Vec<(CustomerId, Money)>, DbErr> {
    let statement = Statement::from_sql_and_values(db.get_database_backend(), OWED, [tenant.into()]);
    let rows = db.query_all_raw(statement).await?;
    let owed = rows.iter().map(|row| {
        let currency = currency(&row.try_get::<String>("", "currency")?)?;
        Ok((row.try_get("", "customer_id")?, Money::from_minor(row.try_get("", "owed")?, currency)))
    });
    owed.collect()
}

const UNLIKE_THEIR_LINES: &str = "
select i.id from invoices i
left join invoice_lines l on l.tenant_id = i.tenant_id and l.invoice_id = i.id
where i.tenant_id = $1
group by i.id, i.subtotal_minor, i.discount_minor, i.tax_minor, i.total_minor
having i.subtotal_minor <> coalesce(sum(l.amount_minor), 0)
    or i.tax_minor <> coalesce(sum(l.tax_minor), 0)
    or i.total_minor <> i.subtotal_minor - i.discount_minor + i.tax_minor";

/// Invoices whose sums are not those of their lines.
pub(super) async fn unlike_their_lines(
    db: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<Vec<InvoiceId>, DbErr> {
    let statement =
        Statement::from_sql_and_values(db.get_database_backend(), UNLIKE_THEIR_LINES, [tenant.into()]);
    let rows = db.query_all_raw(statement).await?;
    rows.iter().map(|row| row.try_get("", "id")).collect()
}

/// Every number that was given, in no order.
pub(super) async fn numbers(db: &impl ConnectionTrait, tenant: TenantId) -> Result<Vec<String>, DbErr> {
    invoices::of(tenant)
        .select_only()
        .column(invoices::Column::Number)
        .filter(invoices::Column::Number.is_not_null())
        .into_tuple()
        .all(db)
        .await
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
            invoice(row, lines)
        })
        .collect()
}

fn currency(code: &str) -> Result<Currency, DbErr> {
    code.parse().map_err(|_| DbErr::Type(format!("stored currency {code}")))
}

fn period(start: DateTime<Utc>, end: DateTime<Utc>) -> Period {
    Period { start, end }
}

fn invoice(row: invoices::Model, lines: Vec<lines::Model>) -> Result<Invoice, DbErr> {
    let currency = currency(&row.currency)?;
    let money = |minor| Money::from_minor(minor, currency);
    Ok(Invoice {
        tenant_id: row.tenant_id,
        id: row.id,
        customer_id: row.customer_id,
        test_clock_id: row.test_clock_id,
        subscription_id: row.subscription_id,
        number: row.number,
        status: row.status,
        reason: row.reason,
        collection: row.collection,
        currency,
        period: period(row.period_start_at, row.period_end_at),
        lines: lines.into_iter().map(|row| line(row, currency)).collect(),
        subtotal: money(row.subtotal_minor),
        discount_total: money(row.discount_minor),
        tax_total: money(row.tax_minor),
        total: money(row.total_minor),
        amount_paid: money(row.amount_paid_minor),
        issuer: row.issuer.0,
        customer: row.customer.0,
        taxes: row.taxes.0,
        issued_at: row.issued_at,
        due_at: row.due_at,
        paid_at: row.paid_at,
        voided_at: row.voided_at,
        metadata: row.metadata.0,
        created_at: row.created_at,
    })
}

fn line(row: lines::Model, currency: Currency) -> Line {
    Line {
        id: row.id,
        subscription_id: row.subscription_id,
        price_id: row.price_id,
        kind: row.kind,
        description: row.description,
        period: period(row.period_start_at, row.period_end_at),
        quantity: row.quantity.0,
        unit_price: row.unit_price.map(|price| price.0),
        exact_amount: row.exact_amount.0,
        amount: Money::from_minor(row.amount_minor, currency),
        tax: Money::from_minor(row.tax_minor, currency),
        proration: row.proration.map(|proration| proration.0),
        tiers: row.tiers.0,
    }
}

fn row_of(invoice: &Invoice) -> invoices::ActiveModel {
    invoices::ActiveModel {
        tenant_id: Set(invoice.tenant_id),
        id: Set(invoice.id),
        customer_id: Set(invoice.customer_id),
        test_clock_id: Set(invoice.test_clock_id),
        subscription_id: Set(invoice.subscription_id),
        number: Set(invoice.number.clone()),
        status: Set(invoice.status),
        reason: Set(invoice.reason),
        collection: Set(invoice.collection),
        currency: Set(invoice.currency.code().to_owned()),
        period_start_at: Set(invoice.period.start),
        period_end_at: Set(invoice.period.end),
        subtotal_minor: Set(invoice.subtotal.minor()),
        discount_minor: Set(invoice.discount_total.minor()),
        tax_minor: Set(invoice.tax_total.minor()),
        total_minor: Set(invoice.total.minor()),
        amount_paid_minor: Set(invoice.amount_paid.minor()),
        issuer: Set(Json(invoice.issuer.clone())),
        customer: Set(Json(invoice.customer.clone())),
        taxes: Set(Json(invoice.taxes.clone())),
        issued_at: Set(invoice.issued_at),
        due_at: Set(invoice.due_at),
        paid_at: Set(invoice.paid_at),
        voided_at: Set(invoice.voided_at),
        metadata: Set(Json(invoice.metadata.clone())),
        created_at: Set(invoice.created_at),
    }
}

fn line_row_of(invoice: &Invoice, line: &Line, position: i32) -> lines::ActiveModel {
    lines::ActiveModel {
        tenant_id: Set(invoice.tenant_id),
        id: Set(line.id),
        invoice_id: Set(invoice.id),
        subscription_id: Set(line.subscription_id),
        price_id: Set(line.price_id),
        position: Set(position),
        kind: Set(line.kind.clone()),
        description: Set(line.description.clone()),
        period_start_at: Set(line.period.start),
        period_end_at: Set(line.period.end),
        quantity: Set(Dec(line.quantity)),
        unit_price: Set(line.unit_price.map(Dec)),
        exact_amount: Set(Dec(line.exact_amount)),
        amount_minor: Set(line.amount.minor()),
        tax_minor: Set(line.tax.minor()),
        proration: Set(line.proration.map(Json)),
        tiers: Set(Json(line.tiers.clone())),
        created_at: Set(invoice.created_at),
    }
}
