//! How an invoice came about: line → price → quantity → tiers → proration → rounding, from what was stored.

use std::collections::{BTreeMap, HashMap, HashSet};

use accrue_core::{
    calendar::Period,
    decimal::Number,
    exact::Exact,
    id::{CreditNoteId, InvoiceId, InvoiceLineId, MetricId, PriceId},
    invoice::{COMMITMENT_LINE, TaxRounding},
    money::{Currency, Money},
    price::{Model, TierCharge},
    proration::Fraction,
    usage::{Aggregation, Conversion, Filter, MetricFilter, Rounding},
};
use sea_orm::ConnectionTrait;
use serde::Serialize;

use super::{
    body::TaxBody,
    credit_notes::{self, CreditKind, CreditReason},
    model::{Invoice, Line},
    past::Past,
    rating::ChargeError,
    service::InvoiceError,
    store,
};
use crate::{
    catalog::{self, Metric, Price, PriceKind, Timing},
    customers::Exemption,
    subscriptions,
};

/// How an invoice came about.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct InvoiceExplanation {
    #[schema(example = "invoice_explanation")]
    object: &'static str,
    livemode: bool,
    invoice: InvoiceId,
    number: Option<String>,
    currency: Currency,
    lines: Vec<LineExplanation>,
    /// Σ lines.
    subtotal: Money,
    discount_total: Money,
    /// Why there is no tax, if that is so.
    exemption: Exemption,
    /// Where taxes were rounded; lines share them by largest remainder.
    tax_rounding: TaxRounding,
    taxes: Vec<TaxBody>,
    tax_total: Money,
    total: Money,
    /// The credit notes of earlier invoices that paid a part of it, the oldest first.
    credits: Vec<CreditExplanation>,
    /// The credit notes that took back something of it, the oldest first.
    credit_notes: Vec<CreditNoteExplanation>,
}

/// What a credit note took back.
#[derive(Serialize, utoipa::ToSchema)]
struct CreditNoteExplanation {
    credit_note: CreditNoteId,
    number: String,
    kind: CreditKind,
    reason: CreditReason,
    /// With tax.
    total: Money,
}

/// What a credit note paid.
#[derive(Serialize, utoipa::ToSchema)]
struct CreditExplanation {
    credit_note: CreditNoteId,
    number: String,
    amount: Money,
}

/// How a line came about.
#[derive(Serialize, utoipa::ToSchema)]
struct LineExplanation {
    line: InvoiceLineId,
    description: String,
    period: Period,
    /// None of a plan's minimum, which is no price.
    price: Option<PriceExplanation>,
    /// What was counted; none for fees and seats.
    metric: Option<MetricExplanation>,
    /// Of usage that a filter of the price matched: that filter.
    filter: Option<Filter>,
    /// Of usage that the price groups: each property's value, null where events lack it.
    group: BTreeMap<String, Option<String>>,
    /// In priced units: what was measured, rounded and converted by its metric.
    quantity: Number,
    tiers: Vec<TierCharge>,
    /// Σ tiers.
    rated_amount: Exact,
    /// What earlier lines of the same usage of the period came to: of it, this line is what was missing. Of a plan's
    /// minimum: what the period came to otherwise.
    already_billed: Money,
    /// The days of a short period, of the days of a whole one.
    proration: Option<Fraction>,
    /// `rated_amount` × `proration`, or what the price's maximum left of it; less `already_billed`, once it was rounded
    /// for that.
    exact_amount: Number,
    rounding: RoundingExplanation,
    amount: Money,
    discount: Money,
    taxable: Money,
    /// Σ taxes.
    tax: Money,
    taxes: Vec<TaxBody>,
}

/// The one rounding of a line.
#[derive(Serialize, utoipa::ToSchema)]
struct RoundingExplanation {
    #[schema(example = "half_away_from_zero")]
    rule: &'static str,
    /// Digits of the currency.
    digits: u32,
    /// `amount` less `exact_amount`.
    difference: Number,
}

/// The price of a line.
#[derive(Serialize, utoipa::ToSchema)]
struct PriceExplanation {
    id: PriceId,
    code: String,
    name: String,
    kind: PriceKind,
    timing: Timing,
    /// By which this line was rated: the filter's, or the price's own.
    model: Model,
    free_quantity: Number,
    minimum_amount: Option<Money>,
    maximum_amount: Option<Money>,
    prorate: bool,
}

/// What a line counts.
#[derive(Serialize, utoipa::ToSchema)]
struct MetricExplanation {
    id: MetricId,
    code: String,
    event_name: String,
    aggregation: Aggregation,
    property: Option<String>,
    recurring: bool,
    filters: Vec<MetricFilter>,
    rounding: Option<Rounding>,
    conversion: Option<Conversion>,
}

/// Prices by identifier, each with its metric.
type Prices = HashMap<PriceId, (Price, Option<Metric>)>;

/// Explains an invoice.
pub(super) async fn explain(
    db: &impl ConnectionTrait,
    livemode: bool,
    invoice: Invoice,
) -> Result<InvoiceExplanation, InvoiceError> {
    let prices = prices_of(db, &invoice).await?;
    let credits = credit_notes::service::applied_to(db, &invoice).await?;
    let credits = credits.into_iter().map(|(note, amount)| CreditExplanation {
        credit_note: note.id,
        number: note.number,
        amount,
    });
    let credit_notes = credit_notes::service::of_invoice(db, &invoice).await?;
    let credit_notes = credit_notes.into_iter().map(|note| CreditNoteExplanation {
        credit_note: note.id,
        number: note.number,
        kind: note.kind,
        reason: note.reason,
        total: note.credit.total,
    });
    let currency = invoice.currency;
    let mut lines = Vec::with_capacity(invoice.lines.len());
    for line in invoice.lines {
        let already_billed = if line.kind == COMMITMENT_LINE && line.adjustment == 0 {
            rated(&line)?.checked_sub(line.amount)?
        } else if line.adjustment > 0 {
            store::billed_before(db, invoice.tenant_id, &line, invoice.created_at).await?
        } else {
            Money::zero(currency)
        };
        lines.push(explain_line(line, already_billed, &prices));
    }
    Ok(InvoiceExplanation {
        object: "invoice_explanation",
        livemode,
        invoice: invoice.id,
        number: invoice.number,
        currency,
        lines,
        subtotal: invoice.subtotal,
        discount_total: invoice.discount_total,
        exemption: invoice.exemption,
        tax_rounding: invoice.tax_rounding,
        taxes: invoice.taxes.iter().map(|tax| TaxBody::new(tax, currency)).collect(),
        tax_total: invoice.tax_total,
        total: invoice.total,
        credits: credits.collect(),
        credit_notes: credit_notes.collect(),
    })
}

/// What a line's tiers come to for its period.
fn rated(line: &Line) -> Result<Money, InvoiceError> {
    let whole: Exact = line.tiers.iter().map(|tier| &tier.amount).sum();
    let part = line.proration.unwrap_or(Fraction::ONE).of(whole).map_err(ChargeError::from)?;
    Ok(Money::round(part, line.amount.currency())?)
}

async fn prices_of(db: &impl ConnectionTrait, invoice: &Invoice) -> Result<Prices, InvoiceError> {
    let Some(subscription) = invoice.subscription_id else { return Ok(Prices::new()) };
    let tenant = invoice.tenant_id;
    let subscription = subscriptions::service::get(db, tenant, subscription).await?;
    let past = Past::of(db, &subscription).await?;
    let mut prices = Prices::new();
    let billed: HashSet<PriceId> = invoice.lines.iter().filter_map(|line| line.price_id).collect();
    // What a plan costs at least is no price to whoever asks.
    let asked_for = past.prices().filter(|price| price.kind != PriceKind::Commitment);
    for price in asked_for.filter(|price| billed.contains(&price.id)) {
        let metric = match price.metric_id {
            Some(id) => Some(catalog::service::get_metric(db, tenant, id).await?),
            None => None,
        };
        prices.insert(price.id, (price.clone(), metric));
    }
    Ok(prices)
}

fn explain_line(line: Line, already_billed: Money, prices: &Prices) -> LineExplanation {
    let (price, metric) = match line.price_id.and_then(|id| prices.get(&id)) {
        Some((price, metric)) => (Some(price), metric.as_ref()),
        None => (None, None),
    };
    let rated: Exact = line.tiers.iter().map(|tier| &tier.amount).sum();
    LineExplanation {
        line: line.id,
        description: line.description,
        period: line.period,
        price: price.map(|price| PriceExplanation::new(price, line.bucket.filter.as_ref())),
        metric: metric.map(MetricExplanation::from),
        filter: line.bucket.filter,
        group: line.bucket.group,
        quantity: Number(line.quantity),
        tiers: line.tiers,
        rated_amount: rated.max(Exact::ZERO),
        already_billed,
        proration: line.proration,
        exact_amount: Number(line.exact_amount),
        rounding: RoundingExplanation {
            rule: "half_away_from_zero",
            digits: line.amount.currency().digits(),
            difference: Number(line.amount.to_decimal() - line.exact_amount),
        },
        amount: line.amount,
        discount: Money::zero(line.amount.currency()),
        taxable: line.taxable,
        tax: line.tax,
        taxes: line.taxes.iter().map(|tax| TaxBody::new(tax, line.amount.currency())).collect(),
    }
}

impl PriceExplanation {
    fn new(price: &Price, filter: Option<&Filter>) -> Self {
        let at = price.filters.iter().position(|of| Some(&of.r#where) == filter);
        Self {
            id: price.id,
            code: price.code.clone(),
            name: price.name.clone(),
            kind: price.kind,
            timing: price.timing,
            model: price.model_of(at).clone(),
            free_quantity: Number(price.free_quantity),
            minimum_amount: price.minimum_amount,
            maximum_amount: price.maximum_amount,
            prorate: price.prorate,
        }
    }
}

impl From<&Metric> for MetricExplanation {
    fn from(metric: &Metric) -> Self {
        Self {
            id: metric.id,
            code: metric.code.clone(),
            event_name: metric.event_name.clone(),
            aggregation: metric.rules.aggregation,
            property: metric.rules.property.clone(),
            recurring: metric.rules.recurring,
            filters: metric.rules.filters.clone(),
            rounding: metric.rules.rounding,
            conversion: metric.rules.conversion,
        }
    }
}
