//! The account's own endpoints: settings, keys, the audit log, jobs that died.

use accrue_core::id::{JobId, KeyId};
use accrue_platform::{
    body::{Body, Query},
    page::{Page, PageQuery},
    problem::{self, FieldError, Problem, ProblemBody},
    queue::{self, JobRow, JobState},
};
use actix_web::{delete, get, http::StatusCode, patch, post, web::Path};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa_actix_web::service_config::ServiceConfig;

use super::{
    caller::{Answer, Read, Write},
    model::{Key, KeyKind, NewKey, Tenant, TenantSettings},
    resource,
    service::{self, AuthError},
    store,
};

/// Mounts the endpoints.
pub fn routes(config: &mut ServiceConfig) {
    config
        .service(get_account)
        .service(update_account)
        .service(create_key)
        .service(list_keys)
        .service(revoke_key)
        .service(list_audit)
        .service(list_jobs)
        .service(retry_job)
        .service(discard_job);
}

/// The account in this mode.
#[derive(Serialize, utoipa::ToSchema)]
struct AccountBody {
    #[schema(value_type = String, example = "ten_01979f0c6a5e7c1f8f6d2b1a9e3c4d5f")]
    id: accrue_core::id::TenantId,
    #[schema(example = "account")]
    object: &'static str,
    livemode: bool,
    name: String,
    #[schema(example = "Europe/Berlin")]
    timezone: String,
    #[serde(flatten)]
    settings: TenantSettings,
    created_at: DateTime<Utc>,
}

impl From<&Tenant> for AccountBody {
    fn from(tenant: &Tenant) -> Self {
        let Tenant { id, livemode, name, timezone, settings, created_at, account_id: _ } = tenant.clone();
        Self { id, object: "account", livemode, name, timezone, settings, created_at }
    }
}

/// What to change; what is not named stays.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct UpdateAccount {
    name: Option<String>,
    timezone: Option<String>,
    issuer: Option<super::Issuer>,
    invoice_prefix: Option<String>,
    net_terms_days: Option<u16>,
    invoice_footer: Option<String>,
    brand_color: Option<String>,
}

impl UpdateAccount {
    fn apply(self, tenant: &mut Tenant) -> Result<(), Problem> {
        let mut errors = Vec::new();
        let mut refuse = |bad: bool, pointer: &str, detail: &str| {
            if bad {
                errors.push(FieldError::new(pointer, "malformed", detail));
            }
        };
        let is_zone = |zone: &String| zone.parse::<chrono_tz::Tz>().is_ok();
        let is_prefix = |prefix: &String| {
            (1..=12).contains(&prefix.len()) && prefix.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        let is_color = |color: &String| {
            color.len() == 7
                && color.starts_with('#')
                && color[1..].bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        refuse(self.timezone.as_ref().is_some_and(|zone| !is_zone(zone)), "/timezone", "is not an IANA zone");
        refuse(
            self.invoice_prefix.as_ref().is_some_and(|prefix| !is_prefix(prefix)),
            "/invoice_prefix",
            "has 1 to 12 ASCII letters and digits",
        );
        refuse(
            self.brand_color.as_ref().is_some_and(|color| !color.is_ascii() || !is_color(color)),
            "/brand_color",
            "is not a colour like #1f4fd8",
        );
        refuse(
            self.name.as_ref().is_some_and(|name| name.trim().is_empty() || name.len() > 200),
            "/name",
            "has 1 to 200 bytes",
        );
        if !errors.is_empty() {
            return Err(Problem::invalid(errors));
        }
        let settings = &mut tenant.settings;
        tenant.name = self.name.unwrap_or_else(|| tenant.name.clone());
        tenant.timezone = self.timezone.unwrap_or_else(|| tenant.timezone.clone());
        settings.issuer = self.issuer.unwrap_or_else(|| settings.issuer.clone());
        settings.invoice_prefix = self.invoice_prefix.unwrap_or_else(|| settings.invoice_prefix.clone());
        settings.net_terms_days = self.net_terms_days.unwrap_or(settings.net_terms_days);
        settings.invoice_footer = self.invoice_footer.or_else(|| settings.invoice_footer.clone());
        settings.brand_color = self.brand_color.unwrap_or_else(|| settings.brand_color.clone());
        Ok(())
    }
}

/// The account's settings.
#[utoipa::path(tag = "account", responses((status = 200, description = "The account", body = AccountBody)))]
#[get("/v1/account")]
async fn get_account(read: Read<resource::Account>) -> Answer {
    read.answer(&AccountBody::from(&read.tenant))
}

/// Change the account's settings.
#[utoipa::path(
    tag = "account",
    request_body = UpdateAccount,
    responses(
        (status = 200, description = "The account as it is now", body = AccountBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[patch("/v1/account")]
async fn update_account(write: Write<resource::Account>, body: Body<UpdateAccount>) -> Answer {
    let mut tenant = write.tenant.clone();
    body.0.apply(&mut tenant)?;

    let tx = write.begin().await?;
    service::save_tenant(&tx, &tenant).await?;
    write.commit(tx, StatusCode::OK, tenant.id, &AccountBody::from(&tenant)).await
}

/// An API key.
#[derive(Serialize, utoipa::ToSchema)]
struct KeyBody {
    id: KeyId,
    #[schema(example = "api_key")]
    object: &'static str,
    kind: KeyKind,
    name: String,
    #[schema(example = "sk_test_…x7Qw")]
    hint: String,
    scopes: Vec<String>,
    created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
    /// The key itself, in the answer that makes it and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl From<Key> for KeyBody {
    fn from(key: Key) -> Self {
        let Key { id, kind, name, hint, scopes, created_at, expires_at, revoked_at, tenant_id: _ } = key;
        Self {
            id,
            object: "api_key",
            kind,
            name,
            hint,
            scopes,
            created_at,
            expires_at,
            revoked_at,
            key: None,
        }
    }
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateKey {
    #[serde(default)]
    name: String,
    kind: KeyKind,
    /// Of a restricted key: `customers:read`, `usage:write`, … A resource alone (`calculate`) is both.
    #[serde(default)]
    scopes: Vec<String>,
    expires_at: Option<DateTime<Utc>>,
}

/// Make a key. The answer shows it this once.
#[utoipa::path(
    tag = "account",
    request_body = CreateKey,
    responses(
        (status = 201, description = "The key", body = KeyBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/api_keys")]
async fn create_key(write: Write<resource::Account>, body: Body<CreateKey>) -> Answer {
    let CreateKey { name, kind, scopes, expires_at } = body.0;
    let tx = write.begin().await?;
    let new = NewKey { name, kind, scopes, expires_at };
    let (key, text) = service::create_key(&tx, &write.tenant, new, write.app.now()).await?;
    let body = KeyBody { key: Some(text), ..key.into() };
    write.commit(tx, StatusCode::CREATED, body.id, &body).await
}

/// List the keys.
#[utoipa::path(
    tag = "account",
    params(PageQuery),
    responses((status = 200, description = "A page of keys", body = Page<KeyBody>)),
)]
#[get("/v1/api_keys")]
async fn list_keys(read: Read<resource::Account>, page: Query<PageQuery>) -> Answer {
    let keys = service::list_keys(read.db(), read.tenant_id(), &page.0).await?;
    read.answer(&Page::of(&page.0, "/v1/api_keys", keys, KeyBody::from))
}

/// Revoke a key.
///
/// From the next request on it opens nothing.
#[utoipa::path(
    tag = "account",
    params(("id" = String, Path, description = "The key's identifier")),
    responses(
        (status = 200, description = "The revoked key", body = KeyBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/api_keys/{id}/revoke")]
async fn revoke_key(write: Write<resource::Account>, id: Path<String>) -> Answer {
    let id: KeyId = id.parse()?;
    let tx = write.begin().await?;
    let key = service::revoke_key(&tx, write.tenant_id(), id, write.app.now()).await?;
    write.commit(tx, StatusCode::OK, id, &KeyBody::from(key)).await
}

/// Who did what when.
#[derive(Serialize, utoipa::ToSchema)]
struct AuditBody {
    id: accrue_core::id::AuditId,
    #[schema(example = "audit_entry")]
    object: &'static str,
    at: DateTime<Utc>,
    /// The key that was used.
    actor: String,
    #[schema(example = "POST /v1/customers")]
    action: String,
    object_id: Option<String>,
    request_id: String,
}

impl From<store::audit::Model> for AuditBody {
    fn from(row: store::audit::Model) -> Self {
        let store::audit::Model { id, at, actor, action, object_id, request_id, tenant_id: _ } = row;
        Self { id, object: "audit_entry", at, actor, action, object_id, request_id }
    }
}

/// The audit log: every change that came through the API.
#[utoipa::path(
    tag = "account",
    params(PageQuery),
    responses((status = 200, description = "A page of the log", body = Page<AuditBody>)),
)]
#[get("/v1/audit_log")]
async fn list_audit(read: Read<resource::Account>, page: Query<PageQuery>) -> Answer {
    let entries = service::list_audit(read.db(), read.tenant_id(), &page.0).await?;
    read.answer(&Page::of(&page.0, "/v1/audit_log", entries, AuditBody::from))
}

/// Which jobs to list.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct JobFilter {
    /// `dead` unless given.
    state: Option<JobState>,
}

/// A durable piece of work.
#[derive(Serialize, utoipa::ToSchema)]
struct JobBody {
    id: JobId,
    #[schema(example = "job")]
    object: &'static str,
    name: String,
    state: JobState,
    unique_key: String,
    run_at: DateTime<Utc>,
    runs: i32,
    last_error: Option<String>,
    created_at: DateTime<Utc>,
}

impl From<JobRow> for JobBody {
    fn from(row: JobRow) -> Self {
        let JobRow { id, name, state, unique_key, run_at, runs, last_error, created_at, .. } = row;
        Self { id, object: "job", name, state, unique_key, run_at, runs, last_error, created_at }
    }
}

/// List jobs, those that died unless told otherwise.
#[utoipa::path(
    tag = "account",
    params(JobFilter, PageQuery),
    responses((status = 200, description = "A page of jobs", body = Page<JobBody>)),
)]
#[get("/v1/jobs")]
async fn list_jobs(
    read: Read<resource::Account>,
    filter: Query<JobFilter>,
    page: Query<PageQuery>,
) -> Answer {
    let state = filter.0.state.unwrap_or(JobState::Dead);
    let jobs = queue::page(read.db(), read.tenant_id(), state, &page.0).await?;
    read.answer(&Page::of(&page.0, "/v1/jobs", jobs, JobBody::from))
}

/// The job that was moved.
#[derive(Serialize, utoipa::ToSchema)]
struct MovedJob {
    id: JobId,
    #[schema(example = "job")]
    object: &'static str,
    #[schema(example = "queued")]
    state: &'static str,
}

/// Let a dead job run again.
#[utoipa::path(
    tag = "account",
    params(("id" = String, Path, description = "The job's identifier")),
    responses(
        (status = 200, description = "The job waits to run", body = MovedJob),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/jobs/{id}/retry")]
async fn retry_job(write: Write<resource::Account>, id: Path<String>) -> Answer {
    let id: JobId = id.parse()?;
    let tx = write.begin().await?;
    let moved = queue::revive(&tx, write.app.now(), write.tenant_id(), id).await?;
    dead_job_was(moved)?;
    write.commit(tx, StatusCode::OK, id, &MovedJob { id, object: "job", state: "queued" }).await
}

/// Forget a dead job.
#[utoipa::path(
    tag = "account",
    params(("id" = String, Path, description = "The job's identifier")),
    responses(
        (status = 200, description = "The job is gone", body = MovedJob),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[delete("/v1/jobs/{id}")]
async fn discard_job(write: Write<resource::Account>, id: Path<String>) -> Answer {
    let id: JobId = id.parse()?;
    let tx = write.begin().await?;
    let moved = queue::discard(&tx, write.tenant_id(), id).await?;
    dead_job_was(moved)?;
    write.commit(tx, StatusCode::OK, id, &MovedJob { id, object: "job", state: "discarded" }).await
}

fn dead_job_was(found: bool) -> Result<(), Problem> {
    if found { Ok(()) } else { Err(Problem::not_found("dead job")) }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::NoSuchKey(_) => Self::not_found("key"),
            AuthError::NoSuchTenant(_) => Self::new(&problem::UNAUTHENTICATED, error.to_string()),
            AuthError::NoSuchScope(_) => Self::field("/scopes", "unknown", error.to_string()),
            AuthError::Database(error) => error.into(),
        }
    }
}
