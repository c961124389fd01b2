//! What webhooks themselves tell.

use accrue_platform::outbox::{self, Fact};
use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, DbErr};

use super::{body::EndpointBody, model::Endpoint};

/// An endpoint will hear nothing any more, by its own fault. The other endpoints hear of it.
pub(super) async fn disabled(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    endpoint: &Endpoint,
    livemode: bool,
) -> Result<(), DbErr> {
    let fact = Fact::new("webhook_endpoint.disabled", endpoint.id, &EndpointBody::of(endpoint, livemode));
    outbox::append(tx, now, endpoint.tenant_id, fact).await.map(drop)
}
