//! `/v1/features`

use accrue_core::id::MetricId;
use accrue_platform::{
    body::{Body, Query},
    check::{Check, Metadata},
    page::{Page, PageQuery},
    problem::{Problem, ProblemBody},
    routes::Routes,
};
use actix_web::{delete, get, http::StatusCode, patch, post, web::Path};
use serde::Deserialize;

use super::{ArchivedFilter, NAME_MAX, refuse_archived};
use crate::{
    auth::{Answer, Read, Write, resource},
    catalog::{
        archiving,
        body::{FeatureBody, RemovedBody},
        model::{FeatureChange, FeatureKind, NewFeature, check_feature},
        service::{self, Named},
    },
};

pub(super) fn routes(routes: &mut Routes) {
    routes
        .service(create_feature)
        .service(list_features)
        .service(get_feature)
        .service(update_feature)
        .service(remove_feature)
        .service(archive_feature)
        .service(unarchive_feature);
}

/// A feature to be made.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateFeature {
    /// Your name for it, for programs.
    #[schema(example = "seats")]
    code: String,
    /// For people; the code unless given.
    #[schema(example = "Seats")]
    name: Option<String>,
    kind: FeatureKind,
    /// Of a metered feature: the identifier or code of the metric that is counted against its limit.
    #[schema(example = "tokens")]
    metric: Option<String>,
    #[serde(default)]
    metadata: Metadata,
}

impl CreateFeature {
    fn check(self, named: &Named) -> Result<NewFeature, Problem> {
        let Self { code, name, kind, metric, metadata } = self;
        let mut check = Check::new();
        check.code("/code", &code);
        check.optional_text("/name", name.as_deref(), NAME_MAX);
        check.invalid("", check_feature(kind, metric.is_some()));
        let metric_id = metric_id(&mut check, "/metric", metric.as_deref(), named);
        check.metadata("/metadata", &metadata);
        check.finish()?;
        let name = name.unwrap_or_else(|| code.clone());
        Ok(NewFeature { code, name, kind, metric_id, metadata })
    }
}

/// What to change of a feature; what is not named stays. Its code, its kind and its metric never change: plans grant it by
/// them.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct UpdateFeature {
    #[schema(example = "Seats")]
    name: Option<String>,
    /// Replaces all notes.
    metadata: Option<Metadata>,
}

impl UpdateFeature {
    fn check(self) -> Result<FeatureChange, Problem> {
        let Self { name, metadata } = self;
        let mut check = Check::new();
        check.optional_text("/name", name.as_deref(), NAME_MAX);
        if let Some(metadata) = &metadata {
            check.metadata("/metadata", metadata);
        }
        check.finish()?;
        Ok(FeatureChange { name, metadata })
    }
}

/// The metric that is named, if one is; refuses one that does not exist, or that is archived.
pub(super) fn metric_id(
    check: &mut Check,
    pointer: &str,
    reference: Option<&str>,
    named: &Named,
) -> Option<MetricId> {
    let found = reference.and_then(|reference| named.metric(reference));
    if reference.is_some() && found.is_none() {
        check.refuse(pointer, "unknown", "is neither the identifier nor the code of a metric");
    }
    if let Some(metric) = found {
        refuse_archived(check, pointer, "metric", &metric.code, metric.archived_at);
    }
    found.map(|metric| metric.id)
}

/// Make a feature.
#[utoipa::path(
    tag = "catalog",
    request_body = CreateFeature,
    responses(
        (status = 201, description = "The feature", body = FeatureBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/features")]
async fn create_feature(write: Write<resource::Catalog>, body: Body<CreateFeature>) -> Answer {
    let tx = write.begin().await?;
    let metrics = Vec::from_iter(body.0.metric.as_deref());
    let named = service::named(&tx, write.tenant_id(), &metrics, &[]).await?;
    let new = body.0.check(&named)?;
    let feature = service::create_feature(&tx, write.app.now(), &write.tenant, new).await?;
    let body = FeatureBody::of(feature, write.tenant.livemode);
    write.commit(tx, StatusCode::CREATED, body.id, &body).await
}

/// List features.
#[utoipa::path(
    tag = "catalog",
    params(ArchivedFilter, PageQuery),
    responses(
        (status = 200, description = "A page of features", body = Page<FeatureBody>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/features")]
async fn list_features(
    read: Read<resource::Catalog>,
    filter: Query<ArchivedFilter>,
    page: Query<PageQuery>,
) -> Answer {
    read.list("/v1/features", page.0, async move |read, page| {
        let features =
            service::list_features(read.db(), read.tenant_id(), filter.0.is_archived(), page).await?;
        let body = |feature| FeatureBody::of(feature, read.tenant.livemode);
        Ok(features.into_iter().map(body).collect())
    })
    .await
}

/// Get a feature.
#[utoipa::path(
    tag = "catalog",
    params(("id" = String, Path, description = "The feature's identifier or code")),
    responses(
        (status = 200, description = "The feature", body = FeatureBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/features/{id}")]
async fn get_feature(read: Read<resource::Catalog>, id: Path<String>) -> Answer {
    let feature = service::resolve_feature(read.db(), read.tenant_id(), &id).await?;
    read.answer(&FeatureBody::of(feature, read.tenant.livemode))
}

/// Change a feature.
///
/// Its name and its notes: its kind and its metric are what plans grant it by.
#[utoipa::path(
    tag = "catalog",
    params(("id" = String, Path, description = "The feature's identifier or code")),
    request_body = UpdateFeature,
    responses(
        (status = 200, description = "The feature as it is now", body = FeatureBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[patch("/v1/features/{id}")]
async fn update_feature(
    write: Write<resource::Catalog>,
    id: Path<String>,
    body: Body<UpdateFeature>,
) -> Answer {
    let change = body.0.check()?;
    let tx = write.begin().await?;
    let feature = service::update_feature(&tx, &write.tenant, &id, change).await?;
    let body = FeatureBody::of(feature, write.tenant.livemode);
    write.commit(tx, StatusCode::OK, body.id, &body).await
}

/// Delete a feature, or archive it if it is used.
///
/// It is used if a version of a plan grants it. The code of what is deleted is free again.
#[utoipa::path(
    tag = "catalog",
    params(("id" = String, Path, description = "The feature's identifier or code")),
    responses(
        (status = 200, description = "Which of the two happened", body = RemovedBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[delete("/v1/features/{id}")]
async fn remove_feature(write: Write<resource::Catalog>, id: Path<String>) -> Answer {
    let tx = write.begin().await?;
    let removed = archiving::remove_feature(&tx, write.app.now(), &write.tenant, &id).await?;
    let body = RemovedBody::of(removed, "feature", write.tenant.livemode);
    write.commit(tx, StatusCode::OK, &body.id, &body).await
}

/// Archive a feature.
///
/// No other plan or version may grant it, and lists leave it out. Customers keep what their plans grant of it. Its code stays
/// taken. Archiving twice is the same as archiving once.
#[utoipa::path(
    tag = "catalog",
    params(("id" = String, Path, description = "The feature's identifier or code")),
    responses(
        (status = 200, description = "The feature as it is now", body = FeatureBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/features/{id}/archive")]
async fn archive_feature(write: Write<resource::Catalog>, id: Path<String>) -> Answer {
    let now = write.app.now();
    let tx = write.begin().await?;
    let feature = archiving::archive_feature(&tx, &write.tenant, &id, Some(now)).await?;
    let body = FeatureBody::of(feature, write.tenant.livemode);
    write.commit(tx, StatusCode::OK, body.id, &body).await
}

/// Take a feature back from the archive.
///
/// Plans may grant it again.
#[utoipa::path(
    tag = "catalog",
    params(("id" = String, Path, description = "The feature's identifier or code")),
    responses(
        (status = 200, description = "The feature as it is now", body = FeatureBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/features/{id}/unarchive")]
async fn unarchive_feature(write: Write<resource::Catalog>, id: Path<String>) -> Answer {
    let tx = write.begin().await?;
    let feature = archiving::archive_feature(&tx, &write.tenant, &id, None).await?;
    let body = FeatureBody::of(feature, write.tenant.livemode);
    write.commit(tx, StatusCode::OK, body.id, &body).await
}
