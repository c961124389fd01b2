//! Events, endpoints and deliveries as others see them.

use accrue_core::id::{DeliveryAttemptId, DeliveryId, EventId, WebhookEndpointId};
use accrue_platform::{check::Metadata, outbox::Event};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::value::RawValue;

use super::model::{Attempt, Delivery, DeliveryStatus, DisabledReason, Endpoint};

/// Something that happened: what an endpoint receives, and what the log of events shows.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Event)]
pub(super) struct EventBody {
    /// The same at every attempt, and in the header `webhook-id`: drop what you have had.
    pub id: EventId,
    #[schema(example = "event")]
    object: &'static str,
    #[serde(rename = "type")]
    #[schema(example = "invoice.paid")]
    pub kind: String,
    pub created_at: DateTime<Utc>,
    pub livemode: bool,
    /// Grows by one with every event of the account. Deliveries are not ordered: drop what you have passed.
    /// Absent in the log until the event was told.
    pub sequence: Option<i64>,
    /// `{"object": …, "previous": …}`: the whole object after the event, and its changed fields before.
    #[schema(value_type = Object)]
    pub data: Box<RawValue>,
}

impl EventBody {
    /// `data` is passed on as it was written: its digits and the order of its fields stay.
    pub fn of(event: Event, livemode: bool) -> Self {
        let Event { id, kind, data, sequence, created_at, .. } = event;
        let data = RawValue::from_string(data).expect("the outbox stores JSON");
        Self { id, object: "event", kind, created_at, livemode, sequence, data }
    }

    /// An event that is in no log, about the endpoint itself.
    pub fn test(id: EventId, endpoint: &EndpointBody, now: DateTime<Utc>) -> Self {
        let data = serde_json::value::to_raw_value(&serde_json::json!({ "object": endpoint }))
            .expect("bodies are plain data");
        let kind = "webhook.test".to_owned();
        Self { id, object: "event", kind, created_at: now, livemode: endpoint.livemode, sequence: None, data }
    }

    /// What is signed and sent.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("bodies are plain data")
    }
}

/// Where events are sent.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = WebhookEndpoint)]
pub(super) struct EndpointBody {
    pub id: WebhookEndpointId,
    #[schema(example = "webhook_endpoint")]
    object: &'static str,
    pub livemode: bool,
    #[schema(example = "https://example.com/webhooks")]
    url: String,
    #[schema(example = json!(["invoice.*", "payment.failed"]))]
    events: Vec<String>,
    enabled: bool,
    /// Why it is not enabled.
    disabled_reason: Option<DisabledReason>,
    /// Since when no attempt has succeeded; after five days the endpoint is disabled.
    failing_since_at: Option<DateTime<Utc>>,
    metadata: Metadata,
    created_at: DateTime<Utc>,
    /// What signs the deliveries: in the answer that makes or rotates it, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: Option<String>,
}

impl EndpointBody {
    pub fn of(endpoint: &Endpoint, livemode: bool) -> Self {
        Self {
            id: endpoint.id,
            object: "webhook_endpoint",
            livemode,
            url: endpoint.url.clone(),
            events: endpoint.filters.iter().map(ToString::to_string).collect(),
            enabled: endpoint.is_enabled(),
            disabled_reason: endpoint.disabled,
            failing_since_at: endpoint.failing_since_at,
            metadata: endpoint.metadata.clone(),
            created_at: endpoint.created_at,
            secret: None,
        }
    }

    /// With the secret, which is shown this once.
    pub fn with_secret(endpoint: &Endpoint, secret: String, livemode: bool) -> Self {
        Self { secret: Some(secret), ..Self::of(endpoint, livemode) }
    }
}

/// One event on its way to one endpoint.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = WebhookDelivery)]
pub(super) struct DeliveryBody {
    pub id: DeliveryId,
    #[schema(example = "webhook_delivery")]
    object: &'static str,
    livemode: bool,
    endpoint: WebhookEndpointId,
    event: EventId,
    #[schema(example = "invoice.paid")]
    event_type: String,
    status: DeliveryStatus,
    attempt_count: i32,
    /// By the real time; for somebody on a test clock the first attempt is by that.
    next_attempt_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    /// Oldest first; only of a single delivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<Vec<AttemptBody>>,
}

/// One attempt at a delivery.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = WebhookAttempt)]
pub(super) struct AttemptBody {
    id: DeliveryAttemptId,
    /// What the endpoint answered, if it did.
    #[schema(example = 200)]
    answered_status: Option<u16>,
    /// The beginning of what it answered.
    answered_body: Option<String>,
    /// Why there was no answer.
    error: Option<String>,
    duration_ms: i64,
    created_at: DateTime<Utc>,
}

impl DeliveryBody {
    pub fn of(delivery: Delivery, attempts: Option<Vec<Attempt>>, livemode: bool) -> Self {
        Self {
            id: delivery.id,
            object: "webhook_delivery",
            livemode,
            endpoint: delivery.endpoint_id,
            event: delivery.event_id,
            event_type: delivery.event_type,
            status: delivery.status,
            attempt_count: delivery.attempts,
            next_attempt_at: delivery.next_attempt_at,
            created_at: delivery.created_at,
            attempts: attempts.map(|attempts| attempts.into_iter().map(AttemptBody::from).collect()),
        }
    }
}

impl From<Attempt> for AttemptBody {
    fn from(attempt: Attempt) -> Self {
        let Attempt { id, answered, error, duration_ms, created_at } = attempt;
        let (answered_status, answered_body) =
            answered.map(|answered| (answered.status, answered.body)).unzip();
        Self { id, answered_status, answered_body, error, duration_ms, created_at }
    }
}

#[cfg(test)]
mod tests {
    use accrue_core::id::TenantId;

    use super::*;

    fn event() -> Event {
        let at = "2026-01-31T10:00:00.000250Z".parse().unwrap();
        Event {
            tenant_id: TenantId::new(at),
            id: "evt_01979f0c6a5e7c1f8f6d2b1a9e3c4d5f".parse().unwrap(),
            kind: "invoice.paid".to_owned(),
            object_id: "inv_1".to_owned(),
            customer_id: None,
            test_clock_id: None,
            data: r#"{"object":{"z":1.50,"a":"é","big":12345678901234567890.10},"previous":{}}"#.to_owned(),
            cause: "system".to_owned(),
            sequence: Some(7),
            created_at: at,
        }
    }

    #[test]
    fn the_bytes_hold_the_data_as_it_was_written() {
        let text = String::from_utf8(EventBody::of(event(), true).to_bytes()).unwrap();
        insta::assert_snapshot!(text, @r#"{"id":"evt_01979f0c6a5e7c1f8f6d2b1a9e3c4d5f","object":"event","type":"invoice.paid","created_at":"2026-01-31T10:00:00.000250Z","livemode":true,"sequence":7,"data":{"object":{"z":1.50,"a":"é","big":12345678901234567890.10},"previous":{}}}"#);
    }

    #[test]
    fn every_attempt_has_the_same_bytes() {
        let bytes = || EventBody::of(event(), false).to_bytes();
        assert_eq!(bytes(), bytes());
    }
}
