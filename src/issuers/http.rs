//! Issuers over HTTP.

mod logos;

use accrue_core::{money::Currency, tax_id::TaxId};
use accrue_platform::{
    body::{Body, Change, Query},
    check::{Check, Metadata},
    page::{Page, PageQuery},
    problem::{self, Problem, ProblemBody},
    routes::Routes,
};
use actix_web::{delete, get, http::StatusCode, patch, post, web::Path};
use serde::Deserialize;

use super::{
    body::{IssuerBody, RemovedBody},
    model::Issuer,
    png::NotPng,
    service::{self, IssuerError, NewIssuer},
};
use crate::auth::{
    Answer, Read, Write, resource,
    said::{NAME_MAX, Said, check_address},
};

/// Mounts the endpoints.
pub fn routes(routes: &mut Routes) {
    routes
        .service(create)
        .service(list)
        .service(get_one)
        .service(update)
        .service(remove)
        .service(archive)
        .service(unarchive);
    logos::routes(routes);
}

/// An issuer to be made. What it leaves out, the account says for it; but not who it is.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateIssuer {
    /// Your name for it, for programs.
    #[schema(example = "de")]
    code: String,
    /// The legal name.
    #[schema(example = "Acme Cloud GmbH")]
    name: String,
    /// As on an envelope: at most 8 lines.
    #[serde(default)]
    address: Vec<String>,
    /// Printed on invoices: at most 10, each checked by the rules of its kind.
    #[serde(default)]
    tax_ids: Vec<TaxId>,
    email: Option<String>,
    /// IANA; of its invoices' dates, and of customers that name none.
    #[schema(example = "Europe/Berlin")]
    timezone: Option<String>,
    /// In which its customers are billed that name none.
    #[schema(example = "EUR")]
    currency: Option<String>,
    /// What its invoices' numbers begin with: 1 to 12 ASCII letters and digits, and nobody else's.
    #[schema(example = "DE")]
    invoice_prefix: String,
    /// The same of credit notes.
    #[schema(example = "DECN")]
    credit_note_prefix: String,
    /// 0 to 365.
    #[schema(example = 14)]
    net_terms_days: Option<u16>,
    /// Printed at the foot of every invoice: registration, bank, terms.
    invoice_footer: Option<String>,
    #[schema(example = "#1f4fd8")]
    brand_color: Option<String>,
    #[serde(default)]
    metadata: Metadata,
}

impl CreateIssuer {
    fn check(self) -> Result<NewIssuer, Problem> {
        let mut check = Check::new();
        check.code("/code", &self.code);
        check.text("/name", &self.name, NAME_MAX);
        check_address(&mut check, "/address", &self.address);
        let tax_ids = check.tax_ids("/tax_ids", self.tax_ids);
        check.optional_email("/email", self.email.as_deref());
        check.optional_zone("/timezone", self.timezone.as_deref());
        let said = Said {
            invoice_prefix: Some(&self.invoice_prefix),
            credit_note_prefix: Some(&self.credit_note_prefix),
            net_terms_days: self.net_terms_days,
            invoice_footer: self.invoice_footer.as_deref(),
            brand_color: self.brand_color.as_deref(),
        };
        said.check(&mut check);
        check.metadata("/metadata", &self.metadata);
        let currency = self.currency.and_then(|code| check.currency("/currency", &code));
        check.finish()?;
        Ok(NewIssuer {
            code: self.code,
            name: self.name,
            address: self.address,
            tax_ids,
            email: self.email,
            timezone: self.timezone,
            currency,
            invoice_prefix: self.invoice_prefix,
            credit_note_prefix: self.credit_note_prefix,
            net_terms_days: self.net_terms_days,
            invoice_footer: self.invoice_footer,
            brand_color: self.brand_color,
            metadata: self.metadata,
        })
    }
}

/// What to change of an issuer, for the invoices from now on. What is not named stays; null leaves it to the account.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct UpdateIssuer {
    name: Option<String>,
    /// Replaces all lines.
    address: Option<Vec<String>>,
    /// Replaces all of them.
    tax_ids: Option<Vec<TaxId>>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    email: Change<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    timezone: Change<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    currency: Change<String>,
    /// Begins another series, from 1. The former prefix stays the issuer's own.
    invoice_prefix: Option<String>,
    credit_note_prefix: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<u16>)]
    net_terms_days: Change<u16>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    invoice_footer: Change<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    brand_color: Change<String>,
    metadata: Option<Metadata>,
}

impl UpdateIssuer {
    fn check(self) -> Result<impl FnOnce(&mut Issuer), Problem> {
        let mut check = Check::new();
        check.optional_text("/name", self.name.as_deref(), NAME_MAX);
        self.address.iter().for_each(|lines| check_address(&mut check, "/address", lines));
        let tax_ids = self.tax_ids.map(|given| check.tax_ids("/tax_ids", given));
        check.optional_email("/email", self.email.value().map(String::as_str));
        check.optional_zone("/timezone", self.timezone.value().map(String::as_str));
        let said = Said {
            invoice_prefix: self.invoice_prefix.as_deref(),
            credit_note_prefix: self.credit_note_prefix.as_deref(),
            net_terms_days: self.net_terms_days.value().copied(),
            invoice_footer: self.invoice_footer.value().map(String::as_str),
            brand_color: self.brand_color.value().map(String::as_str),
        };
        said.check(&mut check);
        self.metadata.iter().for_each(|metadata| check.metadata("/metadata", metadata));
        let currency: Change<Currency> =
            self.currency.try_map(|code| check.currency("/currency", &code).ok_or(())).unwrap_or_default();
        check.finish()?;
        Ok(move |issuer: &mut Issuer| {
            issuer.name = self.name.unwrap_or_else(|| issuer.name.clone());
            issuer.address = self.address.unwrap_or_else(|| issuer.address.clone());
            issuer.tax_ids = tax_ids.unwrap_or_else(|| issuer.tax_ids.clone());
            self.email.apply(&mut issuer.email);
            self.timezone.apply(&mut issuer.timezone);
            currency.apply(&mut issuer.currency);
            issuer.invoice_prefix = self.invoice_prefix.unwrap_or_else(|| issuer.invoice_prefix.clone());
            issuer.credit_note_prefix =
                self.credit_note_prefix.unwrap_or_else(|| issuer.credit_note_prefix.clone());
            self.net_terms_days.apply(&mut issuer.net_terms_days);
            self.invoice_footer.apply(&mut issuer.invoice_footer);
            self.brand_color.apply(&mut issuer.brand_color);
            issuer.metadata = self.metadata.unwrap_or_else(|| issuer.metadata.clone());
        })
    }
}

/// Make an issuer.
///
/// A legal entity that issues invoices beside the account itself. Customers are given to it by `issuer`.
#[utoipa::path(
    tag = "issuers",
    request_body = CreateIssuer,
    responses(
        (status = 201, description = "The issuer", body = IssuerBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/issuers")]
async fn create(write: Write<resource::Issuers>, body: Body<CreateIssuer>) -> Answer {
    let new = body.0.check()?;
    let tx = write.begin().await?;
    let issuer = service::create(&tx, write.app.now(), &write.tenant, new).await?;
    let body = IssuerBody::of(issuer, &write.tenant);
    write.commit(tx, StatusCode::CREATED, body.id, &body).await
}

/// Which of the two to list.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct IssuerFilter {
    /// `true` for what is archived, and nothing else; `false`, or not given, for what is not.
    #[param(example = false)]
    archived: Option<bool>,
}

/// List issuers.
#[utoipa::path(
    tag = "issuers",
    params(IssuerFilter, PageQuery),
    responses(
        (status = 200, description = "A page of issuers", body = Page<IssuerBody>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/issuers")]
async fn list(read: Read<resource::Issuers>, filter: Query<IssuerFilter>, page: Query<PageQuery>) -> Answer {
    let archived = filter.0.archived.unwrap_or_default();
    read.list("/v1/issuers", page.0, async move |read, page| {
        let issuers = service::list(read.db(), read.tenant_id(), archived, page).await?;
        Ok(issuers.into_iter().map(|issuer| IssuerBody::of(issuer, &read.tenant)).collect())
    })
    .await
}

/// Get an issuer.
#[utoipa::path(
    tag = "issuers",
    params(("id" = String, Path, description = "The issuer's identifier or code")),
    responses(
        (status = 200, description = "The issuer", body = IssuerBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/issuers/{id}")]
async fn get_one(read: Read<resource::Issuers>, id: Path<String>) -> Answer {
    let issuer = service::resolve(read.db(), read.tenant_id(), &id).await?;
    read.answer(&IssuerBody::of(issuer, &read.tenant))
}

/// Change an issuer.
///
/// Invoices that it has issued keep their copies.
#[utoipa::path(
    tag = "issuers",
    params(("id" = String, Path, description = "The issuer's identifier or code")),
    request_body = UpdateIssuer,
    responses(
        (status = 200, description = "The issuer as it is now", body = IssuerBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[patch("/v1/issuers/{id}")]
async fn update(write: Write<resource::Issuers>, id: Path<String>, body: Body<UpdateIssuer>) -> Answer {
    let change = body.0.check()?;
    let tx = write.begin().await?;
    let issuer = service::update(&tx, &write.tenant, &id, change).await?;
    let body = IssuerBody::of(issuer, &write.tenant);
    write.commit(tx, StatusCode::OK, body.id, &body).await
}

/// Delete an issuer, or archive it if it is used.
///
/// It is used if a customer is given to it, or if it ever issued an invoice. Code and prefixes of what is deleted are free
/// again.
#[utoipa::path(
    tag = "issuers",
    params(("id" = String, Path, description = "The issuer's identifier or code")),
    responses(
        (status = 200, description = "Which of the two happened", body = RemovedBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[delete("/v1/issuers/{id}")]
async fn remove(write: Write<resource::Issuers>, id: Path<String>) -> Answer {
    let tx = write.begin().await?;
    let removed = service::remove(&tx, write.app.now(), write.tenant_id(), &id).await?;
    let body = RemovedBody::of(removed, write.tenant.livemode);
    write.commit(tx, StatusCode::OK, body.id, &body).await
}

/// Archive an issuer.
///
/// No other customer can be given to it, and lists leave it out; it goes on billing those that it has. Its code and prefixes
/// stay taken. Archiving twice is the same as archiving once.
#[utoipa::path(
    tag = "issuers",
    params(("id" = String, Path, description = "The issuer's identifier or code")),
    responses(
        (status = 200, description = "The issuer as it is now", body = IssuerBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/issuers/{id}/archive")]
async fn archive(write: Write<resource::Issuers>, id: Path<String>) -> Answer {
    let now = write.app.now();
    put_aside(write, &id, Some(now)).await
}

/// Take an issuer back from the archive.
#[utoipa::path(
    tag = "issuers",
    params(("id" = String, Path, description = "The issuer's identifier or code")),
    responses(
        (status = 200, description = "The issuer as it is now", body = IssuerBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/issuers/{id}/unarchive")]
async fn unarchive(write: Write<resource::Issuers>, id: Path<String>) -> Answer {
    put_aside(write, &id, None).await
}

async fn put_aside(
    write: Write<resource::Issuers>,
    id: &str,
    at: Option<chrono::DateTime<chrono::Utc>>,
) -> Answer {
    let tx = write.begin().await?;
    let issuer = service::archive(&tx, write.tenant_id(), id, at).await?;
    let body = IssuerBody::of(issuer, &write.tenant);
    write.commit(tx, StatusCode::OK, body.id, &body).await
}

impl From<IssuerError> for Problem {
    fn from(error: IssuerError) -> Self {
        match error {
            IssuerError::NotFound(_) => Self::not_found("issuer"),
            IssuerError::NoLogo => Self::not_found("logo"),
            IssuerError::CodeTaken(_) => Self::new(&problem::CONFLICT, error.to_string()),
            IssuerError::Archived(_) => Self::field("/issuer", "archived", error.to_string()),
            IssuerError::SeriesTaken(taken) => taken.into(),
            IssuerError::NotPng(NotPng::TooLarge) => Self::new(&problem::TOO_LARGE, error.to_string()),
            IssuerError::NotPng(_) => Self::new(&problem::UNREADABLE, error.to_string()),
            IssuerError::Account(error) => error.into(),
            IssuerError::Database(error) => error.into(),
        }
    }
}
