//! The audit log over HTTP.

use accrue_platform::{
    body::Query,
    page::{Page, PageQuery},
    problem::ProblemBody,
};
use actix_web::get;
use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::auth::{
    caller::{Answer, Read},
    resource, service, store,
};

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
    responses(
        (status = 200, description = "A page of the log", body = Page<AuditBody>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/audit_log")]
pub(super) async fn list_audit(read: Read<resource::Account>, page: Query<PageQuery>) -> Answer {
    read.list("/v1/audit_log", page.0, async move |read, page| {
        let entries = service::list_audit(read.db(), read.tenant_id(), page).await?;
        Ok(entries.into_iter().map(AuditBody::from).collect())
    })
    .await
}
