//! Plans, their versions and prices in the database. A version's rows are never changed.

use std::collections::HashMap;

use accrue_core::{
    calendar::Interval,
    id::{MetricId, PlanId, PlanVersionId, TenantId},
    money::{Currency, Money, MoneyError},
};
use accrue_platform::{
    column::{Dec, Json, from_word, word},
    db::unless_referred,
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveModelTrait,
    ActiveValue::Set,
    ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect, Select,
    sea_query::{LikeExpr, LockType},
};

use super::which;
use crate::catalog::model::{PlanVersion, Price, PriceKind};

mod rows {
    use accrue_core::id::{PlanId, TenantId};
    use accrue_platform::{check::Metadata, column::Json};
    use chrono::{DateTime, Utc};
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "plans")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub tenant_id: TenantId,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: PlanId,
        pub code: String,
        pub name: String,
        /// The present one.
        pub version: i32,
        pub metadata: Json<Metadata>,
        pub created_at: DateTime<Utc>,
        pub archived_at: Option<DateTime<Utc>>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}

    /// Every query starts here, so that none can forget its tenant.
    pub fn of(tenant: TenantId) -> Select<Entity> {
        Entity::find().filter(Column::TenantId.eq(tenant))
    }
}

mod versions {
    use accrue_core::id::{PlanId, PlanVersionId, TenantId};
    use accrue_platform::column::Json;
    use chrono::{DateTime, Utc};
    use sea_orm::entity::prelude::*;

    use crate::catalog::model::PlanFeature;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "plan_versions")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub tenant_id: TenantId,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: PlanVersionId,
        pub plan_id: PlanId,
        pub version: i32,
        pub currency: String,
        pub interval_unit: String,
        pub interval_count: i32,
        pub trial_days: i32,
        pub features: Json<Vec<PlanFeature>>,
        pub created_at: DateTime<Utc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}

    /// Every query starts here, so that none can forget its tenant.
    pub fn of(tenant: TenantId) -> Select<Entity> {
        Entity::find().filter(Column::TenantId.eq(tenant))
    }
}

mod prices {
    use accrue_core::{
        id::{MetricId, PlanVersionId, PriceId, TenantId},
        price,
    };
    use accrue_platform::column::{Dec, Json};
    use chrono::{DateTime, Utc};
    use sea_orm::entity::prelude::*;

    use crate::catalog::model::{PriceFilter, PriceKind, Timing};

    #[expect(clippy::struct_field_names, reason = "a price's model is not the entity's")]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "prices")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub tenant_id: TenantId,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: PriceId,
        pub plan_version_id: PlanVersionId,
        pub position: i32,
        pub code: String,
        pub name: String,
        pub kind: PriceKind,
        pub timing: Timing,
        pub metric_id: Option<MetricId>,
        pub model: Json<price::Model>,
        pub filters: Json<Vec<PriceFilter>>,
        pub group_by: Json<Vec<String>>,
        pub minimum_minor: Option<i64>,
        pub maximum_minor: Option<i64>,
        pub free_quantity: Dec,
        pub prorate: bool,
        pub tax_code: Option<String>,
        pub created_at: DateTime<Utc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}

    /// Every query starts here, so that none can forget its tenant.
    pub fn of(tenant: TenantId) -> Select<Entity> {
        Entity::find().filter(Column::TenantId.eq(tenant))
    }
}

/// Stores what all versions of a plan share.
pub(in crate::catalog) async fn insert(tx: &DatabaseTransaction, plan: &PlanVersion) -> Result<(), DbErr> {
    let row = rows::ActiveModel {
        tenant_id: Set(plan.tenant_id),
        id: Set(plan.plan_id),
        code: Set(plan.code.clone()),
        name: Set(plan.name.clone()),
        version: Set(plan.version),
        metadata: Set(Json(plan.metadata.clone())),
        created_at: Set(plan.created_at),
        archived_at: Set(plan.archived_at),
    };
    rows::Entity::insert(row).exec_without_returning(tx).await.map(drop)
}

/// Changes what all versions of a plan share, which one is the present one, and whether it is sold.
pub(in crate::catalog) async fn save(tx: &DatabaseTransaction, plan: &PlanVersion) -> Result<(), DbErr> {
    let row = rows::ActiveModel {
        tenant_id: Set(plan.tenant_id),
        id: Set(plan.plan_id),
        name: Set(plan.name.clone()),
        version: Set(plan.version),
        metadata: Set(Json(plan.metadata.clone())),
        archived_at: Set(plan.archived_at),
        ..Default::default()
    };
    row.update(tx).await.map(drop)
}

/// Deletes a plan with its versions and prices; `false` if a subscription has or had one of them, and all are there still.
pub(in crate::catalog) async fn delete(tx: &DatabaseTransaction, plan: &PlanVersion) -> Result<bool, DbErr> {
    let (tenant, id) = (plan.tenant_id, plan.plan_id);
    let of_plan = versions::of(tenant).filter(versions::Column::PlanId.eq(id));
    let its_versions: Vec<PlanVersionId> =
        of_plan.select_only().column(versions::Column::Id).into_tuple().all(tx).await?;
    unless_referred(tx, async |tx| {
        prices::Entity::delete_many()
            .filter(prices::Column::TenantId.eq(tenant))
            .filter(prices::Column::PlanVersionId.is_in(its_versions))
            .exec(tx)
            .await?;
        versions::Entity::delete_many()
            .filter(versions::Column::TenantId.eq(tenant))
            .filter(versions::Column::PlanId.eq(id))
            .exec(tx)
            .await?;
        rows::Entity::delete_by_id((tenant, id)).exec(tx).await.map(drop)
    })
    .await
}

/// Whether a version of some plan grants a feature.
pub(in crate::catalog) async fn grant(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    feature: &str,
) -> Result<bool, DbErr> {
    // Narrows it down, too loosely on SQLite, which compares letters whatever their case.
    let written = format!("\"feature\":\"{}\"", feature.replace('_', "\\_"));
    let candidates = versions::of(tenant)
        .filter(versions::Column::Features.like(LikeExpr::new(format!("%{written}%")).escape('\\')))
        .all(db)
        .await?;
    Ok(candidates.iter().any(|version| version.features.0.iter().any(|granted| granted.feature == feature)))
}

/// Stores a version with its prices.
pub(in crate::catalog) async fn insert_version(
    tx: &DatabaseTransaction,
    plan: &PlanVersion,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let row = versions::ActiveModel {
        tenant_id: Set(plan.tenant_id),
        id: Set(plan.id),
        plan_id: Set(plan.plan_id),
        version: Set(plan.version),
        currency: Set(plan.currency.code().to_owned()),
        interval_unit: Set(word(plan.interval.unit)),
        interval_count: Set(i32::try_from(plan.interval.count.get()).expect("at most ten years")),
        trial_days: Set(i32::from(plan.trial_days)),
        features: Set(Json(plan.features.clone())),
        created_at: Set(now),
    };
    versions::Entity::insert(row).exec_without_returning(tx).await?;
    if plan.prices.is_empty() && plan.commitment.is_none() {
        return Ok(());
    }
    let price_rows =
        (0..).zip(plan.prices.iter().chain(&plan.commitment)).map(|(position, price)| prices::ActiveModel {
            tenant_id: Set(plan.tenant_id),
            id: Set(price.id),
            plan_version_id: Set(plan.id),
            position: Set(position),
            code: Set(price.code.clone()),
            name: Set(price.name.clone()),
            kind: Set(price.kind),
            timing: Set(price.timing),
            metric_id: Set(price.metric_id),
            model: Set(Json(price.model.clone())),
            filters: Set(Json(price.filters.clone())),
            group_by: Set(Json(price.group_by.clone())),
            minimum_minor: Set(price.minimum_amount.map(Money::minor)),
            maximum_minor: Set(price.maximum_amount.map(Money::minor)),
            free_quantity: Set(Dec(price.free_quantity)),
            prorate: Set(price.prorate),
            tax_code: Set(price.tax_code.clone()),
            created_at: Set(now),
        });
    prices::Entity::insert_many(price_rows).exec_without_returning(tx).await.map(drop)
}

/// What looks like an identifier is one.
fn named(tenant: TenantId, reference: &str) -> Select<rows::Entity> {
    match reference.parse::<PlanId>() {
        Ok(id) => rows::of(tenant).filter(rows::Column::Id.eq(id)),
        Err(_) => rows::of(tenant).filter(rows::Column::Code.eq(reference)),
    }
}

/// The present version, by the plan's identifier or code.
pub(in crate::catalog) async fn find(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    reference: &str,
) -> Result<Option<PlanVersion>, DbErr> {
    let plan = named(tenant, reference).one(db).await?;
    Ok(present(db, tenant, Vec::from_iter(plan)).await?.pop())
}

/// The same, and no other transaction can change the plan or make a version.
pub(in crate::catalog) async fn find_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    reference: &str,
) -> Result<Option<PlanVersion>, DbErr> {
    let plan = named(tenant, reference).lock_exclusive().one(tx).await?;
    Ok(present(tx, tenant, Vec::from_iter(plan)).await?.pop())
}

/// The same, and until the transaction ends nobody archives or deletes the plan: the lock that a reference to it takes.
pub(in crate::catalog) async fn find_to_sell(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    reference: &str,
) -> Result<Option<PlanVersion>, DbErr> {
    let plan = named(tenant, reference).lock(LockType::KeyShare).one(tx).await?;
    Ok(present(tx, tenant, Vec::from_iter(plan)).await?.pop())
}

pub(in crate::catalog) async fn find_version(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: PlanVersionId,
) -> Result<Option<PlanVersion>, DbErr> {
    let select = versions::of(tenant).filter(versions::Column::Id.eq(id));
    let Some(version) = select.one(db).await? else { return Ok(None) };
    let select = rows::of(tenant).filter(rows::Column::Id.eq(version.plan_id));
    let Some(plan) = select.one(db).await? else { return Ok(None) };
    Ok(assemble(db, tenant, vec![(plan, version)]).await?.pop())
}

/// The plan versions that have a price on a metric.
pub(in crate::catalog) async fn versions_metering(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    metric: MetricId,
) -> Result<Vec<PlanVersionId>, DbErr> {
    let select = prices::of(tenant).filter(prices::Column::MetricId.eq(metric));
    select.select_only().column(prices::Column::PlanVersionId).distinct().into_tuple().all(db).await
}

/// One version by its number, by the plan's identifier or code.
pub(in crate::catalog) async fn find_numbered(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    reference: &str,
    version: i32,
) -> Result<Option<PlanVersion>, DbErr> {
    let Some(plan) = named(tenant, reference).one(db).await? else { return Ok(None) };
    let asked_for = rows::Model { version, ..plan };
    Ok(present(db, tenant, vec![asked_for]).await?.pop())
}

/// Plans in their present versions.
pub(in crate::catalog) async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    archived: bool,
    page: &PageQuery,
) -> Result<Vec<PlanVersion>, PageError> {
    let select = rows::of(tenant).filter(which(rows::Column::ArchivedAt, archived));
    let plans = page.fetch::<rows::Entity, PlanId>(select, rows::Column::Id, db).await?;
    Ok(present(db, tenant, plans).await?)
}

/// The versions of one plan.
pub(in crate::catalog) async fn list_versions(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    plan: PlanId,
    page: &PageQuery,
) -> Result<Vec<PlanVersion>, PageError> {
    let select = versions::of(tenant).filter(versions::Column::PlanId.eq(plan));
    let found = page.fetch::<versions::Entity, PlanVersionId>(select, versions::Column::Id, db).await?;
    let select = rows::of(tenant).filter(rows::Column::Id.eq(plan));
    let Some(plan) = select.one(db).await? else { return Ok(Vec::new()) };
    let pairs = found.into_iter().map(|version| (plan.clone(), version)).collect();
    Ok(assemble(db, tenant, pairs).await?)
}

/// Each plan in the version that its row names, in the same order.
async fn present(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    plans: Vec<rows::Model>,
) -> Result<Vec<PlanVersion>, DbErr> {
    if plans.is_empty() {
        return Ok(Vec::new());
    }
    let those = plans.iter().fold(Condition::any(), |those, plan| {
        let its_version = versions::Column::Version.eq(plan.version);
        those.add(Condition::all().add(versions::Column::PlanId.eq(plan.id)).add(its_version))
    });
    let found = versions::of(tenant).filter(those).all(db).await?;
    let mut by_plan: HashMap<PlanId, versions::Model> =
        found.into_iter().map(|version| (version.plan_id, version)).collect();
    let pairs = plans.into_iter().filter_map(|plan| by_plan.remove(&plan.id).map(|version| (plan, version)));
    assemble(db, tenant, pairs.collect()).await
}

async fn assemble(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    pairs: Vec<(rows::Model, versions::Model)>,
) -> Result<Vec<PlanVersion>, DbErr> {
    let ids = pairs.iter().map(|(_, version)| version.id);
    let found = prices::of(tenant)
        .filter(prices::Column::PlanVersionId.is_in(ids))
        .order_by_asc(prices::Column::Position)
        .all(db)
        .await?;
    let mut by_version: HashMap<PlanVersionId, Vec<prices::Model>> = HashMap::new();
    for row in found {
        by_version.entry(row.plan_version_id).or_default().push(row);
    }
    let whole = pairs.into_iter().map(|(plan, version)| {
        let prices = by_version.remove(&version.id).unwrap_or_default();
        plan_version(plan, version, prices)
    });
    whole.collect()
}

fn plan_version(
    plan: rows::Model,
    version: versions::Model,
    prices: Vec<prices::Model>,
) -> Result<PlanVersion, DbErr> {
    let stored = |error: &dyn std::error::Error| DbErr::Type(format!("plan version {}: {error}", version.id));
    let currency = version.currency.parse().map_err(|error: MoneyError| stored(&error))?;
    let (mut commitment, prices): (Vec<_>, Vec<_>) = prices
        .into_iter()
        .map(|row| price(row, currency))
        .partition(|price| price.kind == PriceKind::Commitment);
    let count = u32::try_from(version.interval_count).and_then(TryInto::try_into);
    Ok(PlanVersion {
        tenant_id: version.tenant_id,
        plan_id: version.plan_id,
        id: version.id,
        code: plan.code,
        name: plan.name,
        version: version.version,
        currency,
        interval: Interval {
            unit: from_word(version.interval_unit)?,
            count: count.map_err(|error| stored(&error))?,
        },
        trial_days: u16::try_from(version.trial_days).map_err(|error| stored(&error))?,
        prices,
        commitment: commitment.pop(),
        features: version.features.0,
        metadata: plan.metadata.0,
        created_at: plan.created_at,
        archived_at: plan.archived_at,
    })
}

fn price(row: prices::Model, currency: Currency) -> Price {
    let money = |minor| Money::from_minor(minor, currency);
    Price {
        id: row.id,
        code: row.code,
        name: row.name,
        kind: row.kind,
        timing: row.timing,
        metric_id: row.metric_id,
        model: row.model.0,
        filters: row.filters.0,
        group_by: row.group_by.0,
        minimum_amount: row.minimum_minor.map(money),
        maximum_amount: row.maximum_minor.map(money),
        free_quantity: row.free_quantity.0,
        prorate: row.prorate,
        tax_code: row.tax_code,
    }
}
