//! The verbs of issuers.

use std::{borrow::Cow, collections::HashMap};

use accrue_core::{
    id::{IssuerId, LogoId, TenantId},
    money::Currency,
    tax_id::TaxId,
};
use accrue_platform::{
    check::Metadata,
    db::is_unique_violation,
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::{
    model::{Issuer, Removed},
    png::{self, NotPng},
    store,
};
use crate::auth::{
    self, Numbered, Tenant,
    series::{self, SeriesTaken},
    service::AuthError,
};

/// Why an issuer cannot be had or changed.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    #[error("issuer {0} does not exist")]
    NotFound(String),
    #[error("another issuer has the code {0}")]
    CodeTaken(String),
    #[error("the issuer {0} is archived: no other customer can be given to it")]
    Archived(String),
    #[error(transparent)]
    SeriesTaken(#[from] SeriesTaken),
    #[error("the picture {0}")]
    NotPng(#[from] NotPng),
    #[error("there is no logo")]
    NoLogo,
    #[error(transparent)]
    Account(AuthError),
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// What a new issuer is, checked.
#[derive(Clone, Debug)]
pub struct NewIssuer {
    pub code: String,
    pub name: String,
    pub address: Vec<String>,
    pub tax_ids: Vec<TaxId>,
    pub email: Option<String>,
    pub timezone: Option<String>,
    pub currency: Option<Currency>,
    pub invoice_prefix: String,
    pub credit_note_prefix: String,
    pub net_terms_days: Option<u16>,
    pub invoice_footer: Option<String>,
    pub brand_color: Option<String>,
    pub metadata: Metadata,
}

/// By identifier or code.
pub async fn resolve(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    reference: &str,
) -> Result<Issuer, IssuerError> {
    store::find(db, tenant, reference).await?.ok_or_else(|| IssuerError::NotFound(reference.to_owned()))
}

/// The issuer that shall bill a customer from now on, whom `present` bills until now: not an archived one, unless it does
/// so already. It is neither archived nor deleted until the transaction ends.
pub async fn to_bill(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    present: Option<IssuerId>,
    reference: &str,
) -> Result<Issuer, IssuerError> {
    let found = store::find_to_refer(tx, tenant, reference).await?;
    let issuer = found.ok_or_else(|| IssuerError::NotFound(reference.to_owned()))?;
    if issuer.archived_at.is_some() && present != Some(issuer.id) {
        return Err(IssuerError::Archived(issuer.code));
    }
    Ok(issuer)
}

/// The issuer itself; none for the account.
pub async fn get(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: Option<IssuerId>,
) -> Result<Option<Issuer>, DbErr> {
    let Some(id) = id else { return Ok(None) };
    let found = store::get(db, tenant, id).await?;
    found.map(Some).ok_or_else(|| DbErr::RecordNotFound(id.to_string()))
}

/// Some issuers, by their identifiers.
pub async fn all_of(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    ids: impl IntoIterator<Item = IssuerId>,
) -> Result<HashMap<IssuerId, Issuer>, DbErr> {
    let found = store::all_of(db, tenant, ids.into_iter().collect()).await?;
    Ok(found.into_iter().map(|issuer| (issuer.id, issuer)).collect())
}

/// The tenant, as it bills in an issuer's name; as it is if that is its own.
pub async fn in_name_of<'a>(
    db: &impl ConnectionTrait,
    tenant: &'a Tenant,
    issuer: Option<IssuerId>,
) -> Result<Cow<'a, Tenant>, DbErr> {
    Ok(match get(db, tenant.id, issuer).await? {
        Some(issuer) => Cow::Owned(issuer.in_name_of(tenant)),
        None => Cow::Borrowed(tenant),
    })
}

pub(super) async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    archived: bool,
    page: &PageQuery,
) -> Result<Vec<Issuer>, PageError> {
    store::list(db, tenant, archived, page).await
}

pub(super) async fn create(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    new: NewIssuer,
) -> Result<Issuer, IssuerError> {
    series::take_turns(tx, tenant.id).await?;
    // Afresh: a prefix that the account was given just now is not free.
    series::claim_own(tx, &auth::service::get_tenant(tx, tenant.id).await?).await??;
    let issuer = Issuer {
        tenant_id: tenant.id,
        id: IssuerId::new(now),
        code: new.code,
        name: new.name,
        address: new.address,
        tax_ids: new.tax_ids,
        email: new.email,
        timezone: new.timezone,
        currency: new.currency,
        invoice_prefix: new.invoice_prefix,
        credit_note_prefix: new.credit_note_prefix,
        net_terms_days: new.net_terms_days,
        invoice_footer: new.invoice_footer,
        brand_color: new.brand_color,
        logo_id: None,
        metadata: new.metadata,
        created_at: now,
        archived_at: None,
    };
    store::insert(tx, &issuer).await.map_err(|error| {
        if is_unique_violation(&error) { IssuerError::CodeTaken(issuer.code.clone()) } else { error.into() }
    })?;
    claim(tx, &issuer).await?;
    Ok(issuer)
}

/// Changes an issuer. Prefixes that it has had stay its own.
pub(super) async fn update(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    reference: &str,
    change: impl FnOnce(&mut Issuer),
) -> Result<Issuer, IssuerError> {
    series::take_turns(tx, tenant.id).await?;
    let mut issuer = lock(tx, tenant.id, reference).await?;
    change(&mut issuer);
    series::claim_own(tx, &auth::service::get_tenant(tx, tenant.id).await?).await??;
    claim(tx, &issuer).await?;
    store::save(tx, &issuer).await?;
    Ok(issuer)
}

async fn claim(tx: &DatabaseTransaction, issuer: &Issuer) -> Result<(), IssuerError> {
    let series =
        [(Numbered::Invoice, &issuer.invoice_prefix), (Numbered::CreditNote, &issuer.credit_note_prefix)];
    for (numbered, prefix) in series {
        series::claim(tx, issuer.tenant_id, Some(issuer.id), numbered, prefix).await??;
    }
    Ok(())
}

async fn lock(tx: &DatabaseTransaction, tenant: TenantId, reference: &str) -> Result<Issuer, IssuerError> {
    let found = store::find_for_update(tx, tenant, reference).await?;
    found.ok_or_else(|| IssuerError::NotFound(reference.to_owned()))
}

/// Archives an issuer at an instant, or takes it back. What was archived before stays archived since then.
pub(super) async fn archive(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    reference: &str,
    at: Option<DateTime<Utc>>,
) -> Result<Issuer, IssuerError> {
    let mut issuer = lock(tx, tenant, reference).await?;
    issuer.archived_at = at.map(|now| issuer.archived_at.unwrap_or(now));
    store::save(tx, &issuer).await?;
    Ok(issuer)
}

/// Deletes an issuer that bills nobody and never did, and archives any other (decision 0047).
pub(super) async fn remove(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: TenantId,
    reference: &str,
) -> Result<Removed, IssuerError> {
    series::take_turns(tx, tenant).await?;
    let issuer = lock(tx, tenant, reference).await?;
    let (id, code) = (issuer.id, issuer.code.clone());
    let archived_at = if store::delete(tx, &issuer).await? {
        None
    } else {
        archive(tx, tenant, &id.to_string(), Some(now)).await?.archived_at
    };
    Ok(Removed { id, code, archived_at })
}

/// Puts a picture at the head of an issuer's documents, or the account's (`None`), from now on.
pub(super) async fn set_logo(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: TenantId,
    issuer: Option<&str>,
    file: &[u8],
) -> Result<LogoId, IssuerError> {
    let picture = png::read(file)?;
    let id = store::insert_logo(tx, now, tenant, picture).await?;
    put_logo(tx, tenant, issuer, Some(id)).await?;
    Ok(id)
}

/// Documents have no picture from now on; those that have one keep it (RULES 36).
pub(super) async fn remove_logo(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    issuer: Option<&str>,
) -> Result<(), IssuerError> {
    put_logo(tx, tenant, issuer, None).await
}

async fn put_logo(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    issuer: Option<&str>,
    logo: Option<LogoId>,
) -> Result<(), IssuerError> {
    if let Some(reference) = issuer {
        let mut issuer = lock(tx, tenant, reference).await?;
        issuer.logo_id = logo;
        return Ok(store::save(tx, &issuer).await?);
    }
    auth::service::update_tenant(tx, tenant, |tenant| tenant.settings.logo = logo).await?;
    Ok(())
}

/// A picture, as PNG.
pub async fn logo(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: Option<LogoId>,
) -> Result<Option<Vec<u8>>, DbErr> {
    match id {
        Some(id) => store::find_logo(db, tenant, id).await,
        None => Ok(None),
    }
}

impl From<AuthError> for IssuerError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Database(error) => Self::Database(error),
            error => Self::Account(error),
        }
    }
}
