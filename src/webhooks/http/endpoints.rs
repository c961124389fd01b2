//! Webhook endpoints over HTTP.

use accrue_core::id::{EventId, WebhookEndpointId};
use accrue_platform::{
    body::{Body, Query},
    check::{Check, Metadata},
    egress::{Egress, EgressError},
    page::{Page, PageQuery},
    problem::{Problem, ProblemBody},
    routes::Routes,
    signature::Secret,
};
use actix_web::{delete, get, http::StatusCode, patch, post, web::Path};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    auth::{Answer, Read, Write, resource},
    webhooks::{
        body::{AttemptBody, EndpointBody, EventBody},
        known,
        model::{Filter, Verdict},
        send,
        service::{self, EndpointChange, NewEndpoint},
    },
};

const URL: &str = "/v1/webhook_endpoints";
const FILTERS_MAX: usize = 100;

pub(super) fn routes(routes: &mut Routes) {
    routes
        .service(create)
        .service(list)
        .service(get)
        .service(update)
        .service(remove)
        .service(rotate_secret)
        .service(test)
        .service(replay);
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateWebhookEndpoint {
    /// On the public internet, or in a range that the installation allows.
    #[schema(example = "https://example.com/webhooks")]
    url: String,
    /// `*`, `invoice.*`, `payment.failed`.
    #[schema(example = json!(["*"]))]
    events: Vec<String>,
    /// `whsec_` and 24 to 64 bytes in base64; made for you unless given.
    secret: Option<String>,
    #[serde(default)]
    metadata: Metadata,
}

impl CreateWebhookEndpoint {
    fn read(self, egress: &Egress) -> Result<NewEndpoint, Problem> {
        let mut check = Check::new();
        check_url(&mut check, egress, &self.url);
        let filters = read_filters(&mut check, &self.events);
        let secret = self.secret.as_deref().and_then(|secret| read_secret(&mut check, secret));
        check.metadata("/metadata", &self.metadata);
        check.finish()?;
        Ok(NewEndpoint { url: self.url, filters, secret, metadata: self.metadata })
    }
}

/// What to change; what is not named stays.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct UpdateWebhookEndpoint {
    url: Option<String>,
    events: Option<Vec<String>>,
    /// Turned on, an endpoint starts with a clean record. What happened while it was off can be replayed.
    enabled: Option<bool>,
    metadata: Option<Metadata>,
}

impl UpdateWebhookEndpoint {
    fn read(self, egress: &Egress) -> Result<EndpointChange, Problem> {
        let Self { url, events, enabled, metadata } = self;
        let mut check = Check::new();
        if let Some(url) = &url {
            check_url(&mut check, egress, url);
        }
        let filters = events.map(|events| read_filters(&mut check, &events));
        if let Some(metadata) = &metadata {
            check.metadata("/metadata", metadata);
        }
        check.finish()?;
        Ok(EndpointChange { url, filters, enabled, metadata })
    }
}

fn check_url(check: &mut Check, egress: &Egress, url: &str) {
    if let Err(error) = egress.check_url(url) {
        let hint = match error {
            EgressError::Forbidden(_) => {
                "; addresses of your own are allowed by the setting ACCRUE_WEBHOOK_ALLOW"
            }
            _ => "",
        };
        check.refuse("/url", "unreachable", format!("{error}{hint}"));
    }
}

fn read_filters(check: &mut Check, events: &[String]) -> Vec<Filter> {
    if !(1..=FILTERS_MAX).contains(&events.len()) {
        check.refuse("/events", "out_of_range", format!("has 1 to {FILTERS_MAX} entries"));
    }
    let mut filters = Vec::new();
    for (index, text) in events.iter().enumerate().take(FILTERS_MAX) {
        match text.parse::<Filter>() {
            Ok(filter) => match known::never_told(text) {
                None => filters.push(filter),
                Some(nearest) => check.refuse(format!("/events/{index}"), "unknown", nearest),
            },
            Err(error) => check.refuse(format!("/events/{index}"), "malformed", error.to_string()),
        }
    }
    filters
}

fn read_secret(check: &mut Check, secret: &str) -> Option<Secret> {
    secret.parse().map_err(|error| check.refuse("/secret", "malformed", format!("{error}"))).ok()
}

/// Make a webhook endpoint.
///
/// The answer shows its secret this once. Deliveries follow Standard Webhooks 1.0: verify the headers
/// `webhook-id`, `webhook-timestamp` and `webhook-signature` with the secret.
#[utoipa::path(
    tag = "webhooks",
    request_body = CreateWebhookEndpoint,
    responses(
        (status = 201, description = "The endpoint with its secret", body = EndpointBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/webhook_endpoints")]
async fn create(write: Write<resource::Webhooks>, body: Body<CreateWebhookEndpoint>) -> Answer {
    let new = body.0.read(&write.app.egress)?;

    let tx = write.begin().await?;
    let (now, vault) = (write.app.now(), &write.app.vault);
    let (endpoint, secret) = service::create_endpoint(&tx, now, vault, write.tenant_id(), new).await?;
    let body = EndpointBody::with_secret(&endpoint, secret, write.tenant.livemode);
    write.commit(tx, StatusCode::CREATED, endpoint.id, &body).await
}

/// List the webhook endpoints.
#[utoipa::path(
    tag = "webhooks",
    params(PageQuery),
    responses(
        (status = 200, description = "A page of endpoints", body = Page<EndpointBody>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/webhook_endpoints")]
async fn list(read: Read<resource::Webhooks>, page: Query<PageQuery>) -> Answer {
    read.list(URL, page.0, async move |read, page| {
        let endpoints = service::list_endpoints(read.db(), read.tenant_id(), page).await?;
        let body = |endpoint| EndpointBody::of(&endpoint, read.tenant.livemode);
        Ok(endpoints.into_iter().map(body).collect())
    })
    .await
}

/// A webhook endpoint.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = String, Path, description = "The endpoint's identifier")),
    responses(
        (status = 200, description = "The endpoint", body = EndpointBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/webhook_endpoints/{id}")]
async fn get(read: Read<resource::Webhooks>, id: Path<String>) -> Answer {
    let endpoint = service::get_endpoint(read.db(), read.tenant_id(), parse(&id)?).await?;
    read.answer(&EndpointBody::of(&endpoint, read.tenant.livemode))
}

/// Change a webhook endpoint, or turn it on or off.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = String, Path, description = "The endpoint's identifier")),
    request_body = UpdateWebhookEndpoint,
    responses(
        (status = 200, description = "The endpoint as it is now", body = EndpointBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[patch("/v1/webhook_endpoints/{id}")]
async fn update(
    write: Write<resource::Webhooks>,
    id: Path<String>,
    body: Body<UpdateWebhookEndpoint>,
) -> Answer {
    let (id, change) = (parse(&id)?, body.0.read(&write.app.egress)?);

    let tx = write.begin().await?;
    let endpoint = service::update_endpoint(&tx, write.tenant_id(), id, change).await?;
    let body = EndpointBody::of(&endpoint, write.tenant.livemode);
    write.commit(tx, StatusCode::OK, id, &body).await
}

/// What is gone.
#[derive(Serialize, utoipa::ToSchema)]
struct DeletedWebhookEndpoint {
    id: WebhookEndpointId,
    #[schema(example = "webhook_endpoint")]
    object: &'static str,
    deleted: bool,
}

/// Delete a webhook endpoint.
///
/// What is on its way to it is canceled. The log of its deliveries stays.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = String, Path, description = "The endpoint's identifier")),
    responses(
        (status = 200, description = "The endpoint is gone", body = DeletedWebhookEndpoint),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[delete("/v1/webhook_endpoints/{id}")]
async fn remove(write: Write<resource::Webhooks>, id: Path<String>) -> Answer {
    let id = parse(&id)?;
    let tx = write.begin().await?;
    service::delete_endpoint(&tx, write.app.now(), write.tenant_id(), id).await?;
    let body = DeletedWebhookEndpoint { id, object: "webhook_endpoint", deleted: true };
    write.commit(tx, StatusCode::OK, id, &body).await
}

/// Give a webhook endpoint a new secret.
///
/// The answer shows it this once. For 24 hours deliveries are signed with the old one too.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = String, Path, description = "The endpoint's identifier")),
    responses(
        (status = 200, description = "The endpoint with its new secret", body = EndpointBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/webhook_endpoints/{id}/rotate_secret")]
async fn rotate_secret(write: Write<resource::Webhooks>, id: Path<String>) -> Answer {
    let id = parse(&id)?;
    let tx = write.begin().await?;
    let (now, vault) = (write.app.now(), &write.app.vault);
    let (endpoint, secret) = service::rotate_secret(&tx, now, vault, write.tenant_id(), id).await?;
    let body = EndpointBody::with_secret(&endpoint, secret, write.tenant.livemode);
    write.commit(tx, StatusCode::OK, id, &body).await
}

/// What an endpoint said to a test.
#[derive(Serialize, utoipa::ToSchema)]
struct WebhookTest {
    #[schema(example = "webhook_test")]
    object: &'static str,
    livemode: bool,
    endpoint: WebhookEndpointId,
    /// The event that was sent; it is in no log.
    event: EventId,
    /// Did the endpoint answer 2xx?
    succeeded: bool,
    attempt: AttemptBody,
}

/// Send a `webhook.test` event now.
///
/// The answer holds what the endpoint said. A disabled endpoint can be tested too.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = String, Path, description = "The endpoint's identifier")),
    responses(
        (status = 200, description = "What the endpoint said", body = WebhookTest),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/webhook_endpoints/{id}/test")]
async fn test(write: Write<resource::Webhooks>, id: Path<String>) -> Answer {
    let (id, now, livemode) = (parse(&id)?, write.app.now(), write.tenant.livemode);
    let endpoint = service::get_endpoint(write.db(), write.tenant_id(), id).await?;
    let event = EventId::new(now);
    let body = EventBody::test(event, &EndpointBody::of(&endpoint, livemode), now).to_bytes();
    let attempt =
        send::attempt(&write.app, &endpoint, event, body).await.map_err(|error| Problem::internal(&error))?;

    let body = WebhookTest {
        object: "webhook_test",
        livemode,
        endpoint: id,
        event,
        succeeded: attempt.verdict() == Verdict::Success,
        attempt: attempt.into(),
    };
    let tx = write.begin().await?;
    write.commit(tx, StatusCode::OK, id, &body).await
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct ReplayWebhooks {
    since: DateTime<Utc>,
}

/// A replay that has been started.
#[derive(Serialize, utoipa::ToSchema)]
struct WebhookReplay {
    #[schema(example = "webhook_replay")]
    object: &'static str,
    livemode: bool,
    endpoint: WebhookEndpointId,
    since: DateTime<Utc>,
}

/// Deliver what an endpoint missed.
///
/// Every event since then that the endpoint wants to hear and has not taken is sent to it again: what was
/// exhausted or canceled, and what happened while it was off or did not exist.
#[utoipa::path(
    tag = "webhooks",
    params(("id" = String, Path, description = "The endpoint's identifier")),
    request_body = ReplayWebhooks,
    responses(
        (status = 202, description = "The replay has been started", body = WebhookReplay),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/webhook_endpoints/{id}/replay")]
async fn replay(write: Write<resource::Webhooks>, id: Path<String>, body: Body<ReplayWebhooks>) -> Answer {
    let (id, since) = (parse(&id)?, body.0.since);
    let tx = write.begin().await?;
    service::start_replay(&tx, write.app.now(), write.tenant_id(), id, since).await?;
    let livemode = write.tenant.livemode;
    let body = WebhookReplay { object: "webhook_replay", livemode, endpoint: id, since };
    write.commit(tx, StatusCode::ACCEPTED, id, &body).await
}

/// What is not an identifier names nothing.
fn parse(text: &str) -> Result<WebhookEndpointId, Problem> {
    text.parse().map_err(|_| Problem::not_found("webhook endpoint"))
}

#[cfg(test)]
mod tests {
    use accrue_platform::egress::EgressConfig;

    use super::*;

    #[test]
    fn every_mistake_in_a_new_endpoint_is_named() {
        let egress = Egress::try_new(EgressConfig::default()).unwrap();
        let body = CreateWebhookEndpoint {
            url: "http://169.254.169.254/".to_owned(),
            events: vec!["*".to_owned(), "invoice".to_owned()],
            secret: Some("hunter2".to_owned()),
            metadata: Metadata::from([("k".repeat(41), String::new())]),
        };
        let problem = body.read(&egress).err().unwrap();
        let pointers: Vec<_> = problem.errors.iter().map(|error| &error.pointer[..4]).collect();
        assert_eq!(pointers, ["/url", "/eve", "/sec", "/met"]);
        assert!(!format!("{problem:?}").contains("hunter2"));
    }

    #[test]
    fn an_endpoint_hears_something() {
        let mut check = Check::new();
        assert!(read_filters(&mut check, &[]).is_empty());
        assert!(check.finish().is_err());
    }
}
