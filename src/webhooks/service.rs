//! The verbs of webhooks.

use accrue_core::id::{DeliveryId, EventId, TenantId, TestClockId, WebhookEndpointId};
use accrue_platform::{
    check::Metadata,
    outbox::Event,
    page::{PageError, PageQuery},
    secrets::Vault,
    signature::Secret,
};
use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};
use secrecy::ExposeSecret;

use super::{
    events,
    jobs::{Deliver, Replay},
    model::{
        Attempt, Delivery, DeliveryStatus, ENDPOINTS_MAX, Endpoint, Filter, IllegalTransition, ROTATION,
        Verdict,
    },
    store,
};
use crate::auth::Tenant;
pub(super) use store::DeliveryFilter;

/// Why webhooks refuse.
#[derive(Debug, thiserror::Error)]
pub(super) enum WebhookError {
    #[error("webhook endpoint {0} does not exist")]
    NoSuchEndpoint(WebhookEndpointId),
    #[error("webhook delivery {0} does not exist")]
    NoSuchDelivery(DeliveryId),
    #[error("there are {ENDPOINTS_MAX} webhook endpoints already, which is the most")]
    TooManyEndpoints,
    #[error("webhook endpoint {0} is disabled")]
    Disabled(WebhookEndpointId),
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// What a new endpoint shall be.
pub(super) struct NewEndpoint {
    pub url: String,
    pub filters: Vec<Filter>,
    /// Made for it unless given.
    pub secret: Option<Secret>,
    pub metadata: Metadata,
}

/// What shall change; what is not named stays.
#[derive(Default)]
pub(super) struct EndpointChange {
    pub url: Option<String>,
    pub filters: Option<Vec<Filter>>,
    pub enabled: Option<bool>,
    pub metadata: Option<Metadata>,
}

/// Makes an endpoint, and answers with its secret, which is shown this once.
pub(super) async fn create_endpoint(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    vault: &Vault,
    tenant: TenantId,
    new: NewEndpoint,
) -> Result<(Endpoint, String), WebhookError> {
    if store::count_endpoints(tx, tenant).await? >= ENDPOINTS_MAX {
        return Err(WebhookError::TooManyEndpoints);
    }
    let NewEndpoint { url, filters, secret, metadata } = new;
    let secret = reveal(&secret.unwrap_or_else(Secret::generate));
    let endpoint = Endpoint {
        tenant_id: tenant,
        id: WebhookEndpointId::new(now),
        url,
        filters,
        secret_sealed: vault.seal(tenant, &secret),
        previous_secret: None,
        disabled: None,
        failing_since_at: None,
        metadata,
        created_at: now,
        deleted_at: None,
    };
    store::insert_endpoint(tx, &endpoint).await?;
    Ok((endpoint, secret))
}

pub(super) async fn get_endpoint(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: WebhookEndpointId,
) -> Result<Endpoint, WebhookError> {
    store::find_endpoint(db, tenant, id).await?.ok_or(WebhookError::NoSuchEndpoint(id))
}

async fn get_endpoint_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: WebhookEndpointId,
) -> Result<Endpoint, WebhookError> {
    store::find_endpoint_for_update(tx, tenant, id).await?.ok_or(WebhookError::NoSuchEndpoint(id))
}

/// `None` if it is disabled or deleted.
pub(super) async fn find_enabled_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: WebhookEndpointId,
) -> Result<Option<Endpoint>, DbErr> {
    Ok(store::find_endpoint_for_update(tx, tenant, id).await?.filter(Endpoint::is_enabled))
}

pub(super) async fn list_endpoints(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    page: &PageQuery,
) -> Result<Vec<Endpoint>, PageError> {
    store::list_endpoints(db, tenant, page).await
}

pub(super) async fn update_endpoint(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: WebhookEndpointId,
    change: EndpointChange,
) -> Result<Endpoint, WebhookError> {
    let mut endpoint = get_endpoint_for_update(tx, tenant, id).await?;
    let EndpointChange { url, filters, enabled, metadata } = change;
    endpoint.url = url.unwrap_or(endpoint.url);
    endpoint.filters = filters.unwrap_or(endpoint.filters);
    endpoint.metadata = metadata.unwrap_or(endpoint.metadata);
    if let Some(enabled) = enabled {
        endpoint.set_enabled(enabled);
    }
    store::save_endpoint(tx, &endpoint).await?;
    Ok(endpoint)
}

/// Makes a new secret and answers with it. For a day the old one signs too.
pub(super) async fn rotate_secret(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    vault: &Vault,
    tenant: TenantId,
    id: WebhookEndpointId,
) -> Result<(Endpoint, String), WebhookError> {
    let mut endpoint = get_endpoint_for_update(tx, tenant, id).await?;
    let secret = reveal(&Secret::generate());
    let old = std::mem::replace(&mut endpoint.secret_sealed, vault.seal(tenant, &secret));
    endpoint.previous_secret = Some((old, now + ROTATION));
    store::save_endpoint(tx, &endpoint).await?;
    Ok((endpoint, secret))
}

/// Nothing is sent there any more, and its secrets are forgotten. What was delivered stays in the log.
pub(super) async fn delete_endpoint(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: TenantId,
    id: WebhookEndpointId,
) -> Result<(), WebhookError> {
    let mut endpoint = get_endpoint_for_update(tx, tenant, id).await?;
    endpoint.set_enabled(false);
    endpoint.secret_sealed.clear();
    endpoint.previous_secret = None;
    endpoint.deleted_at = Some(now);
    store::save_endpoint(tx, &endpoint).await?;
    Ok(store::cancel_deliveries(tx, tenant, id).await?)
}

fn reveal(secret: &Secret) -> String {
    secret.reveal().expose_secret().to_owned()
}

/// An event has happened: starts a delivery to each endpoint that wants to hear it.
pub(super) async fn announce(tx: &DatabaseTransaction, event: &Event) -> Result<(), DbErr> {
    let endpoints = store::enabled_endpoints(tx, event.tenant_id).await?;
    for endpoint in endpoints.iter().filter(|endpoint| endpoint.hears(&event.kind)) {
        start_delivery(tx, endpoint, event, event.created_at, event.test_clock_id).await?;
    }
    Ok(())
}

/// `false` if the endpoint has a delivery of the event already. `now` is the time of the test clock, if there is one.
async fn start_delivery(
    tx: &DatabaseTransaction,
    endpoint: &Endpoint,
    event: &Event,
    now: DateTime<Utc>,
    test_clock: Option<TestClockId>,
) -> Result<bool, DbErr> {
    let delivery = Delivery {
        tenant_id: event.tenant_id,
        id: DeliveryId::new(now),
        endpoint_id: endpoint.id,
        event_id: event.id,
        event_type: event.kind.clone(),
        status: DeliveryStatus::Pending,
        attempts: 0,
        next_attempt_at: Some(now),
        created_at: now,
    };
    let inserted = store::insert_delivery(tx, &delivery).await?;
    if inserted {
        Deliver::next(&delivery).enqueue(tx, &delivery, test_clock).await?;
    }
    Ok(inserted)
}

/// Has an endpoint told of everything since then that it has not taken. `now` is the wall clock's.
pub(super) async fn start_replay(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: TenantId,
    id: WebhookEndpointId,
    since: DateTime<Utc>,
) -> Result<(), WebhookError> {
    if !get_endpoint_for_update(tx, tenant, id).await?.is_enabled() {
        return Err(WebhookError::Disabled(id));
    }
    // Before those of everything that happened from then on.
    let after = EventId::new(since.checked_sub_signed(TimeDelta::milliseconds(1)).unwrap_or(since));
    Ok(Replay { endpoint: id, after }.enqueue(tx, tenant, now).await?)
}

/// Has an endpoint told again of an event that it never took, or that it was never told of.
pub(super) async fn replay(
    tx: &DatabaseTransaction,
    wall: DateTime<Utc>,
    endpoint: &Endpoint,
    event: &Event,
) -> Result<(), WebhookError> {
    if !endpoint.hears(&event.kind) || start_delivery(tx, endpoint, event, wall, None).await? {
        return Ok(());
    }
    let delivery = store::find_delivery_of_event_for_update(tx, endpoint, event.id).await?;
    match delivery {
        Some(mut delivery)
            if matches!(delivery.status, DeliveryStatus::Exhausted | DeliveryStatus::Canceled) =>
        {
            start_retry(tx, wall, &mut delivery).await
        }
        _ => Ok(()),
    }
}

/// What an attempt at a delivery needs, or `None` if there is none to make: it was made already, or somebody
/// has ended the delivery.
pub(super) async fn find_due(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    job: &Deliver,
) -> Result<Option<(Delivery, Endpoint)>, DbErr> {
    let delivery = store::find_delivery(db, tenant, job.delivery).await?;
    let Some(delivery) = delivery.filter(|delivery| is_due(delivery, job)) else { return Ok(None) };
    let endpoint = store::get_endpoint(db, tenant, delivery.endpoint_id).await?;
    Ok(Some((delivery, endpoint)))
}

fn is_due(delivery: &Delivery, job: &Deliver) -> bool {
    delivery.status == DeliveryStatus::Pending && delivery.next_position() == job.position
}

/// Whether nothing has been delivered to the endpoint since an attempt failed.
pub(super) async fn is_failing(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    job: &Deliver,
) -> Result<bool, DbErr> {
    let endpoint = store::find_endpoint(db, tenant, job.endpoint).await?;
    Ok(endpoint.is_some_and(|endpoint| endpoint.is_enabled() && endpoint.failing_since_at.is_some()))
}

/// A test clock that is moved waits for no endpoint that does not answer: the attempt is made by the real time.
pub(super) async fn go_by_the_wall_clock(
    tx: &DatabaseTransaction,
    wall: DateTime<Utc>,
    tenant: TenantId,
    job: &Deliver,
) -> Result<(), WebhookError> {
    let delivery = store::find_delivery_for_update(tx, tenant, job.delivery).await?;
    let Some(mut delivery) = delivery.filter(|delivery| is_due(delivery, job)) else { return Ok(()) };
    delivery.next_attempt_at = Some(wall);
    store::save_delivery(tx, &delivery).await?;
    Ok(job.enqueue_now(tx, &delivery, wall).await?)
}

/// An attempt was made: writes it down, and what follows from it for the delivery and its endpoint.
pub(super) async fn record_attempt(
    tx: &DatabaseTransaction,
    wall: DateTime<Utc>,
    tenant: &Tenant,
    endpoint: &Endpoint,
    job: &Deliver,
    attempt: &Attempt,
) -> Result<(), WebhookError> {
    let verdict = attempt.verdict();
    if verdict != Verdict::Success || endpoint.failing_since_at.is_some() {
        // Locked before its deliveries, here and everywhere.
        let endpoint = store::find_endpoint_for_update(tx, tenant.id, endpoint.id).await?;
        if let Some(mut endpoint) = endpoint {
            note(tx, wall, tenant.livemode, &mut endpoint, verdict).await?;
        }
    }
    let delivery = store::find_delivery_for_update(tx, tenant.id, job.delivery).await?;
    // Somebody else made the same attempt: his is in the log.
    let Some(mut delivery) = delivery.filter(|delivery| is_due(delivery, job)) else { return Ok(()) };
    delivery.attempted(attempt, wall)?;
    store::insert_attempt(tx, &delivery, attempt).await?;
    store::save_delivery(tx, &delivery).await?;
    if delivery.status == DeliveryStatus::Pending {
        Deliver::next(&delivery).enqueue(tx, &delivery, None).await?;
    }
    Ok(())
}

async fn note(
    tx: &DatabaseTransaction,
    wall: DateTime<Utc>,
    livemode: bool,
    endpoint: &mut Endpoint,
    verdict: Verdict,
) -> Result<(), DbErr> {
    let before = endpoint.clone();
    let disabled = endpoint.note(verdict, wall);
    if *endpoint != before {
        store::save_endpoint(tx, endpoint).await?;
    }
    if disabled {
        events::disabled(tx, wall, endpoint, livemode).await?;
    }
    Ok(())
}

/// The endpoint hears nothing any more: the delivery ends.
pub(super) async fn cancel_delivery(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    job: &Deliver,
) -> Result<(), WebhookError> {
    let delivery = store::find_delivery_for_update(tx, tenant, job.delivery).await?;
    let Some(mut delivery) = delivery.filter(|delivery| is_due(delivery, job)) else { return Ok(()) };
    delivery.cancel()?;
    Ok(store::save_delivery(tx, &delivery).await?)
}

pub(super) async fn get_delivery(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: DeliveryId,
) -> Result<Delivery, WebhookError> {
    store::find_delivery(db, tenant, id).await?.ok_or(WebhookError::NoSuchDelivery(id))
}

pub(super) async fn attempts_of(
    db: &impl ConnectionTrait,
    delivery: &Delivery,
) -> Result<Vec<Attempt>, DbErr> {
    store::attempts_of(db, delivery).await
}

pub(super) async fn list_deliveries(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    filter: &DeliveryFilter,
    page: &PageQuery,
) -> Result<Vec<Delivery>, PageError> {
    store::list_deliveries(db, tenant, filter, page).await
}

/// One more attempt, as soon as the transaction has committed.
pub(super) async fn retry_delivery(
    tx: &DatabaseTransaction,
    wall: DateTime<Utc>,
    tenant: TenantId,
    id: DeliveryId,
) -> Result<Delivery, WebhookError> {
    let delivery = store::find_delivery_for_update(tx, tenant, id).await?;
    let mut delivery = delivery.ok_or(WebhookError::NoSuchDelivery(id))?;
    let endpoint = store::get_endpoint(tx, tenant, delivery.endpoint_id).await?;
    if !endpoint.is_enabled() {
        return Err(WebhookError::Disabled(endpoint.id));
    }
    start_retry(tx, wall, &mut delivery).await?;
    Ok(delivery)
}

async fn start_retry(
    tx: &DatabaseTransaction,
    wall: DateTime<Utc>,
    delivery: &mut Delivery,
) -> Result<(), WebhookError> {
    delivery.retry(wall)?;
    store::save_delivery(tx, delivery).await?;
    Ok(Deliver::next(delivery).enqueue_now(tx, delivery, wall).await?)
}
