//! Documents that were printed.

use accrue_core::id::{DocumentId, InvoiceId, TenantId};
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DatabaseTransaction, DbErr, entity::prelude::*, sea_query::OnConflict,
};

use crate::invoices::model::Invoice;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "documents")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: DocumentId,
    pub invoice_id: InvoiceId,
    pub kind: String,
    pub state: String,
    pub content: Vec<u8>,
    pub created_at: DateTime<Utc>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

fn of(tenant: TenantId) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(tenant))
}

/// A document as it was printed for this state of its invoice.
pub(in crate::invoices) async fn find_document(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    invoice: InvoiceId,
    kind: &str,
    state: &str,
) -> Result<Option<Vec<u8>>, DbErr> {
    let row = of(tenant)
        .filter(Column::InvoiceId.eq(invoice))
        .filter(Column::Kind.eq(kind))
        .filter(Column::State.eq(state))
        .one(db)
        .await?;
    Ok(row.map(|row| row.content))
}

/// Keeps a document, unless somebody else has printed the same one meanwhile.
pub(in crate::invoices) async fn keep_document(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    invoice: &Invoice,
    (kind, state): (&str, &str),
    content: Vec<u8>,
) -> Result<(), DbErr> {
    let row = ActiveModel {
        tenant_id: Set(invoice.tenant_id),
        id: Set(DocumentId::new(now)),
        invoice_id: Set(invoice.id),
        kind: Set(kind.to_owned()),
        state: Set(state.to_owned()),
        content: Set(content),
        created_at: Set(now),
    };
    let same = OnConflict::columns([Column::TenantId, Column::InvoiceId, Column::Kind, Column::State])
        .do_nothing()
        .to_owned();
    Entity::insert(row).on_conflict(same).exec_without_returning(tx).await.map(drop)
}
