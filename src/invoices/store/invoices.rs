//! The rows of invoices.

use accrue_core::{
    calendar::Period,
    id::{CustomerId, InvoiceId, IssuerId, SubscriptionId, TenantId, TestClockId},
    money::Money,
};
use accrue_platform::{
    check::Metadata,
    column::{Json, currency, from_word, word},
};
use chrono::{DateTime, Utc};
use sea_orm::{ActiveValue::Set, DbErr, entity::prelude::*};

use super::lines;
use crate::{
    customers::Exemption,
    invoices::model::{Invoice, InvoiceStatus, Letterhead, MadeFor, PartyCopy, Reason, TaxRow},
    subscriptions::Collection,
};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "invoices")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: InvoiceId,
    pub customer_id: CustomerId,
    pub for_customer_id: Option<CustomerId>,
    pub for_name: Option<String>,
    pub test_clock_id: Option<TestClockId>,
    pub subscription_id: Option<SubscriptionId>,
    pub number: Option<String>,
    pub status: InvoiceStatus,
    pub reason: Reason,
    pub change: i32,
    pub collection: Collection,
    pub currency: String,
    pub period_start_at: DateTime<Utc>,
    pub period_end_at: DateTime<Utc>,
    pub subtotal_minor: i64,
    pub discount_minor: i64,
    pub tax_minor: i64,
    pub total_minor: i64,
    pub credits_applied_minor: i64,
    pub balance_applied_minor: i64,
    pub balance_credited_minor: i64,
    pub offset_minor: i64,
    pub credited_minor: i64,
    pub amount_paid_minor: i64,
    pub issuer_id: Option<IssuerId>,
    pub issuer: Json<PartyCopy>,
    pub customer: Json<PartyCopy>,
    pub letterhead: Json<Letterhead>,
    pub exemption: Exemption,
    pub tax_rounding: String,
    pub taxes: Json<Vec<TaxRow>>,
    pub issued_at: Option<DateTime<Utc>>,
    pub due_at: Option<DateTime<Utc>>,
    pub paid_at: Option<DateTime<Utc>>,
    pub voided_at: Option<DateTime<Utc>>,
    pub replaces: Option<InvoiceId>,
    pub replaced_by: Option<InvoiceId>,
    pub metadata: Json<Metadata>,
    pub created_at: DateTime<Utc>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Every query starts here, so that none can forget its tenant.
pub(super) fn of(tenant: TenantId) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(tenant))
}

/// With the rows of its lines, in order.
pub(super) fn invoice(row: Model, lines: Vec<lines::Model>) -> Result<Invoice, DbErr> {
    let currency = currency(&row.currency)?;
    let money = |minor| Money::from_minor(minor, currency);
    Ok(Invoice {
        tenant_id: row.tenant_id,
        id: row.id,
        customer_id: row.customer_id,
        made_for: row.for_customer_id.zip(row.for_name).map(|(customer, name)| MadeFor { customer, name }),
        test_clock_id: row.test_clock_id,
        subscription_id: row.subscription_id,
        number: row.number,
        status: row.status,
        reason: row.reason,
        change: row.change,
        collection: row.collection,
        currency,
        period: Period { start: row.period_start_at, end: row.period_end_at },
        lines: lines.into_iter().map(|row| lines::line(row, currency)).collect(),
        subtotal: money(row.subtotal_minor),
        discount_total: money(row.discount_minor),
        tax_total: money(row.tax_minor),
        total: money(row.total_minor),
        credits_applied: money(row.credits_applied_minor),
        balance_applied: money(row.balance_applied_minor),
        balance_credited: money(row.balance_credited_minor),
        offset_total: money(row.offset_minor),
        credited_total: money(row.credited_minor),
        amount_paid: money(row.amount_paid_minor),
        issuer_id: row.issuer_id,
        issuer: row.issuer.0,
        customer: row.customer.0,
        letterhead: row.letterhead.0,
        exemption: row.exemption,
        tax_rounding: from_word(row.tax_rounding)?,
        taxes: row.taxes.0,
        issued_at: row.issued_at,
        due_at: row.due_at,
        paid_at: row.paid_at,
        voided_at: row.voided_at,
        replaces: row.replaces,
        replaced_by: row.replaced_by,
        metadata: row.metadata.0,
        created_at: row.created_at,
    })
}

pub(super) fn row_of(invoice: &Invoice) -> ActiveModel {
    ActiveModel {
        tenant_id: Set(invoice.tenant_id),
        id: Set(invoice.id),
        customer_id: Set(invoice.customer_id),
        for_customer_id: Set(invoice.made_for.as_ref().map(|child| child.customer)),
        for_name: Set(invoice.made_for.as_ref().map(|child| child.name.clone())),
        test_clock_id: Set(invoice.test_clock_id),
        subscription_id: Set(invoice.subscription_id),
        number: Set(invoice.number.clone()),
        status: Set(invoice.status),
        reason: Set(invoice.reason),
        change: Set(invoice.change),
        collection: Set(invoice.collection),
        currency: Set(invoice.currency.code().to_owned()),
        period_start_at: Set(invoice.period.start),
        period_end_at: Set(invoice.period.end),
        subtotal_minor: Set(invoice.subtotal.minor()),
        discount_minor: Set(invoice.discount_total.minor()),
        tax_minor: Set(invoice.tax_total.minor()),
        total_minor: Set(invoice.total.minor()),
        credits_applied_minor: Set(invoice.credits_applied.minor()),
        balance_applied_minor: Set(invoice.balance_applied.minor()),
        balance_credited_minor: Set(invoice.balance_credited.minor()),
        offset_minor: Set(invoice.offset_total.minor()),
        credited_minor: Set(invoice.credited_total.minor()),
        amount_paid_minor: Set(invoice.amount_paid.minor()),
        issuer_id: Set(invoice.issuer_id),
        issuer: Set(Json(invoice.issuer.clone())),
        customer: Set(Json(invoice.customer.clone())),
        letterhead: Set(Json(invoice.letterhead.clone())),
        exemption: Set(invoice.exemption),
        tax_rounding: Set(word(invoice.tax_rounding)),
        taxes: Set(Json(invoice.taxes.clone())),
        issued_at: Set(invoice.issued_at),
        due_at: Set(invoice.due_at),
        paid_at: Set(invoice.paid_at),
        voided_at: Set(invoice.voided_at),
        replaces: Set(invoice.replaces),
        replaced_by: Set(invoice.replaced_by),
        metadata: Set(Json(invoice.metadata.clone())),
        created_at: Set(invoice.created_at),
    }
}
