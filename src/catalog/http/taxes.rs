//! `/v1/taxes`

use std::collections::BTreeSet;

use accrue_core::decimal::Number;
use accrue_platform::{
    body::{Body, Change, Query},
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
        model::{NewTax, TAX_CODES_MAX, TaxChange, check_rate},
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
    /// Whether amounts contain it. Unless given, it comes on top. All taxes of a price are of one kind (409).
    #[serde(default)]
    inclusive: bool,
    /// Whose tax it is: invoices print it.
    #[schema(example = "DE")]
    jurisdiction: Option<String>,
    /// The prices with these `tax_code`s shall have it, at most 50. A price has all taxes that name its code, at most 10.
    #[serde(default)]
    #[schema(max_items = 50, example = json!(["software"]))]
    tax_codes: BTreeSet<String>,
    /// Shall the prices have it whose `tax_code`, if they have one, no tax names? There may be several such taxes.
    #[serde(default)]
    default: bool,
    #[serde(default)]
    metadata: Metadata,
}

impl CreateTax {
    fn check(self) -> Result<NewTax, Problem> {
        let Self { code, name, rate, inclusive, jurisdiction, tax_codes, default: is_default, metadata } =
            self;
        let mut check = Check::new();
        check.code("/code", &code);
        check.optional_text("/name", name.as_deref(), NAME_MAX);
        check.invalid("", check_rate(rate.0));
        check.optional_text("/jurisdiction", jurisdiction.as_deref(), NAME_MAX);
        check_tax_codes(&mut check, &tax_codes);
        check.metadata("/metadata", &metadata);
        check.finish()?;
        let name = name.unwrap_or_else(|| code.clone());
        Ok(NewTax { code, name, rate: rate.0, inclusive, jurisdiction, tax_codes, is_default, metadata })
    }
}

fn check_tax_codes(check: &mut Check, tax_codes: &BTreeSet<String>) {
    if tax_codes.len() > TAX_CODES_MAX {
        check.refuse("/tax_codes", "too_many", format!("has at most {TAX_CODES_MAX} codes"));
    }
    for (index, code) in tax_codes.iter().take(TAX_CODES_MAX).enumerate() {
        check.code(&format!("/tax_codes/{index}"), code);
    }
}

/// What to change of a tax; what is not named stays. It counts for the invoices from now on: those that are there keep what
/// they have. Whether amounts contain it never changes: make another tax.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct UpdateTax {
    name: Option<String>,
    /// 20 for 20 %.
    #[schema(example = "20")]
    rate: Option<Number>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    jurisdiction: Change<String>,
    /// All of them.
    #[schema(max_items = 50)]
    tax_codes: Option<BTreeSet<String>>,
    default: Option<bool>,
    /// Replaces all notes.
    metadata: Option<Metadata>,
}

impl UpdateTax {
    fn check(self) -> Result<TaxChange, Problem> {
        let Self { name, rate, jurisdiction, tax_codes, default: is_default, metadata } = self;
        let rate = rate.map(|rate| rate.0);
        let mut check = Check::new();
        check.optional_text("/name", name.as_deref(), NAME_MAX);
        check.invalid("", rate.map(check_rate).unwrap_or_default());
        check.optional_text("/jurisdiction", jurisdiction.value().map(String::as_str), NAME_MAX);
        if let Some(codes) = &tax_codes {
            check_tax_codes(&mut check, codes);
        }
        if let Some(metadata) = &metadata {
            check.metadata("/metadata", metadata);
        }
        check.finish()?;
        Ok(TaxChange { name, rate, jurisdiction, tax_codes, is_default, metadata })
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
/// It is used if it ever was a default or named a code of prices. A default is refused (409): take that from it first. The
/// code of what is deleted is free again.
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
/// No price has it any more, and lists leave it out. A default is refused (409): take that from it first. Its code stays
/// taken. Archiving twice is the same as archiving once.
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
/// The prices have it again whose codes it names.
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
        let json = r#"{"rate":"101","jurisdiction":" ","tax_codes":["a b"]}"#;
        let problem = parse::<UpdateTax>(json).and_then(UpdateTax::check).unwrap_err();
        let pointers: Vec<_> = problem.errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, ["/rate", "/jurisdiction", "/tax_codes/0"]);
        assert_eq!(
            parse::<UpdateTax>(r#"{"inclusive":true}"#).err().unwrap().errors[0].code,
            "unknown_field"
        );
    }
}
