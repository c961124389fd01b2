//! An invoice as the API and events show it.

use std::collections::BTreeMap;

use accrue_core::{
    calendar::Period,
    decimal::Number,
    id::{CustomerId, InvoiceId, InvoiceLineId, IssuerId, PriceId, SubscriptionId},
    money::{Currency, Money},
    price::TierCharge,
    proration::Fraction,
    usage::Filter,
};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::model::{Invoice, InvoiceStatus, Line, MadeFor, PartyCopy, Reason, TaxRow};
use crate::{customers::Exemption, subscriptions::Collection};

/// What is owed.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Invoice)]
pub struct InvoiceBody {
    pub id: InvoiceId,
    #[schema(example = "invoice")]
    pub object: &'static str,
    pub livemode: bool,
    /// Gapless per series; drafts have none.
    #[schema(example = "INV-000001")]
    pub number: Option<String>,
    pub status: InvoiceStatus,
    pub reason: Reason,
    /// Who owes it.
    pub customer: CustomerId,
    /// Whose subscription it bills, if the customer pays for them.
    pub made_for: Option<MadeFor>,
    pub subscription: Option<SubscriptionId>,
    pub collection: Collection,
    pub currency: Currency,
    /// The period that it opens, or the last one that it closes. Each line has its own.
    pub period: Period,
    pub lines: Vec<LineBody>,
    /// Before discounts and taxes, but with those that are inclusive.
    pub subtotal: Money,
    pub discount_total: Money,
    /// Whether the customer pays tax, as it was when it was finalized.
    pub exemption: Exemption,
    /// Why there is no tax, in the words of the law and in the customer's language: it stands on the document.
    #[schema(example = "Reverse charge: the tax is owed by the customer.")]
    pub exemption_note: Option<&'static str>,
    pub taxes: Vec<TaxBody>,
    pub tax_total: Money,
    pub total: Money,
    /// What credit notes of earlier invoices paid of it when it was finalized.
    pub credits_applied: Money,
    /// What the customer's balance paid of it when it was finalized; negative for a debt that it asks for.
    pub balance_applied: Money,
    /// What it came to below zero, and left to the customer's balance.
    pub balance_credited: Money,
    pub wallets_applied: Money,
    /// What credit notes of its own took off what is left to pay.
    pub offset_total: Money,
    /// What all credit notes of its own came to.
    pub credited_total: Money,
    /// What is left to pay.
    pub amount_due: Money,
    pub amount_paid: Money,
    /// In whose name it was issued; null for the account itself.
    pub issuer_id: Option<IssuerId>,
    /// Who issued it, as it was when it was finalized.
    pub issuer: PartyCopy,
    /// Who was billed, as it was when it was finalized.
    pub bill_to: PartyCopy,
    pub issued_at: Option<DateTime<Utc>>,
    pub due_at: Option<DateTime<Utc>>,
    pub paid_at: Option<DateTime<Utc>>,
    pub voided_at: Option<DateTime<Utc>>,
    /// The void invoice in whose place it was issued.
    pub replaces: Option<InvoiceId>,
    /// Of a void invoice: the one that was issued in its place.
    pub replaced_by: Option<InvoiceId>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
}

/// One price in one period.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = InvoiceLine)]
pub struct LineBody {
    pub id: InvoiceLineId,
    /// `fixed`, `seat`, `one_time`, `usage`, `usage_adjustment`, `true_up` or `minimum_commitment`.
    #[schema(example = "usage")]
    pub kind: String,
    #[schema(example = "Team plan – API requests")]
    pub description: String,
    pub subscription: Option<SubscriptionId>,
    pub price: Option<PriceId>,
    /// Of usage that a filter of the price matched: that filter.
    pub filter: Option<Filter>,
    /// Of usage that the price groups: each property's value, null where events lack it.
    pub group: BTreeMap<String, Option<String>>,
    pub period: Period,
    /// In priced units.
    pub quantity: Number,
    /// Of prices that have just one.
    pub unit_price: Option<Number>,
    /// `exact_amount`, rounded once: with the taxes that are inclusive.
    pub amount: Money,
    pub exact_amount: Number,
    pub discount: Money,
    /// What discounts left of it, without taxes.
    pub taxable: Money,
    /// Σ taxes.
    pub tax: Money,
    /// Its share of each of its taxes.
    pub taxes: Vec<TaxBody>,
    /// The days of a short period, of the days of a whole one.
    pub proration: Option<Fraction>,
    /// How the amount came about, before proration. Of usage that was billed in part before, or is corrected: of all
    /// that was used in the period, of which this line is what was missing.
    pub tiers: Vec<TierCharge>,
}

/// What one tax comes to, of a line or of the whole, as it was when the invoice was made.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = InvoiceTax)]
pub struct TaxBody {
    /// The tax's code.
    #[schema(example = "vat_de")]
    pub code: String,
    #[schema(example = "VAT")]
    pub name: String,
    /// 20 for 20 %.
    pub rate: Number,
    /// Whether amounts contain it; else it comes on top.
    pub inclusive: bool,
    #[schema(example = "DE")]
    pub jurisdiction: Option<String>,
    /// What it was taken on.
    pub base: Money,
    pub amount: Money,
}

impl InvoiceBody {
    /// `livemode` is the tenant's.
    pub fn new(invoice: &Invoice, livemode: bool) -> Self {
        Self {
            id: invoice.id,
            object: "invoice",
            livemode,
            number: invoice.number.clone(),
            status: invoice.status,
            reason: invoice.reason,
            customer: invoice.customer_id,
            made_for: invoice.made_for.clone(),
            subscription: invoice.subscription_id,
            collection: invoice.collection,
            currency: invoice.currency,
            period: invoice.period,
            lines: invoice.lines.iter().map(LineBody::from).collect(),
            subtotal: invoice.subtotal,
            discount_total: invoice.discount_total,
            exemption: invoice.exemption,
            exemption_note: invoice.exemption_note(),
            taxes: invoice.taxes.iter().map(|tax| TaxBody::new(tax, invoice.currency)).collect(),
            tax_total: invoice.tax_total,
            total: invoice.total,
            credits_applied: invoice.credits_applied,
            balance_applied: invoice.balance_applied,
            balance_credited: invoice.balance_credited,
            wallets_applied: Money::zero(invoice.currency),
            offset_total: invoice.offset_total,
            credited_total: invoice.credited_total,
            amount_due: invoice.amount_due(),
            amount_paid: invoice.amount_paid,
            issuer_id: invoice.issuer_id,
            issuer: invoice.issuer.clone(),
            bill_to: invoice.customer.clone(),
            issued_at: invoice.issued_at,
            due_at: invoice.due_at,
            paid_at: invoice.paid_at,
            voided_at: invoice.voided_at,
            replaces: invoice.replaces,
            replaced_by: invoice.replaced_by,
            metadata: invoice.metadata.clone(),
            created_at: invoice.created_at,
        }
    }
}

impl From<&Line> for LineBody {
    fn from(line: &Line) -> Self {
        Self {
            id: line.id,
            kind: line.kind.clone(),
            description: line.description.clone(),
            subscription: line.subscription_id,
            price: line.price_id,
            filter: line.bucket.filter.clone(),
            group: line.bucket.group.clone(),
            period: line.period,
            quantity: Number(line.quantity),
            unit_price: line.unit_price.map(Number),
            amount: line.amount,
            exact_amount: Number(line.exact_amount),
            discount: Money::zero(line.amount.currency()),
            taxable: line.taxable,
            tax: line.tax,
            taxes: line.taxes.iter().map(|tax| TaxBody::new(tax, line.amount.currency())).collect(),
            proration: line.proration,
            tiers: line.tiers.clone(),
        }
    }
}

impl TaxBody {
    pub(super) fn new(row: &TaxRow, currency: Currency) -> Self {
        let TaxRow { tax, base_minor, amount_minor } = row;
        Self {
            code: tax.code.clone(),
            name: tax.name.clone(),
            rate: Number(tax.rate),
            inclusive: tax.inclusive,
            jurisdiction: tax.jurisdiction.clone(),
            base: Money::from_minor(*base_minor, currency),
            amount: Money::from_minor(*amount_minor, currency),
        }
    }
}
