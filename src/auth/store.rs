//! Accounts, tenants, keys and the audit log in the database.

use accrue_core::id::{AuditId, KeyId, TenantId};
use accrue_platform::{
    bulk,
    column::Json,
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DatabaseTransaction, DbErr, QueryOrder, QuerySelect,
    entity::prelude::*,
};

use super::model::{Account, Key, KeyKind, Tenant};

pub(super) mod accounts {
    use accrue_core::id::AccountId;
    use chrono::{DateTime, Utc};
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "accounts")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: AccountId,
        pub name: String,
        pub created_at: DateTime<Utc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod tenants {
    use accrue_core::id::{AccountId, TenantId};
    use accrue_platform::column::Json;
    use chrono::{DateTime, Utc};
    use sea_orm::entity::prelude::*;

    use crate::auth::model::TenantSettings;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "tenants")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: TenantId,
        pub account_id: AccountId,
        pub livemode: bool,
        pub name: String,
        pub timezone: String,
        pub settings: Json<TenantSettings>,
        pub created_at: DateTime<Utc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) mod keys {
    use accrue_core::id::{KeyId, TenantId};
    use accrue_platform::column::Json;
    use chrono::{DateTime, Utc};
    use sea_orm::entity::prelude::*;

    use crate::auth::model::KeyKind;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "api_keys")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub tenant_id: TenantId,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: KeyId,
        pub kind: KeyKind,
        pub name: String,
        pub hash: Vec<u8>,
        pub hint: String,
        pub scopes: Json<Vec<String>>,
        pub created_at: DateTime<Utc>,
        pub expires_at: Option<DateTime<Utc>>,
        pub revoked_at: Option<DateTime<Utc>>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}

    /// Every query starts here, so that none can forget its tenant.
    pub(crate) fn of(tenant: TenantId) -> Select<Entity> {
        Entity::find().filter(Column::TenantId.eq(tenant))
    }
}

pub(super) mod audit {
    use accrue_core::id::{AuditId, TenantId};
    use chrono::{DateTime, Utc};
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "audit_entries")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub tenant_id: TenantId,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: AuditId,
        pub at: DateTime<Utc>,
        pub actor: String,
        pub action: String,
        pub object_id: Option<String>,
        pub request_id: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) async fn insert_account(
    tx: &DatabaseTransaction,
    account: &Account,
    created_at: DateTime<Utc>,
) -> Result<(), DbErr> {
    let row = accounts::ActiveModel {
        id: Set(account.id),
        name: Set(account.name.clone()),
        created_at: Set(created_at),
    };
    accounts::Entity::insert(row).exec_without_returning(tx).await.map(drop)
}

pub(super) async fn insert_tenant(tx: &DatabaseTransaction, tenant: &Tenant) -> Result<(), DbErr> {
    let row = tenants::ActiveModel {
        id: Set(tenant.id),
        account_id: Set(tenant.account_id),
        livemode: Set(tenant.livemode),
        name: Set(tenant.name.clone()),
        timezone: Set(tenant.timezone.clone()),
        settings: Set(Json(tenant.settings.clone())),
        created_at: Set(tenant.created_at),
    };
    tenants::Entity::insert(row).exec_without_returning(tx).await.map(drop)
}

pub(super) async fn find_tenant(db: &impl ConnectionTrait, id: TenantId) -> Result<Option<Tenant>, DbErr> {
    Ok(tenants::Entity::find_by_id(id).one(db).await?.map(Into::into))
}

pub(super) async fn find_tenant_for_update(
    tx: &DatabaseTransaction,
    id: TenantId,
) -> Result<Option<Tenant>, DbErr> {
    Ok(tenants::Entity::find_by_id(id).lock_exclusive().one(tx).await?.map(Into::into))
}

/// Every tenant, the oldest account first: for the command line.
pub(super) async fn all_tenants(db: &impl ConnectionTrait) -> Result<Vec<Tenant>, DbErr> {
    let rows = tenants::Entity::find().order_by_asc(tenants::Column::Id).all(db).await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

pub(super) async fn save_tenant(tx: &DatabaseTransaction, tenant: &Tenant) -> Result<(), DbErr> {
    let row = tenants::ActiveModel {
        id: Set(tenant.id),
        name: Set(tenant.name.clone()),
        timezone: Set(tenant.timezone.clone()),
        settings: Set(Json(tenant.settings.clone())),
        ..Default::default()
    };
    row.update(tx).await.map(drop)
}

pub(super) async fn insert_key(tx: &DatabaseTransaction, key: &Key, hash: Vec<u8>) -> Result<(), DbErr> {
    let row = keys::ActiveModel {
        tenant_id: Set(key.tenant_id),
        id: Set(key.id),
        kind: Set(key.kind),
        name: Set(key.name.clone()),
        hash: Set(hash),
        hint: Set(key.hint.clone()),
        scopes: Set(Json(key.scopes.clone())),
        created_at: Set(key.created_at),
        expires_at: Set(key.expires_at),
        revoked_at: Set(key.revoked_at),
    };
    keys::Entity::insert(row).exec_without_returning(tx).await.map(drop)
}

pub(super) async fn find_key_by_hash(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    hash: Vec<u8>,
) -> Result<Option<Key>, DbErr> {
    Ok(keys::of(tenant).filter(keys::Column::Hash.eq(hash)).one(db).await?.map(Into::into))
}

pub(super) async fn find_key_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: KeyId,
) -> Result<Option<Key>, DbErr> {
    Ok(keys::of(tenant).filter(keys::Column::Id.eq(id)).lock_exclusive().one(tx).await?.map(Into::into))
}

pub(super) async fn keys_of_kind_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    kind: KeyKind,
) -> Result<Vec<Key>, DbErr> {
    let keys = keys::of(tenant).filter(keys::Column::Kind.eq(kind)).order_by_asc(keys::Column::Id);
    Ok(keys.lock_exclusive().all(tx).await?.into_iter().map(Into::into).collect())
}

pub(super) async fn revoke_key(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: KeyId,
    at: DateTime<Utc>,
) -> Result<(), DbErr> {
    keys::Entity::update_many()
        .col_expr(keys::Column::RevokedAt, at.into())
        .filter(keys::Column::TenantId.eq(tenant))
        .filter(keys::Column::Id.eq(id))
        .exec(tx)
        .await
        .map(drop)
}

pub(super) async fn list_keys(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    page: &PageQuery,
) -> Result<Vec<Key>, PageError> {
    let rows = page.fetch::<keys::Entity, KeyId>(keys::of(tenant), keys::Column::Id, db).await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Who did what when: one row beside every change that came through the API.
pub(super) async fn append_audit(tx: &DatabaseTransaction, entry: audit::Model) -> Result<(), DbErr> {
    let row = audit::ActiveModel {
        tenant_id: Set(entry.tenant_id),
        id: Set(entry.id),
        at: Set(entry.at),
        actor: Set(entry.actor),
        action: Set(entry.action),
        object_id: Set(entry.object_id),
        request_id: Set(entry.request_id),
    };
    audit::Entity::insert(row).exec_without_returning(tx).await.map(drop)
}

/// Entries, to be inserted together.
pub(super) fn audits(entries: &[audit::Model]) -> bulk::Insert {
    let columns = vec![
        bulk::Column::new("tenant_id", entries.iter().map(|entry| entry.tenant_id.0)),
        bulk::Column::new("id", entries.iter().map(|entry| entry.id.0)),
        bulk::Column::new("at", entries.iter().map(|entry| entry.at)),
        bulk::Column::new("actor", entries.iter().map(|entry| entry.actor.clone())),
        bulk::Column::new("action", entries.iter().map(|entry| entry.action.clone())),
        bulk::Column::new(
            "object_id",
            entries.iter().map(|entry| entry.object_id.clone().unwrap_or_default()),
        ),
        bulk::Column::new("request_id", entries.iter().map(|entry| entry.request_id.clone())),
    ];
    bulk::Insert::new("audit_entries", columns)
}

pub(super) async fn list_audit(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    page: &PageQuery,
) -> Result<Vec<audit::Model>, PageError> {
    let select = audit::Entity::find().filter(audit::Column::TenantId.eq(tenant));
    page.fetch::<audit::Entity, AuditId>(select, audit::Column::Id, db).await
}

impl From<tenants::Model> for Tenant {
    fn from(row: tenants::Model) -> Self {
        let tenants::Model { id, account_id, livemode, name, timezone, settings, created_at } = row;
        Self { id, account_id, livemode, name, timezone, settings: settings.0, created_at }
    }
}

impl From<keys::Model> for Key {
    fn from(row: keys::Model) -> Self {
        let keys::Model {
            tenant_id,
            id,
            kind,
            name,
            hint,
            scopes,
            created_at,
            expires_at,
            revoked_at,
            hash: _,
        } = row;
        Self { id, tenant_id, kind, name, hint, scopes: scopes.0, created_at, expires_at, revoked_at }
    }
}
