//! The pictures at the head of documents, of issuers and of the account.

use accrue_core::id::LogoId;
use accrue_platform::{
    body::{bytes, media_type},
    problem::{self, Problem, ProblemBody},
    routes::Routes,
};
use actix_web::{
    HttpRequest, HttpResponse, delete, get,
    http::{StatusCode, header},
    put,
    web::{Data, Path},
};

use crate::{
    auth::{self, Answer, KnownCallers, Read, Write, resource},
    issuers::{
        body::LogoBody,
        service::{self, IssuerError},
    },
};

const PNG: &str = "image/png";

pub(super) fn routes(routes: &mut Routes) {
    routes
        .service(put_logo)
        .service(get_logo)
        .service(remove_logo)
        .service(put_account_logo)
        .service(get_account_logo)
        .service(remove_account_logo);
}

/// Put a logo at the head of an issuer's documents.
///
/// A PNG of at most 256 KiB and 2000 pixels a side. Of the file only the picture is kept. Invoices that were issued keep
/// the one that they had.
#[utoipa::path(
    tag = "issuers",
    params(("id" = String, Path, description = "The issuer's identifier or code")),
    request_body(content = Vec<u8>, content_type = "image/png"),
    responses(
        (status = 200, description = "The logo", body = LogoBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[put("/v1/issuers/{id}/logo")]
async fn put_logo(write: Write<resource::Issuers>, id: Path<String>, request: HttpRequest) -> Answer {
    let file = picture(&request)?;
    let tx = write.begin().await?;
    let logo = service::set_logo(&tx, write.app.now(), write.tenant_id(), Some(&id), &file).await?;
    let body = LogoBody { id: Some(logo), object: "logo", livemode: write.tenant.livemode };
    write.commit(tx, StatusCode::OK, logo, &body).await
}

/// An issuer's logo.
#[utoipa::path(
    tag = "issuers",
    params(("id" = String, Path, description = "The issuer's identifier or code")),
    responses(
        (status = 200, description = "The picture", body = Vec<u8>, content_type = "image/png"),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/issuers/{id}/logo")]
async fn get_logo(read: Read<resource::Issuers>, id: Path<String>) -> Answer {
    let issuer = service::resolve(read.db(), read.tenant_id(), &id).await?;
    show(&read, issuer.logo_id).await
}

/// Leave an issuer's documents without a logo.
#[utoipa::path(
    tag = "issuers",
    params(("id" = String, Path, description = "The issuer's identifier or code")),
    responses(
        (status = 200, description = "That there is none", body = LogoBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[delete("/v1/issuers/{id}/logo")]
async fn remove_logo(write: Write<resource::Issuers>, id: Path<String>) -> Answer {
    let tx = write.begin().await?;
    service::remove_logo(&tx, write.tenant_id(), Some(&id)).await?;
    let body = LogoBody { id: None, object: "logo", livemode: write.tenant.livemode };
    write.commit(tx, StatusCode::OK, id.as_str(), &body).await
}

/// Put a logo at the head of the account's documents.
///
/// A PNG of at most 256 KiB and 2000 pixels a side. Other issuers have their own.
#[utoipa::path(
    tag = "account",
    request_body(content = Vec<u8>, content_type = "image/png"),
    responses(
        (status = 200, description = "The logo", body = LogoBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[put("/v1/account/logo")]
async fn put_account_logo(
    write: Write<resource::Account>,
    request: HttpRequest,
    callers: Data<KnownCallers>,
) -> Answer {
    let file = picture(&request)?;
    let tx = write.begin().await?;
    let logo = service::set_logo(&tx, write.app.now(), write.tenant_id(), None, &file).await?;
    let body = LogoBody { id: Some(logo), object: "logo", livemode: write.tenant.livemode };
    let answer = write.commit(tx, StatusCode::OK, logo, &body).await;
    callers.forget();
    answer
}

/// The account's logo.
#[utoipa::path(
    tag = "account",
    responses(
        (status = 200, description = "The picture", body = Vec<u8>, content_type = "image/png"),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/account/logo")]
async fn get_account_logo(read: Read<resource::Account>) -> Answer {
    let tenant = auth::service::get_tenant(read.db(), read.tenant_id()).await?;
    show(&read, tenant.settings.logo).await
}

/// Leave the account's documents without a logo.
#[utoipa::path(
    tag = "account",
    responses(
        (status = 200, description = "That there is none", body = LogoBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[delete("/v1/account/logo")]
async fn remove_account_logo(write: Write<resource::Account>, callers: Data<KnownCallers>) -> Answer {
    let tx = write.begin().await?;
    service::remove_logo(&tx, write.tenant_id(), None).await?;
    let body = LogoBody { id: None, object: "logo", livemode: write.tenant.livemode };
    let account = write.tenant_id();
    let answer = write.commit(tx, StatusCode::OK, account, &body).await;
    callers.forget();
    answer
}

fn picture(request: &HttpRequest) -> Result<actix_web::web::Bytes, Problem> {
    let given = media_type(request.headers());
    if given != PNG {
        let detail = format!("expected {PNG}, not `{given}`: other kinds of pictures are not taken");
        return Err(Problem::new(&problem::MEDIA_TYPE, detail));
    }
    Ok(bytes(request))
}

async fn show<R>(read: &Read<R>, logo: Option<LogoId>) -> Answer {
    let picture = service::logo(read.db(), read.tenant_id(), logo).await?.ok_or(IssuerError::NoLogo)?;
    Ok(HttpResponse::Ok()
        .content_type(PNG)
        .insert_header((header::CONTENT_DISPOSITION, "inline; filename=\"logo.png\""))
        .body(picture))
}
