//! When a month may leave, and noting that it did.

use std::path::PathBuf;

use accrue_core::clock::Clock;
use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, DbErr};

use super::model::{Hold, Written};
use crate::{
    auth::Tenant,
    catalog::{self, service::CatalogError},
    metering::{self, Archive, Month, service::MeteringError},
    subscriptions,
};

/// Why a month could not be archived.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("the archive {} cannot be written or read", .path.display())]
    File {
        /// Of the file, or its folder.
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the archive {} is not what was written", .0.display())]
    Damaged(PathBuf),
    #[error(transparent)]
    Metering(#[from] MeteringError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// Why a tenant's month has to stay, as far as that can be told before its events are read.
pub async fn hold(
    tx: &DatabaseTransaction,
    clock: &dyn Clock,
    tenant: &Tenant,
    month: Month,
) -> Result<Option<Hold>, ArchiveError> {
    Ok(until_final(tx, clock, tenant, month.plus(1).start()).await?.err())
}

/// Notes that a month is in a file, unless it has to stay after all. Whoever comes second gets what the first one noted.
pub async fn note(
    tx: &DatabaseTransaction,
    clock: &dyn Clock,
    tenant: &Tenant,
    written: Written,
) -> Result<Result<Archive, Hold>, ArchiveError> {
    metering::archive::stop(tx, tenant.id).await?;
    if let Some(noted) = metering::archive::find(tx, tenant.id, written.month).await? {
        return Ok(Ok(noted));
    }
    if metering::archive::was_corrected(tx, tenant.id, written.month, written.began_at).await? {
        return Ok(Err(metering::Hold::Corrected.into()));
    }
    let final_before = match until_final(tx, clock, tenant, written.contents.events_before).await? {
        Ok(final_before) => final_before,
        Err(hold) => return Ok(Err(hold)),
    };
    let Written { month, contents, file, bytes, sha256, began_at: _ } = written;
    let archive = Archive { tenant_id: tenant.id, month, contents, final_before, file, bytes, sha256 };
    metering::archive::note(tx, &archive, clock.now()).await?;
    Ok(Ok(archive))
}

/// Until when usage becomes final if all events of before `until` leave, or why they have to stay: a period that begins
/// before is still to be billed, or could be billed otherwise.
async fn until_final(
    tx: &DatabaseTransaction,
    clock: &dyn Clock,
    tenant: &Tenant,
    until: DateTime<Utc>,
) -> Result<Result<DateTime<Utc>, Hold>, ArchiveError> {
    for version in subscriptions::service::unbilled_before(tx, tenant.id, until).await? {
        let plan = catalog::service::get_plan_version(tx, tenant.id, version).await?;
        let meters = plan.prices.iter().any(|price| price.metric_id.is_some());
        // What features grant may be metered too.
        if meters || !plan.features.is_empty() {
            return Ok(Err(Hold::Running(plan.code)));
        }
    }
    let final_before = metering::archive::until_final(tx, clock, tenant, until).await?;
    Ok(final_before.map_err(Hold::from))
}
