//! `/v1/taxes`

use accrue_core::decimal::Number;
use accrue_platform::{
    body::{Body, Query},
    check::{Check, Metadata},
    page::{Page, PageQuery},
    problem::{Problem, ProblemBody},
    routes::Routes,
};
use actix_web::{delete, get, http::StatusCode, patch, post, web::Path};
use serde::Deserialize;

use super::{ArchivedFilter, NAME_MAX};
use crate::{
    auth::{Answer, Read, Write, resource},
    catalog::{
        archiving,
        body::{RemovedBody, TaxBody},
        model::{NewTax, TaxChange, check_rate},
        service,
    },
};

pub(super) fn routes(routes: &mut Routes) {
    routes
        .service(create_tax)
        .service(list_taxes)
        .service(get_tax)
        .service(update_tax)
        .service(remove_tax)
        .service(archive_tax)
        .service(unarchive_tax);
}

/// A tax to be made.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateTax {
    /// Your name for it, for programs.
    #[schema(example = "vat_de")]
    code: String,
    /// As invoices print it; the code unless given.
    #[schema(example = "VAT")]
    name: Option<String>,
    /// 20 for 20 %.
    #[schema(example = "19")]
    rate: Number,
    /// Shall every invoice get it? Refused (409) while another tax is the default: change that by `PATCH`.
    #[serde(default)]
    default: bool,
    #[serde(default)]
    metadata: Metadata,
}

impl CreateTax {
    fn check(self) -> Result<NewTax, Problem> {
        let Self { code, name, rate, default: is_default, metadata } = self;
        let mut check = Check::new();
        check.code("/code", &code);
        check.optional_text("/name", name.as_deref(), NAME_MAX);
        check.invalid("", check_rate(rate.0));
        check.metadata("/metadata", &metadata);
        check.finish()?;
        let name = name.unwrap_or_else(|| code.clone());
        Ok(NewTax { code, name, rate: rate.0, is_default, metadata })
    }
}

/// What to change of a tax; what is not named stays. The rate never changes: make another tax.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct UpdateTax {
    name: Option<String>,
    /// `true` makes it the default instead of the former one, `false` leaves invoices without one.
    default: Option<bool>,
    /// Replaces all notes.
    metadata: Option<Metadata>,
}

impl UpdateTax {
    fn check(self) -> Result<TaxChange, Problem> {
        let Self { name, default: is_default, metadata } = self;
        let mut check = Check::new();
        check.optional_text("/name", name.as_deref(), NAME_MAX);
        if let Some(metadata) = &metadata {
            check.metadata("/metadata", metadata);
        }
        check.finish()?;
        Ok(TaxChange { name, is_default, metadata })
    }
}

/// Make a tax.
#[utoipa::path(
    tag = "catalog",
    request_body = CreateTax,
    responses(
        (status = 201, description = "The tax", body = TaxBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/taxes")]
async fn create_tax(write: Write<resource::Catalog>, body: Body<CreateTax>) -> Answer {
    let new = body.0.check()?;
    let tx = write.begin().await?;
    let tax = service::create_tax(&tx, write.app.now(), &write.tenant, new).await?;
    let body = TaxBody::of(tax, write.tenant.livemode);
    write.commit(tx, StatusCode::CREATED, body.id, &body).await
}

/// List taxes.
#[utoipa::path(
    tag = "catalog",
    params(ArchivedFilter, PageQuery),
    responses(
        (status = 200, description = "A page of taxes", body = Page<TaxBody>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/taxes")]
async fn list_taxes(
    read: Read<resource::Catalog>,
    filter: Query<ArchivedFilter>,
    page: Query<PageQuery>,
) -> Answer {
    read.list("/v1/taxes", page.0, async move |read, page| {
        let taxes = service::list_taxes(read.db(), read.tenant_id(), filter.0.is_archived(), page).await?;
        let body = |tax| TaxBody::of(tax, read.tenant.livemode);
        Ok(taxes.into_iter().map(body).collect())
    })
    .await
}

/// Get a tax.
#[utoipa::path(
    tag = "catalog",
    params(("id" = String, Path, description = "The tax's identifier or code")),
    responses(
        (status = 200, description = "The tax", body = TaxBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/taxes/{id}")]
async fn get_tax(read: Read<resource::Catalog>, id: Path<String>) -> Answer {
    let tax = service::resolve_tax(read.db(), read.tenant_id(), &id).await?;
    read.answer(&TaxBody::of(tax, read.tenant.livemode))
}

/// Change a tax.
#[utoipa::path(
    tag = "catalog",
    params(("id" = String, Path, description = "The tax's identifier or code")),
    request_body = UpdateTax,
    responses(
        (status = 200, description = "The tax as it is now", body = TaxBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[patch("/v1/taxes/{id}")]
async fn update_tax(write: Write<resource::Catalog>, id: Path<String>, body: Body<UpdateTax>) -> Answer {
    let change = body.0.check()?;
    let tx = write.begin().await?;
    let tax = service::update_tax(&tx, write.app.now(), &write.tenant, &id, change).await?;
    let body = TaxBody::of(tax, write.tenant.livemode);
    write.commit(tx, StatusCode::OK, body.id, &body).await
}

/// Delete a tax, or archive it if it is used.
///
/// It is used if it ever was the default. The default itself is refused (409): put another one in its place first. The code
/// of what is deleted is free again.
#[utoipa::path(
    tag = "catalog",
    params(("id" = String, Path, description = "The tax's identifier or code")),
    responses(
        (status = 200, description = "Which of the two happened", body = RemovedBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[delete("/v1/taxes/{id}")]
async fn remove_tax(write: Write<resource::Catalog>, id: Path<String>) -> Answer {
    let tx = write.begin().await?;
    let removed = archiving::remove_tax(&tx, write.app.now(), &write.tenant, &id).await?;
    let body = RemovedBody::of(removed, "tax", write.tenant.livemode);
    write.commit(tx, StatusCode::OK, &body.id, &body).await
}

/// Archive a tax.
///
/// It cannot become the default, and lists leave it out. The default itself is refused (409): put another one in its place
/// first. Its code stays taken. Archiving twice is the same as archiving once.
#[utoipa::path(
    tag = "catalog",
    params(("id" = String, Path, description = "The tax's identifier or code")),
    responses(
        (status = 200, description = "The tax as it is now", body = TaxBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/taxes/{id}/archive")]
async fn archive_tax(write: Write<resource::Catalog>, id: Path<String>) -> Answer {
    let now = write.app.now();
    let tx = write.begin().await?;
    let tax = archiving::archive_tax(&tx, &write.tenant, &id, Some(now)).await?;
    let body = TaxBody::of(tax, write.tenant.livemode);
    write.commit(tx, StatusCode::OK, body.id, &body).await
}

/// Take a tax back from the archive.
///
/// It can become the default again.
#[utoipa::path(
    tag = "catalog",
    params(("id" = String, Path, description = "The tax's identifier or code")),
    responses(
        (status = 200, description = "The tax as it is now", body = TaxBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/taxes/{id}/unarchive")]
async fn unarchive_tax(write: Write<resource::Catalog>, id: Path<String>) -> Answer {
    let tx = write.begin().await?;
    let tax = archiving::archive_tax(&tx, &write.tenant, &id, None).await?;
    let body = TaxBody::of(tax, write.tenant.livemode);
    write.commit(tx, StatusCode::OK, body.id, &body).await
}

#[cfg(test)]
mod tests {
    use accrue_platform::body::parse;

    use super::*;

    #[test]
    fn every_mistake_is_reported_with_its_place() {
        let json = r#"{"code":"","rate":"-1"}"#;
        let problem = parse::<CreateTax>(json).and_then(CreateTax::check).unwrap_err();
        let pointers: Vec<_> = problem.errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, ["/code", "/rate"]);
        assert_eq!(parse::<UpdateTax>(r#"{"rate":"7"}"#).err().unwrap().errors[0].code, "unknown_field");
    }
}
