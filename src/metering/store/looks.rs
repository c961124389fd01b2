//! How far the events of each name were looked at by whoever knows what is billed.

use accrue_core::id::{TenantId, UsageEventId};
use accrue_platform::bulk::{self, Column as Cells};
use sea_orm::{DatabaseTransaction, DbErr, QuerySelect, entity::prelude::*};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_looks")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    /// The name of the events.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub last_event_id: UsageEventId,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

const TABLE: &str = "usage_looks";
const KEY: &str = "tenant_id, id";

/// Every query starts here, so that none can forget its tenant.
fn of(tenant: TenantId) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(tenant))
}

/// The last event of a name that was looked at, locked for the rest of the transaction; `first` if none was yet.
pub(in crate::metering) async fn lock(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    event_name: &str,
    first: UsageEventId,
) -> Result<UsageEventId, DbErr> {
    bulk::insert(tx, TABLE, cells(tenant, event_name, first), KEY).await?;
    let row = of(tenant).filter(Column::Id.eq(event_name)).lock_exclusive().one(tx).await?;
    row.map(|row| row.last_event_id).ok_or_else(|| DbErr::RecordNotFound(format!("look at {event_name}")))
}

pub(in crate::metering) async fn save(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    event_name: &str,
    last: UsageEventId,
) -> Result<(), DbErr> {
    bulk::upsert(tx, TABLE, cells(tenant, event_name, last), KEY, &["last_event_id"]).await.map(drop)
}

fn cells(tenant: TenantId, event_name: &str, last: UsageEventId) -> Vec<Cells> {
    vec![
        Cells::new("tenant_id", [tenant.0]),
        Cells::new("id", [event_name.to_owned()]),
        Cells::new("last_event_id", [last.0]),
    ]
}
