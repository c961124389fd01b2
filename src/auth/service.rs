//! The verbs of auth.

use accrue_core::id::{AccountId, AuditId, KeyId, TenantId};
use accrue_platform::{
    bulk::Insert,
    page::{PageError, PageQuery},
    request,
};
use chrono::{DateTime, Utc};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::{
    model::{
        Account, Key, KeyKind, Mode, NewKey, Tenant, TenantSettings, digest, new_key_text, read_key_text,
        unknown_scope,
    },
    resource::SCOPES,
    series::{self, SeriesTaken},
    store,
};

/// Why keys and tenants cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("key {0} does not exist")]
    NoSuchKey(KeyId),
    #[error("tenant {0} does not exist")]
    NoSuchTenant(TenantId),
    #[error("scope {scope} does not exist: there are `name:read` and `name:write` of {}", SCOPES.join(", "))]
    NoSuchScope {
        /// Its place in the list.
        index: usize,
        scope: String,
    },
    #[error("the key lacks `{0}`, so it can make no key that has it")]
    NotOwn(String),
    /// Without one the account could make no other over the API.
    #[error("it is the last secret key of the account in this mode: make another one first")]
    LastSecretKey,
    #[error(transparent)]
    SeriesTaken(#[from] SeriesTaken),
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// What somebody did.
pub struct Deed<'a> {
    /// The key that was used, or [`COMMAND_LINE`].
    pub actor: &'a str,
    /// `POST /v1/customers`, `keys create`.
    pub action: &'a str,
    pub object_id: String,
}

/// What a request did whose work is committed together with that of others.
#[derive(Clone, Debug)]
pub struct SharedDeed {
    pub tenant: TenantId,
    pub actor: String,
    pub action: &'static str,
    pub object_id: String,
    pub request_id: String,
}

/// What is to be written down of what several requests did.
pub fn notes(now: DateTime<Utc>, deeds: Vec<SharedDeed>) -> Insert {
    let entry = |deed: SharedDeed| store::audit::Model {
        tenant_id: deed.tenant,
        id: AuditId::new(now),
        at: now,
        actor: deed.actor,
        action: deed.action.to_owned(),
        object_id: Some(deed.object_id),
        request_id: deed.request_id,
    };
    store::audits(&deeds.into_iter().map(entry).collect::<Vec<_>>())
}

/// Who acts when no key does.
pub const COMMAND_LINE: &str = "command line";

/// Whose key is this? `None` for a key that is unknown, expired or revoked.
pub(super) async fn authenticate(
    db: &impl ConnectionTrait,
    text: &str,
    now: DateTime<Utc>,
) -> Result<Option<(Tenant, Key)>, DbErr> {
    let Some((tenant, hash)) = read_key_text(text) else { return Ok(None) };
    let (key, tenant) =
        tokio::try_join!(store::find_key_by_hash(db, tenant, hash), store::find_tenant(db, tenant))?;
    Ok(tenant.zip(key.filter(|key| key.is_usable(now))))
}

/// Opens an account with its live and its test tenant.
pub async fn open_account(
    tx: &DatabaseTransaction,
    name: &str,
    now: DateTime<Utc>,
) -> Result<(Tenant, Tenant), DbErr> {
    let account = Account { id: AccountId::new(now), name: name.to_owned() };
    store::insert_account(tx, &account, now).await?;
    let tenant = |livemode| Tenant {
        id: TenantId::new(now),
        account_id: account.id,
        livemode,
        name: name.to_owned(),
        timezone: "UTC".to_owned(),
        settings: TenantSettings::default(),
        created_at: now,
    };
    let (live, test) = (tenant(true), tenant(false));
    store::insert_tenant(tx, &live).await?;
    store::insert_tenant(tx, &test).await?;
    Ok((live, test))
}

/// Every tenant there is: for the command line, never for a caller.
pub async fn all_tenants(db: &impl ConnectionTrait) -> Result<Vec<Tenant>, DbErr> {
    store::all_tenants(db).await
}

/// The first account's tenant of a mode.
pub async fn first_tenant(db: &impl ConnectionTrait, mode: Mode) -> Result<Option<Tenant>, DbErr> {
    let tenants = store::all_tenants(db).await?;
    Ok(tenants.into_iter().find(|tenant| tenant.livemode == (mode == Mode::Live)))
}

pub async fn get_tenant(db: &impl ConnectionTrait, id: TenantId) -> Result<Tenant, AuthError> {
    store::find_tenant(db, id).await?.ok_or(AuthError::NoSuchTenant(id))
}

/// Changes what a tenant decides about itself. Prefixes that it has had stay its own.
pub async fn update_tenant(
    tx: &DatabaseTransaction,
    id: TenantId,
    change: impl FnOnce(&mut Tenant),
) -> Result<Tenant, AuthError> {
    series::take_turns(tx, id).await?;
    let before = store::find_tenant_for_update(tx, id).await?.ok_or(AuthError::NoSuchTenant(id))?;
    let mut after = before.clone();
    change(&mut after);
    let prefixes = |tenant: &Tenant| {
        (tenant.settings.invoice_prefix.clone(), tenant.settings.credit_note_prefix.clone())
    };
    if prefixes(&before) != prefixes(&after) {
        series::claim_own(tx, &before).await??;
        series::claim_own(tx, &after).await??;
    }
    store::save_tenant(tx, &after).await?;
    Ok(after)
}

/// Makes a key and answers with its text, which is shown this once.
pub async fn create_key(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    new: NewKey,
    now: DateTime<Utc>,
) -> Result<(Key, String), AuthError> {
    known_scopes(&new)?;
    let text = new_key_text(tenant, new.kind);
    let key = Key {
        id: KeyId::new(now),
        tenant_id: tenant.id,
        kind: new.kind,
        name: new.name,
        hint: format!("{}…{}", &text[..8], &text[text.len() - 4..]),
        scopes: new.scopes,
        created_at: now,
        expires_at: new.expires_at,
        revoked_at: None,
    };
    store::insert_key(tx, &key, digest(&text)).await?;
    Ok((key, text))
}

/// The same for a caller, whose own key has every right of the new one.
pub(super) async fn create_key_by(
    tx: &DatabaseTransaction,
    maker: &Key,
    tenant: &Tenant,
    new: NewKey,
    now: DateTime<Utc>,
) -> Result<(Key, String), AuthError> {
    known_scopes(&new)?;
    if let Some(right) = maker.lacks_of(&new) {
        return Err(AuthError::NotOwn(right.to_owned()));
    }
    create_key(tx, tenant, new, now).await
}

fn known_scopes(new: &NewKey) -> Result<(), AuthError> {
    match unknown_scope(&new.scopes) {
        Some((index, scope)) => Err(AuthError::NoSuchScope { index, scope: scope.to_owned() }),
        None => Ok(()),
    }
}

/// Revokes a key for a caller, who may be that very key. The last secret key stays: who revokes it has locked
/// the account out of the API.
pub(super) async fn revoke_key_unless_last(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: KeyId,
    now: DateTime<Utc>,
) -> Result<Key, AuthError> {
    // All of them are locked, so that of two keys that revoke each other one stays.
    let secret = store::keys_of_kind_for_update(tx, tenant, KeyKind::Secret).await?;
    let mut usable = secret.iter().filter(|key| key.is_usable(now)).map(|key| key.id);
    if usable.next() == Some(id) && usable.next().is_none() {
        return Err(AuthError::LastSecretKey);
    }
    revoke_key(tx, tenant, id, now).await
}

/// From now on the key opens nothing. Revoking twice is the same as revoking once.
pub async fn revoke_key(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: KeyId,
    now: DateTime<Utc>,
) -> Result<Key, AuthError> {
    let mut key = store::find_key_for_update(tx, tenant, id).await?.ok_or(AuthError::NoSuchKey(id))?;
    if key.revoked_at.is_none() {
        store::revoke_key(tx, tenant, id, now).await?;
        key.revoked_at = Some(now);
    }
    Ok(key)
}

/// Writes down who did what, beside what was done.
pub async fn audit(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    now: DateTime<Utc>,
    deed: Deed<'_>,
) -> Result<(), DbErr> {
    let Deed { actor, action, object_id } = deed;
    let entry = store::audit::Model {
        tenant_id: tenant,
        id: AuditId::new(now),
        at: now,
        actor: actor.to_owned(),
        action: action.to_owned(),
        object_id: Some(object_id),
        request_id: request::id(),
    };
    store::append_audit(tx, entry).await
}

/// One page of the audit log.
pub(super) async fn list_audit(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    page: &PageQuery,
) -> Result<Vec<store::audit::Model>, PageError> {
    store::list_audit(db, tenant, page).await
}

pub async fn list_keys(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    page: &PageQuery,
) -> Result<Vec<Key>, PageError> {
    store::list_keys(db, tenant, page).await
}
