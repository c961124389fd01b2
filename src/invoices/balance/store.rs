//! The entries of balances in the database.

use accrue_core::{
    id::{BalanceEntryId, CustomerId, InvoiceId, TenantId, TestClockId},
    money::Money,
};
use accrue_platform::{
    check::Metadata,
    column::{Json, currency},
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{ActiveValue::Set, ConnectionTrait, DatabaseTransaction, DbErr, Statement, entity::prelude::*};

use super::model::{BalanceEntry, BalanceKind};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "balance_entries")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: BalanceEntryId,
    pub customer_id: CustomerId,
    pub test_clock_id: Option<TestClockId>,
    pub kind: BalanceKind,
    pub currency: String,
    pub amount_minor: i64,
    pub balance_after_minor: i64,
    pub invoice_id: Option<InvoiceId>,
    pub description: Option<String>,
    pub metadata: Json<Metadata>,
    pub created_at: DateTime<Utc>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Every query starts here, so that none can forget its tenant.
fn of(tenant: TenantId) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(tenant))
}

/// Another one of the same invoice and kind is a unique violation.
pub(super) async fn insert(tx: &DatabaseTransaction, entry: &BalanceEntry) -> Result<(), DbErr> {
    let row = ActiveModel {
        tenant_id: Set(entry.tenant_id),
        id: Set(entry.id),
        customer_id: Set(entry.customer_id),
        test_clock_id: Set(entry.test_clock_id),
        kind: Set(entry.kind),
        currency: Set(entry.amount.currency().code().to_owned()),
        amount_minor: Set(entry.amount.minor()),
        balance_after_minor: Set(entry.balance_after.minor()),
        invoice_id: Set(entry.invoice_id),
        description: Set(entry.description.clone()),
        metadata: Set(Json(entry.metadata.clone())),
        created_at: Set(entry.created_at),
    };
    Entity::insert(row).exec_without_returning(tx).await.map(drop)
}

pub(super) async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: CustomerId,
    page: &PageQuery,
) -> Result<Vec<BalanceEntry>, PageError> {
    let select = of(tenant).filter(Column::CustomerId.eq(customer));
    let rows = page.fetch::<Entity, BalanceEntryId>(select, Column::Id, db).await?;
    rows.into_iter().map(|row| BalanceEntry::try_from(row).map_err(Into::into)).collect()
}

const SUMS: &str = "
select customer_id, currency, cast(sum(amount_minor) as bigint) as sum
from balance_entries where tenant_id = $1 group by customer_id, currency";

/// What the entries of each customer come to.
pub(super) async fn sums(
    db: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<Vec<(CustomerId, Money)>, DbErr> {
    let statement = Statement::from_sql_and_values(db.get_database_backend(), SUMS, [tenant.into()]);
    let rows = db.query_all_raw(statement).await?;
    let sum = |row: &sea_orm::QueryResult| {
        let currency = currency(&row.try_get::<String>("", "currency")?)?;
        Ok((row.try_get("", "customer_id")?, Money::from_minor(row.try_get("", "sum")?, currency)))
    };
    rows.iter().map(sum).collect()
}

const UNLIKE_INVOICES: &str = "
select i.id from invoices i
left join balance_entries e on e.tenant_id = i.tenant_id and e.invoice_id = i.id
where i.tenant_id = $1
group by i.id, i.status, i.balance_applied_minor, i.balance_credited_minor
having coalesce(sum(e.amount_minor), 0) <>
    case when i.status = 'void' then 0 else i.balance_credited_minor - i.balance_applied_minor end";

/// Invoices that say something else of the balance than its entries do.
pub(super) async fn unlike_invoices(
    db: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<Vec<InvoiceId>, DbErr> {
    let statement =
        Statement::from_sql_and_values(db.get_database_backend(), UNLIKE_INVOICES, [tenant.into()]);
    let rows = db.query_all_raw(statement).await?;
    rows.iter().map(|row| row.try_get("", "id")).collect()
}

impl TryFrom<Model> for BalanceEntry {
    type Error = DbErr;

    fn try_from(row: Model) -> Result<Self, DbErr> {
        let currency = currency(&row.currency)?;
        Ok(Self {
            tenant_id: row.tenant_id,
            id: row.id,
            customer_id: row.customer_id,
            test_clock_id: row.test_clock_id,
            kind: row.kind,
            amount: Money::from_minor(row.amount_minor, currency),
            balance_after: Money::from_minor(row.balance_after_minor, currency),
            invoice_id: row.invoice_id,
            description: row.description,
            metadata: row.metadata.0,
            created_at: row.created_at,
        })
    }
}
