//! `/v1/plans`

use accrue_platform::{
    body::{Body, Query},
    page::{Page, PageQuery},
    problem::ProblemBody,
    routes::Routes,
};
use actix_web::{delete, get, http::StatusCode, patch, post, web::Path};
use serde::Deserialize;

use super::{
    ArchivedFilter,
    plan_request::{CreatePlan, CreatePlanVersion, UpdatePlan},
};
use crate::{
    auth::{Answer, Read, Write, resource},
    catalog::{
        archiving,
        body::{PlanBody, RemovedBody},
        service,
    },
};

pub(super) fn routes(routes: &mut Routes) {
    routes
        .service(create_plan)
        .service(list_plans)
        .service(get_plan)
        .service(update_plan)
        .service(remove_plan)
        .service(archive_plan)
        .service(unarchive_plan)
        .service(create_plan_version)
        .service(list_plan_versions);
}

/// Make a plan.
///
/// It may cost nothing. Its first version has number 1.
#[utoipa::path(
    tag = "catalog",
    request_body = CreatePlan,
    responses(
        (status = 201, description = "The plan", body = PlanBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/plans")]
async fn create_plan(write: Write<resource::Catalog>, body: Body<CreatePlan>) -> Answer {
    let tx = write.begin().await?;
    let (metrics, features) = body.0.references();
    let named = service::named(&tx, write.tenant_id(), &metrics, &features).await?;
    let new = body.0.check(&named)?;
    let plan = service::create_plan(&tx, write.app.now(), &write.tenant, new).await?;
    let body = PlanBody::of(plan, write.tenant.livemode);
    write.commit(tx, StatusCode::CREATED, body.id, &body).await
}

/// List plans, each in its present version.
#[utoipa::path(
    tag = "catalog",
    params(ArchivedFilter, PageQuery),
    responses(
        (status = 200, description = "A page of plans", body = Page<PlanBody>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/plans")]
async fn list_plans(
    read: Read<resource::Catalog>,
    filter: Query<ArchivedFilter>,
    page: Query<PageQuery>,
) -> Answer {
    read.list("/v1/plans", page.0, async move |read, page| {
        let plans = service::list_plans(read.db(), read.tenant_id(), filter.0.is_archived(), page).await?;
        let body = |plan| PlanBody::of(plan, read.tenant.livemode);
        Ok(plans.into_iter().map(body).collect())
    })
    .await
}

/// Which version to read.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct WhichVersion {
    /// Its number; the present one unless given.
    #[param(minimum = 1, example = 1)]
    version: Option<i32>,
}

/// Get a plan, in its present version unless told otherwise.
#[utoipa::path(
    tag = "catalog",
    params(("id" = String, Path, description = "The plan's identifier or code"), WhichVersion),
    responses(
        (status = 200, description = "The plan", body = PlanBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/plans/{id}")]
async fn get_plan(read: Read<resource::Catalog>, id: Path<String>, which: Query<WhichVersion>) -> Answer {
    let (db, tenant) = (read.db(), read.tenant_id());
    let plan = match which.0.version {
        Some(version) => service::get_numbered_version(db, tenant, &id, version).await?,
        None => service::resolve_plan(db, tenant, &id).await?,
    };
    read.answer(&PlanBody::of(plan, read.tenant.livemode))
}

/// Rename a plan, or change its notes.
///
/// All versions share them. What a plan costs and grants is changed by a new version.
#[utoipa::path(
    tag = "catalog",
    params(("id" = String, Path, description = "The plan's identifier or code")),
    request_body = UpdatePlan,
    responses(
        (status = 200, description = "The plan as it is now", body = PlanBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[patch("/v1/plans/{id}")]
async fn update_plan(write: Write<resource::Catalog>, id: Path<String>, body: Body<UpdatePlan>) -> Answer {
    let change = body.0.check()?;
    let tx = write.begin().await?;
    let plan = service::update_plan(&tx, write.app.now(), &write.tenant, &id, change).await?;
    let body = PlanBody::of(plan, write.tenant.livemode);
    write.commit(tx, StatusCode::OK, body.id, &body).await
}

/// Make a new version of a plan.
///
/// What is not named stays as in the present version. Subscriptions stay on the version they have.
#[utoipa::path(
    tag = "catalog",
    params(("id" = String, Path, description = "The plan's identifier or code")),
    request_body = CreatePlanVersion,
    responses(
        (status = 201, description = "The plan in its new version", body = PlanBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/plans/{id}/versions")]
async fn create_plan_version(
    write: Write<resource::Catalog>,
    id: Path<String>,
    body: Body<CreatePlanVersion>,
) -> Answer {
    let tx = write.begin().await?;
    let (metrics, features) = body.0.references();
    let named = service::named(&tx, write.tenant_id(), &metrics, &features).await?;
    let currency = service::resolve_plan(&tx, write.tenant_id(), &id).await?.currency;
    let change = body.0.check(currency, &named)?;
    let plan = service::create_plan_version(&tx, write.app.now(), &write.tenant, &id, change).await?;
    let body = PlanBody::of(plan, write.tenant.livemode);
    write.commit(tx, StatusCode::CREATED, body.id, &body).await
}

/// List the versions of a plan.
///
/// The cursors are the versions' own identifiers, `version_id`.
#[utoipa::path(
    tag = "catalog",
    params(("id" = String, Path, description = "The plan's identifier or code"), PageQuery),
    responses(
        (status = 200, description = "A page of versions", body = Page<PlanBody>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/plans/{id}/versions")]
async fn list_plan_versions(
    read: Read<resource::Catalog>,
    id: Path<String>,
    page: Query<PageQuery>,
) -> Answer {
    let plan = service::resolve_plan(read.db(), read.tenant_id(), &id).await?.plan_id;
    read.list(&format!("/v1/plans/{plan}/versions"), page.0, async move |read, page| {
        let versions = service::list_plan_versions(read.db(), read.tenant_id(), plan, page).await?;
        let body = |version| PlanBody::of(version, read.tenant.livemode);
        Ok(versions.into_iter().map(body).collect())
    })
    .await
}

/// Delete a plan, or archive it if it is used.
///
/// It is used if a subscription has, or had, one of its versions. The code of what is deleted is free again.
#[utoipa::path(
    tag = "catalog",
    params(("id" = String, Path, description = "The plan's identifier or code")),
    responses(
        (status = 200, description = "Which of the two happened", body = RemovedBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[delete("/v1/plans/{id}")]
async fn remove_plan(write: Write<resource::Catalog>, id: Path<String>) -> Answer {
    let tx = write.begin().await?;
    let removed = archiving::remove_plan(&tx, write.app.now(), &write.tenant, &id).await?;
    let body = RemovedBody::of(removed, "plan", write.tenant.livemode);
    write.commit(tx, StatusCode::OK, &body.id, &body).await
}

/// Archive a plan.
///
/// Nobody new can subscribe to it, it gets no more versions, and lists leave it out. Subscriptions keep it, renew and are
/// billed as before. Its code stays taken. Archiving twice is the same as archiving once.
#[utoipa::path(
    tag = "catalog",
    params(("id" = String, Path, description = "The plan's identifier or code")),
    responses(
        (status = 200, description = "The plan as it is now", body = PlanBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/plans/{id}/archive")]
async fn archive_plan(write: Write<resource::Catalog>, id: Path<String>) -> Answer {
    let now = write.app.now();
    let tx = write.begin().await?;
    let plan = archiving::archive_plan(&tx, now, &write.tenant, &id, Some(now)).await?;
    let body = PlanBody::of(plan, write.tenant.livemode);
    write.commit(tx, StatusCode::OK, body.id, &body).await
}

/// Take a plan back from the archive.
///
/// It is sold again, in its present version.
#[utoipa::path(
    tag = "catalog",
    params(("id" = String, Path, description = "The plan's identifier or code")),
    responses(
        (status = 200, description = "The plan as it is now", body = PlanBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/plans/{id}/unarchive")]
async fn unarchive_plan(write: Write<resource::Catalog>, id: Path<String>) -> Answer {
    let tx = write.begin().await?;
    let plan = archiving::archive_plan(&tx, write.app.now(), &write.tenant, &id, None).await?;
    let body = PlanBody::of(plan, write.tenant.livemode);
    write.commit(tx, StatusCode::OK, body.id, &body).await
}
