//! What dunning tells others.

use accrue_platform::outbox::{self, Fact};
use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, DbErr};

use super::{body::DunningBody, model::Dunning};
use crate::auth::Tenant;

/// An automatic payment failed for the first time.
pub(super) const STARTED: &str = "dunning.started";
/// A step is over without success: its try failed too, or it only reminded.
pub(super) const STEP: &str = "dunning.step";
/// The debt is gone.
pub(super) const RECOVERED: &str = "dunning.recovered";
/// The last step has failed.
pub(super) const EXHAUSTED: &str = "dunning.exhausted";

/// Tells what happened to a dunning.
pub(super) async fn tell(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    kind: &'static str,
    dunning: &Dunning,
) -> Result<(), DbErr> {
    let fact = Fact::new(kind, dunning.id, &DunningBody::new(dunning, tenant.livemode))
        .of_customer(dunning.customer_id, dunning.test_clock_id);
    outbox::append(tx, now, tenant.id, fact).await.map(drop)
}
