//! The verbs of the catalogue.

use std::collections::{BTreeMap, BTreeSet};

use accrue_core::{
    id::{FeatureId, MetricId, PlanId, PlanVersionId, PriceId, TaxId, TenantId},
    money::Money,
};
use accrue_platform::{
    db::is_unique_violation,
    gate::Gate,
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};
use tracing::instrument;

use super::{
    archiving::{lock_feature, lock_tax},
    events,
    model::{
        Feature, FeatureChange, Metric, MetricChange, NewFeature, NewMetric, NewPlan, NewPrice, NewTax,
        NotGrouped, PlanChange, PlanTerms, PlanVersion, Price, SPLITS_MAX, Tax, TaxChange, TaxConflict,
        TaxTable, TermsChange,
    },
    naming::refuse_archived,
    store::{self, features, metrics, plans, taxes},
};
use crate::auth::Tenant;

pub(super) use super::naming::{Named, named};
pub use super::naming::{metric_to_use, plan_to_sell};

/// Why something of the catalogue cannot be had or made.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error("{what} {reference} does not exist")]
    NotFound { what: &'static str, reference: String },
    #[error("another {what} has the code {code}; archived ones keep theirs")]
    CodeTaken { what: &'static str, code: String },
    #[error("the tax {0} is a default: PATCH it with {{\"default\": false}} before it is archived")]
    IsDefault(String),
    #[error(transparent)]
    TaxConflict(#[from] TaxConflict),
    /// It may not be named by anything new.
    #[error("the {what} {code} is archived: use another one, or unarchive it first")]
    Archived { what: &'static str, code: String },
    #[error("the usage of a metric is told apart in too many ways")]
    TooManySplits(Vec<TooManySplits>),
    #[error(transparent)]
    NotGrouped(#[from] NotGrouped),
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// A price that would tell the usage of its metric apart in one way too many.
#[derive(Debug, thiserror::Error)]
#[error(
    "prices tell the usage of {metric} apart in {SPLITS_MAX} ways already: filter and group by the same properties as \
     another price of it, or measure the same events by a metric of their own"
)]
pub struct TooManySplits {
    /// Its place in the plan.
    pub price: usize,
    metric: String,
}

impl CatalogError {
    pub(super) fn no(what: &'static str, reference: &(impl ToString + ?Sized)) -> Self {
        Self::NotFound { what, reference: reference.to_string() }
    }
}

/// A row was not stored: because of its code, or because the database failed?
fn taken(what: &'static str, code: &str) -> impl FnOnce(DbErr) -> CatalogError {
    move |error| {
        if is_unique_violation(&error) {
            return CatalogError::CodeTaken { what, code: code.to_owned() };
        }
        error.into()
    }
}

/// A plan's present version, by the plan's identifier or code.
pub async fn resolve_plan(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    reference: &str,
) -> Result<PlanVersion, CatalogError> {
    plans::find(db, tenant, reference).await?.ok_or_else(|| CatalogError::no("plan", reference))
}

/// One version of a plan, by its own identifier.
pub async fn get_plan_version(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: PlanVersionId,
) -> Result<PlanVersion, CatalogError> {
    plans::find_version(db, tenant, id).await?.ok_or_else(|| CatalogError::no("plan version", &id))
}

/// One version of a plan, by its number.
pub async fn get_numbered_version(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    reference: &str,
    version: i32,
) -> Result<PlanVersion, CatalogError> {
    let found = plans::find_numbered(db, tenant, reference, version).await?;
    found.ok_or_else(|| CatalogError::no("plan version", &format!("{reference} {version}")))
}

/// A metric, by identifier or code.
pub async fn resolve_metric(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    reference: &str,
) -> Result<Metric, CatalogError> {
    metrics::find(db, tenant, reference).await?.ok_or_else(|| CatalogError::no("metric", reference))
}

/// A metric, by its identifier.
pub async fn get_metric(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: MetricId,
) -> Result<Metric, CatalogError> {
    metrics::get(db, tenant, id).await?.ok_or_else(|| CatalogError::no("metric", &id))
}

/// Every metric of the tenant: for deciding which events matter.
pub async fn all_metrics(db: &impl ConnectionTrait, tenant: TenantId) -> Result<Vec<Metric>, DbErr> {
    metrics::all(db, tenant).await
}

/// The prices on a metric, in all plans and versions.
pub async fn prices_of_metric(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    metric: MetricId,
) -> Result<Vec<Price>, CatalogError> {
    let mut found = Vec::new();
    for version in plans::versions_metering(db, tenant, metric).await? {
        let prices = get_plan_version(db, tenant, version).await?.prices;
        found.extend(prices.into_iter().filter(|price| price.metric_id == Some(metric)));
    }
    Ok(found)
}

/// A feature, by identifier or code.
pub async fn resolve_feature(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    reference: &str,
) -> Result<Feature, CatalogError> {
    features::find(db, tenant, reference).await?.ok_or_else(|| CatalogError::no("feature", reference))
}

/// Every feature of the tenant.
pub async fn all_features(db: &impl ConnectionTrait, tenant: TenantId) -> Result<Vec<Feature>, DbErr> {
    features::all(db, tenant).await
}

/// The features with these codes.
pub async fn features_by_code(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    codes: &[&str],
) -> Result<Vec<Feature>, DbErr> {
    features::by_codes(db, tenant, codes).await
}

/// A tax, by identifier or code.
pub async fn resolve_tax(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    reference: &str,
) -> Result<Tax, CatalogError> {
    taxes::find(db, tenant, reference).await?.ok_or_else(|| CatalogError::no("tax", reference))
}

/// The taxes that prices have now.
pub async fn tax_table(db: &impl ConnectionTrait, tenant: TenantId) -> Result<TaxTable, DbErr> {
    Ok(TaxTable { taxes: taxes::applied(db, tenant).await? })
}

#[instrument(skip_all, fields(tenant.id = %tenant.id))]
pub(super) async fn create_metric(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    new: NewMetric,
) -> Result<Metric, CatalogError> {
    let NewMetric { code, name, event_name, rules, late_events, group_by, metadata } = new;
    let mut metric = Metric {
        tenant_id: tenant.id,
        id: MetricId::new(now),
        code,
        name,
        event_name,
        rules,
        late_events,
        splits: BTreeSet::new(),
        metadata,
        created_at: now,
        archived_at: None,
    };
    metric.group_by(group_by)?;
    Gate::Usage.close(tx, tenant.id).await?;
    metrics::insert(tx, &metric).await.map_err(taken("metric", &metric.code))?;
    Ok(metric)
}

#[instrument(skip_all, fields(tenant.id = %tenant.id))]
pub(super) async fn update_metric(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    reference: &str,
    change: MetricChange,
) -> Result<Metric, CatalogError> {
    Gate::Usage.close(tx, tenant.id).await?;
    let found = metrics::find_for_update(tx, tenant.id, reference).await?;
    let mut metric = found.ok_or_else(|| CatalogError::no("metric", reference))?;
    metric.name = change.name.unwrap_or(metric.name);
    metric.late_events = change.late_events.unwrap_or(metric.late_events);
    metric.group_by(change.group_by)?;
    metric.metadata = change.metadata.unwrap_or(metric.metadata);
    metrics::save(tx, &metric).await?;
    Ok(metric)
}

#[instrument(skip_all, fields(tenant.id = %tenant.id))]
pub(super) async fn create_feature(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    new: NewFeature,
) -> Result<Feature, CatalogError> {
    let NewFeature { code, name, kind, metric_id, metadata } = new;
    let feature = Feature {
        tenant_id: tenant.id,
        id: FeatureId::new(now),
        code,
        name,
        kind,
        metric_id,
        metadata,
        created_at: now,
        archived_at: None,
    };
    features::insert(tx, &feature).await.map_err(taken("feature", &feature.code))?;
    Ok(feature)
}

/// What a feature is never changes: plans grant values of its kind.
#[instrument(skip_all, fields(tenant.id = %tenant.id))]
pub(super) async fn update_feature(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    reference: &str,
    change: FeatureChange,
) -> Result<Feature, CatalogError> {
    let mut feature = lock_feature(tx, tenant, reference).await?;
    feature.name = change.name.unwrap_or(feature.name);
    feature.metadata = change.metadata.unwrap_or(feature.metadata);
    features::save(tx, &feature).await?;
    Ok(feature)
}

#[instrument(skip_all, fields(tenant.id = %tenant.id))]
pub(super) async fn create_tax(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    new: NewTax,
) -> Result<Tax, CatalogError> {
    let NewTax { code, name, rate, inclusive, jurisdiction, tax_codes, is_default, metadata } = new;
    let tax = Tax {
        tenant_id: tenant.id,
        id: TaxId::new(now),
        code,
        name,
        rate,
        inclusive,
        jurisdiction,
        first_applied_at: (is_default || !tax_codes.is_empty()).then_some(now),
        tax_codes,
        is_default,
        metadata,
        created_at: now,
        archived_at: None,
    };
    store::take_turns(tx, tenant.id).await?;
    tax_table(tx, tenant.id).await?.check(&tax)?;
    taxes::insert(tx, &tax).await.map_err(taken("tax", &tax.code))?;
    Ok(tax)
}

/// Invoices hold copies of their taxes: a change is one of the invoices from now on (RULES 36).
#[instrument(skip_all, fields(tenant.id = %tenant.id))]
pub(super) async fn update_tax(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    reference: &str,
    change: TaxChange,
) -> Result<Tax, CatalogError> {
    store::take_turns(tx, tenant.id).await?;
    let mut tax = lock_tax(tx, tenant, reference).await?;
    if change.is_default == Some(true) {
        refuse_archived("tax", &tax.code, tax.archived_at)?;
    }
    change.apply(&mut tax, now);
    if tax.applies() {
        tax_table(tx, tenant.id).await?.check(&tax)?;
    }
    taxes::save(tx, &tax).await?;
    Ok(tax)
}

/// Makes a plan with its first version.
#[instrument(skip_all, fields(tenant.id = %tenant.id))]
pub(super) async fn create_plan(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    new: NewPlan,
) -> Result<PlanVersion, CatalogError> {
    let NewPlan { code, name, currency, terms, metadata } = new;
    let PlanTerms { interval, trial_days, prices, minimum_commitment, features } = terms;
    let plan = PlanVersion {
        tenant_id: tenant.id,
        plan_id: PlanId::new(now),
        id: PlanVersionId::new(now),
        code,
        name,
        version: 1,
        currency,
        interval,
        trial_days,
        prices: prices.into_iter().map(|price| price.with_id(PriceId::new(now))).collect(),
        commitment: commitment(minimum_commitment, now),
        features,
        metadata,
        created_at: now,
        archived_at: None,
    };
    plans::insert(tx, &plan).await.map_err(taken("plan", &plan.code))?;
    insert_version(tx, &plan, now).await?;
    events::plan_created(tx, now, tenant, &plan).await?;
    Ok(plan)
}

/// Changes what all versions share. A change that changes nothing is not told.
#[instrument(skip_all, fields(tenant.id = %tenant.id))]
pub(super) async fn update_plan(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    reference: &str,
    change: PlanChange,
) -> Result<PlanVersion, CatalogError> {
    let before = lock_plan(tx, tenant, reference).await?;
    let mut plan = before.clone();
    plan.name = change.name.unwrap_or(plan.name);
    plan.metadata = change.metadata.unwrap_or(plan.metadata);
    if plan != before {
        plans::save(tx, &plan).await?;
        events::plan_updated(tx, now, tenant, &before, &plan).await?;
    }
    Ok(plan)
}

/// Makes the next version of a plan. Subscriptions stay on theirs.
#[instrument(skip_all, fields(tenant.id = %tenant.id))]
pub(super) async fn create_plan_version(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: &Tenant,
    reference: &str,
    change: TermsChange,
) -> Result<PlanVersion, CatalogError> {
    let before = lock_plan(tx, tenant, reference).await?;
    refuse_archived("plan", &before.code, before.archived_at)?;
    let PlanTerms { interval, trial_days, prices, minimum_commitment, features } =
        before.terms().changed(change);
    let plan = PlanVersion {
        id: PlanVersionId::new(now),
        version: before.version + 1,
        interval,
        trial_days,
        prices: prices.into_iter().map(|price| price.with_id(PriceId::new(now))).collect(),
        commitment: commitment(minimum_commitment, now),
        features,
        ..before.clone()
    };
    plans::save(tx, &plan).await?;
    insert_version(tx, &plan, now).await?;
    events::plan_updated(tx, now, tenant, &before, &plan).await?;
    Ok(plan)
}

fn commitment(least: Option<Money>, now: DateTime<Utc>) -> Option<Price> {
    least.map(|least| NewPrice::commitment(least).with_id(PriceId::new(now)))
}

/// Stores a version.
async fn insert_version(
    tx: &DatabaseTransaction,
    plan: &PlanVersion,
    now: DateTime<Utc>,
) -> Result<(), CatalogError> {
    // Before the prices, which refer to the metrics: two plans at once take turns.
    note_splits(tx, plan).await?;
    Ok(plans::insert_version(tx, plan, now).await?)
}

/// Notes how prices tell usage apart at their metrics, whose hours are kept as finely from then on.
async fn note_splits(tx: &DatabaseTransaction, plan: &PlanVersion) -> Result<(), CatalogError> {
    let mut splits = BTreeMap::<MetricId, Vec<(usize, Vec<String>)>>::new();
    for (at, price) in plan.prices.iter().enumerate() {
        let by = price.splits_by();
        if let Some(metric) = price.metric_id.filter(|_| !by.is_empty()) {
            splits.entry(metric).or_default().push((at, by));
        }
    }
    if !splits.is_empty() {
        Gate::Usage.close(tx, plan.tenant_id).await?;
    }
    let mut too_many = Vec::new();
    for (metric, splits) in splits {
        let found = metrics::find_for_update(tx, plan.tenant_id, &metric.to_string()).await?;
        let mut metric = found.ok_or_else(|| CatalogError::no("metric", &metric))?;
        let before = metric.splits.len();
        for (price, by) in splits {
            if !metric.tell_apart(by) {
                too_many.push(TooManySplits { price, metric: metric.code.clone() });
            }
        }
        if metric.splits.len() > before {
            metrics::save(tx, &metric).await?;
        }
    }
    if too_many.is_empty() { Ok(()) } else { Err(CatalogError::TooManySplits(too_many)) }
}

/// The present version, which stays the present one until the transaction ends.
pub(super) async fn lock_plan(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    reference: &str,
) -> Result<PlanVersion, CatalogError> {
    let found = plans::find_for_update(tx, tenant.id, reference).await?;
    found.ok_or_else(|| CatalogError::no("plan", reference))
}

pub(super) async fn list_metrics(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    archived: bool,
    page: &PageQuery,
) -> Result<Vec<Metric>, PageError> {
    metrics::list(db, tenant, archived, page).await
}

pub(super) async fn list_features(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    archived: bool,
    page: &PageQuery,
) -> Result<Vec<Feature>, PageError> {
    features::list(db, tenant, archived, page).await
}

pub(super) async fn list_taxes(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    archived: bool,
    page: &PageQuery,
) -> Result<Vec<Tax>, PageError> {
    taxes::list(db, tenant, archived, page).await
}

/// Plans in their present versions.
pub(super) async fn list_plans(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    archived: bool,
    page: &PageQuery,
) -> Result<Vec<PlanVersion>, PageError> {
    plans::list(db, tenant, archived, page).await
}

/// The versions of one plan; their own identifiers are the cursors.
pub(super) async fn list_plan_versions(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    plan: PlanId,
    page: &PageQuery,
) -> Result<Vec<PlanVersion>, PageError> {
    plans::list_versions(db, tenant, plan, page).await
}
