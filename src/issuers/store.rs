//! Issuers and logos in the database.

use accrue_core::{
    id::{IssuerId, LogoId, TenantId},
    tax_id::TaxId,
};
use accrue_platform::{
    check::Metadata,
    column::{Json, currency},
    db::unless_referred,
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DatabaseTransaction, DbErr, QuerySelect, entity::prelude::*,
    sea_query::LockType,
};

use super::model::Issuer;
use crate::auth::series;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "issuers")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: IssuerId,
    pub code: String,
    pub name: String,
    pub address: Json<Vec<String>>,
    pub tax_ids: Json<Vec<TaxId>>,
    pub email: Option<String>,
    pub timezone: Option<String>,
    pub currency: Option<String>,
    pub invoice_prefix: String,
    pub credit_note_prefix: String,
    pub net_terms_days: Option<i32>,
    pub invoice_footer: Option<String>,
    pub brand_color: Option<String>,
    pub logo_id: Option<LogoId>,
    pub metadata: Json<Metadata>,
    pub created_at: DateTime<Utc>,
    pub archived_at: Option<DateTime<Utc>>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

mod logos {
    use accrue_core::id::{LogoId, TenantId};
    use chrono::{DateTime, Utc};
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "logos")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub tenant_id: TenantId,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: LogoId,
        pub content: Vec<u8>,
        pub created_at: DateTime<Utc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Every query starts here, so that none can forget its tenant.
fn of(tenant: TenantId) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(tenant))
}

fn named(tenant: TenantId, reference: &str) -> Select<Entity> {
    match reference.parse::<IssuerId>() {
        Ok(id) => of(tenant).filter(Column::Id.eq(id)),
        Err(_) => of(tenant).filter(Column::Code.eq(reference)),
    }
}

/// By identifier or code.
pub(super) async fn find(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    reference: &str,
) -> Result<Option<Issuer>, DbErr> {
    named(tenant, reference).one(db).await?.map(Issuer::try_from).transpose()
}

pub(super) async fn get(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: IssuerId,
) -> Result<Option<Issuer>, DbErr> {
    of(tenant).filter(Column::Id.eq(id)).one(db).await?.map(Issuer::try_from).transpose()
}

pub(super) async fn all_of(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    ids: Vec<IssuerId>,
) -> Result<Vec<Issuer>, DbErr> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    of(tenant).filter(Column::Id.is_in(ids)).all(db).await?.into_iter().map(Issuer::try_from).collect()
}

pub(super) async fn find_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    reference: &str,
) -> Result<Option<Issuer>, DbErr> {
    named(tenant, reference).lock_exclusive().one(tx).await?.map(Issuer::try_from).transpose()
}

/// Locked as a reference to it locks it: it is neither deleted nor archived until the transaction ends.
pub(super) async fn find_to_refer(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    reference: &str,
) -> Result<Option<Issuer>, DbErr> {
    named(tenant, reference).lock(LockType::KeyShare).one(tx).await?.map(Issuer::try_from).transpose()
}

pub(super) async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    archived: bool,
    page: &PageQuery,
) -> Result<Vec<Issuer>, PageError> {
    let which = if archived { Column::ArchivedAt.is_not_null() } else { Column::ArchivedAt.is_null() };
    let rows = page.fetch::<Entity, IssuerId>(of(tenant).filter(which), Column::Id, db).await?;
    rows.into_iter().map(|row| Issuer::try_from(row).map_err(Into::into)).collect()
}

pub(super) async fn insert(tx: &DatabaseTransaction, issuer: &Issuer) -> Result<(), DbErr> {
    let row = ActiveModel {
        tenant_id: Set(issuer.tenant_id),
        id: Set(issuer.id),
        code: Set(issuer.code.clone()),
        created_at: Set(issuer.created_at),
        ..changeable(issuer)
    };
    Entity::insert(row).exec_without_returning(tx).await.map(drop)
}

pub(super) async fn save(tx: &DatabaseTransaction, issuer: &Issuer) -> Result<(), DbErr> {
    Entity::update_many()
        .set(changeable(issuer))
        .filter(Column::TenantId.eq(issuer.tenant_id))
        .filter(Column::Id.eq(issuer.id))
        .exec(tx)
        .await
        .map(drop)
}

/// `false` if something refers to it, and it is there still: a customer, or an invoice. Its prefixes go with it, for nothing
/// was ever numbered by them.
pub(super) async fn delete(tx: &DatabaseTransaction, issuer: &Issuer) -> Result<bool, DbErr> {
    unless_referred(tx, async |tx| {
        series::free(tx, issuer.tenant_id, issuer.id).await?;
        Entity::delete_by_id((issuer.tenant_id, issuer.id)).exec(tx).await.map(drop)
    })
    .await
}

pub(super) async fn insert_logo(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: TenantId,
    content: Vec<u8>,
) -> Result<LogoId, DbErr> {
    let id = LogoId::new(now);
    let row = logos::ActiveModel {
        tenant_id: Set(tenant),
        id: Set(id),
        content: Set(content),
        created_at: Set(now),
    };
    logos::Entity::insert(row).exec_without_returning(tx).await?;
    Ok(id)
}

pub(super) async fn find_logo(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: LogoId,
) -> Result<Option<Vec<u8>>, DbErr> {
    Ok(logos::Entity::find_by_id((tenant, id)).one(db).await?.map(|logo| logo.content))
}

fn changeable(issuer: &Issuer) -> ActiveModel {
    ActiveModel {
        name: Set(issuer.name.clone()),
        address: Set(Json(issuer.address.clone())),
        tax_ids: Set(Json(issuer.tax_ids.clone())),
        email: Set(issuer.email.clone()),
        timezone: Set(issuer.timezone.clone()),
        currency: Set(issuer.currency.map(|currency| currency.code().to_owned())),
        invoice_prefix: Set(issuer.invoice_prefix.clone()),
        credit_note_prefix: Set(issuer.credit_note_prefix.clone()),
        net_terms_days: Set(issuer.net_terms_days.map(Into::into)),
        invoice_footer: Set(issuer.invoice_footer.clone()),
        brand_color: Set(issuer.brand_color.clone()),
        logo_id: Set(issuer.logo_id),
        metadata: Set(Json(issuer.metadata.clone())),
        archived_at: Set(issuer.archived_at),
        ..Default::default()
    }
}

impl TryFrom<Model> for Issuer {
    type Error = DbErr;

    fn try_from(row: Model) -> Result<Self, DbErr> {
        let days = row.net_terms_days.map(u16::try_from).transpose();
        Ok(Self {
            tenant_id: row.tenant_id,
            id: row.id,
            code: row.code,
            name: row.name,
            address: row.address.0,
            tax_ids: row.tax_ids.0,
            email: row.email,
            timezone: row.timezone,
            currency: row.currency.as_deref().map(currency).transpose()?,
            invoice_prefix: row.invoice_prefix,
            credit_note_prefix: row.credit_note_prefix,
            net_terms_days: days.map_err(|error| DbErr::Type(error.to_string()))?,
            invoice_footer: row.invoice_footer,
            brand_color: row.brand_color,
            logo_id: row.logo_id,
            metadata: row.metadata.0,
            created_at: row.created_at,
            archived_at: row.archived_at,
        })
    }
}
