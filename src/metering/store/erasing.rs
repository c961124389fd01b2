//! Taking a customer's events out, with all that is known of them.

use accrue_core::id::{CustomerId, TenantId};
use accrue_platform::bulk;
use sea_orm::{DatabaseTransaction, DbErr, QueryOrder, QuerySelect, entity::prelude::*};

use super::{
    events::identities,
    packs::{self, Column, READ_AT_ONCE},
    versions,
};
use crate::metering::model::{Shelving, identity};

/// Takes out some packs, and says whether there were any.
pub(in crate::metering) async fn some_packs(
    tx: &DatabaseTransaction,
    shelving: Shelving,
    tenant: TenantId,
    customer: CustomerId,
) -> Result<bool, DbErr> {
    let rows = packs::of(tenant)
        .filter(Column::CustomerId.eq(customer))
        .order_by_asc(Column::Id)
        .limit(READ_AT_ONCE)
        .lock_exclusive()
        .all(tx)
        .await?;
    let events = packs::unpack_all(&rows)?;
    let known: Vec<Uuid> =
        events.iter().map(|event| identity(shelving, &event.source, &event.event_id)).collect();
    for some in known.chunks(bulk::LIST_MAX) {
        identities::Entity::delete_many()
            .filter(identities::Column::TenantId.eq(tenant))
            .filter(bulk::one_of(tx, identities::Column::Id, some.to_vec()))
            .exec(tx)
            .await?;
    }
    let corrected: Vec<Uuid> = events
        .iter()
        .filter(|event| event.voided_at.is_some() || event.amended_at.is_some())
        .map(|event| event.id.0)
        .collect();
    for some in corrected.chunks(bulk::LIST_MAX) {
        versions::Entity::delete_many()
            .filter(versions::Column::TenantId.eq(tenant))
            .filter(bulk::one_of(tx, versions::Column::UsageEventId, some.to_vec()))
            .exec(tx)
            .await?;
    }
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    if !ids.is_empty() {
        packs::Entity::delete_many()
            .filter(Column::TenantId.eq(tenant))
            .filter(bulk::one_of(tx, Column::Id, ids))
            .exec(tx)
            .await?;
    }
    Ok(!rows.is_empty())
}
