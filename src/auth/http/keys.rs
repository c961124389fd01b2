//! Endpoints of API keys.

use accrue_core::id::KeyId;
use accrue_platform::{
    body::{Body, Query},
    check::Check,
    page::{Page, PageQuery},
    problem::{Problem, ProblemBody},
};
use actix_web::{
    get,
    http::StatusCode,
    post,
    web::{Data, Path},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::auth::{
    caller::{Answer, KnownCallers, Read, Write},
    model::{Key, KeyKind, NewKey},
    resource, service,
};

const NAME_MAX: usize = 100;

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

impl CreateKey {
    fn check(self, now: DateTime<Utc>) -> Result<NewKey, Problem> {
        let Self { name, kind, scopes, expires_at } = self;
        let mut check = Check::new();
        check.optional_text("/name", Some(name.as_str()).filter(|name| !name.is_empty()), NAME_MAX);
        match kind {
            KeyKind::Restricted if scopes.is_empty() => {
                check.refuse("/scopes", "required", "a restricted key has at least one scope");
            }
            KeyKind::Secret | KeyKind::Ingest if !scopes.is_empty() => {
                check.refuse("/scopes", "conflict", "only a key of the kind `restricted` has scopes");
            }
            KeyKind::Restricted | KeyKind::Secret | KeyKind::Ingest => {}
        }
        if expires_at.is_some_and(|end| end <= now) {
            check.refuse("/expires_at", "out_of_range", "lies in the past");
        }
        check.finish()?;
        Ok(NewKey { name, kind, scopes, expires_at })
    }
}

/// Make a key. The answer shows it this once.
///
/// It may do nothing that the key which makes it may not: only a secret key makes secret keys.
#[utoipa::path(
    tag = "account",
    request_body = CreateKey,
    responses(
        (status = 201, description = "The key", body = KeyBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/api_keys")]
pub(super) async fn create_key(write: Write<resource::Account>, body: Body<CreateKey>) -> Answer {
    let now = write.app.now();
    let new = body.0.check(now)?;

    let tx = write.begin().await?;
    let (key, text) = service::create_key_by(&tx, write.key(), &write.tenant, new, now).await?;
    let body = KeyBody { key: Some(text), ..key.into() };
    write.commit(tx, StatusCode::CREATED, body.id, &body).await
}

/// List the keys.
#[utoipa::path(
    tag = "account",
    params(PageQuery),
    responses(
        (status = 200, description = "A page of keys", body = Page<KeyBody>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/api_keys")]
pub(super) async fn list_keys(read: Read<resource::Account>, page: Query<PageQuery>) -> Answer {
    read.list("/v1/api_keys", page.0, async move |read, page| {
        let keys = service::list_keys(read.db(), read.tenant_id(), page).await?;
        Ok(keys.into_iter().map(KeyBody::from).collect())
    })
    .await
}

/// Revoke a key.
///
/// Within half a second it opens nothing any more. A key may revoke itself, unless it is the account's last secret key
/// in this mode: 409. (`accrue keys revoke` revokes that one too.)
#[utoipa::path(
    tag = "account",
    params(("id" = String, Path, description = "The key's identifier")),
    responses(
        (status = 200, description = "The revoked key", body = KeyBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/api_keys/{id}/revoke")]
pub(super) async fn revoke_key(
    write: Write<resource::Account>,
    id: Path<String>,
    callers: Data<KnownCallers>,
) -> Answer {
    let id: KeyId = id.parse()?;
    let tx = write.begin().await?;
    let key = service::revoke_key_unless_last(&tx, write.tenant_id(), id, write.app.now()).await?;
    let answer = write.commit(tx, StatusCode::OK, id, &KeyBody::from(key)).await;
    callers.forget();
    answer
}
