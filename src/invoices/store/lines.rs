//! The rows of invoice lines.

use accrue_core::{
    calendar::Period,
    id::{InvoiceId, InvoiceLineId, PriceId, SubscriptionId, TenantId},
    money::{Currency, Money},
    price::TierCharge,
    proration::Fraction,
};
use accrue_platform::column::{Dec, Json};
use chrono::{DateTime, Utc};
use sea_orm::{ActiveValue::Set, entity::prelude::*};

use crate::invoices::model::{Bucket, Invoice, Line, TaxRow};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "invoice_lines")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: InvoiceLineId,
    pub invoice_id: InvoiceId,
    pub subscription_id: Option<SubscriptionId>,
    pub price_id: Option<PriceId>,
    pub position: i32,
    pub kind: String,
    pub description: String,
    pub period_start_at: DateTime<Utc>,
    pub period_end_at: DateTime<Utc>,
    pub quantity: Dec,
    pub unit_price: Option<Dec>,
    pub exact_amount: Dec,
    pub amount_minor: i64,
    pub taxable_minor: i64,
    pub tax_minor: i64,
    pub taxes: Json<Vec<TaxRow>>,
    pub proration: Option<Json<Fraction>>,
    pub tiers: Json<Vec<TierCharge>>,
    pub adjustment: i32,
    /// Its invoice's.
    pub change: i32,
    pub bucket: Json<Bucket>,
    pub bucket_id: Uuid,
    /// When its invoice was voided because another one says the same turn again: it bills nothing any more.
    pub replaced_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

pub(super) fn of(tenant: TenantId) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(tenant))
}

/// Those that bill something: another one says what was replaced.
pub(super) fn that_bill(tenant: TenantId) -> Select<Entity> {
    of(tenant).filter(Column::ReplacedAt.is_null())
}

pub(super) fn line(row: Model, currency: Currency) -> Line {
    Line {
        id: row.id,
        subscription_id: row.subscription_id,
        price_id: row.price_id,
        kind: row.kind,
        description: row.description,
        period: Period { start: row.period_start_at, end: row.period_end_at },
        quantity: row.quantity.0,
        unit_price: row.unit_price.map(|price| price.0),
        exact_amount: row.exact_amount.0,
        amount: Money::from_minor(row.amount_minor, currency),
        taxable: Money::from_minor(row.taxable_minor, currency),
        tax: Money::from_minor(row.tax_minor, currency),
        taxes: row.taxes.0,
        proration: row.proration.map(|proration| proration.0),
        tiers: row.tiers.0,
        adjustment: row.adjustment,
        bucket: row.bucket.0,
    }
}

pub(super) fn row_of(invoice: &Invoice, line: &Line, position: i32) -> ActiveModel {
    ActiveModel {
        tenant_id: Set(invoice.tenant_id),
        id: Set(line.id),
        invoice_id: Set(invoice.id),
        subscription_id: Set(line.subscription_id),
        price_id: Set(line.price_id),
        position: Set(position),
        kind: Set(line.kind.clone()),
        description: Set(line.description.clone()),
        period_start_at: Set(line.period.start),
        period_end_at: Set(line.period.end),
        quantity: Set(Dec(line.quantity)),
        unit_price: Set(line.unit_price.map(Dec)),
        exact_amount: Set(Dec(line.exact_amount)),
        amount_minor: Set(line.amount.minor()),
        taxable_minor: Set(line.taxable.minor()),
        tax_minor: Set(line.tax.minor()),
        taxes: Set(Json(line.taxes.clone())),
        proration: Set(line.proration.map(Json)),
        tiers: Set(Json(line.tiers.clone())),
        adjustment: Set(line.adjustment),
        change: Set(invoice.change),
        bucket: Set(Json(line.bucket.clone())),
        bucket_id: Set(line.bucket.id()),
        replaced_at: Set(None),
        created_at: Set(invoice.created_at),
    }
}
