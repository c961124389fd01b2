//! Alerts in the database.

use accrue_core::id::{CustomerId, MetricId, TenantId, TestClockId, UsageAlertId, UsageAlertTriggerId};
use accrue_platform::{
    bulk::{self, Column as Cells},
    check::Metadata,
    column::{self, Dec, Json},
    due::DueColumn,
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, Condition, ConnectionTrait, DatabaseTransaction, DbErr, QueryOrder, QuerySelect,
    QueryTrait, entity::prelude::*, sea_query::OnConflict,
};

use super::model::{Alert, Kind, Status, Trigger};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_alerts")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: UsageAlertId,
    pub customer_id: Option<CustomerId>,
    pub template_id: Option<UsageAlertId>,
    pub test_clock_id: Option<TestClockId>,
    pub metric_id: MetricId,
    pub name: String,
    pub kind: Kind,
    pub threshold: Dec,
    pub currency: Option<String>,
    pub is_active: bool,
    pub is_triggered: bool,
    pub last_trigger: Option<Json<Trigger>>,
    pub review_at: Option<DateTime<Utc>>,
    pub metadata: Json<Metadata>,
    pub created_at: DateTime<Utc>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

mod triggers {
    use super::{DateTime, Dec, TenantId, UsageAlertId, UsageAlertTriggerId, Utc};
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "usage_alert_triggers")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub tenant_id: TenantId,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: UsageAlertTriggerId,
        pub usage_alert_id: UsageAlertId,
        pub period_start_at: DateTime<Utc>,
        pub threshold: Dec,
        pub triggered_at: DateTime<Utc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Every query starts here, so that none can forget its tenant.
fn of(tenant: TenantId) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(tenant))
}

/// Which alerts to list.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Which {
    pub customer: Option<CustomerId>,
    pub metric: Option<MetricId>,
    pub status: Option<Status>,
}

pub(super) async fn insert(tx: &DatabaseTransaction, alert: &Alert) -> Result<(), DbErr> {
    Entity::insert(row(alert)).exec_without_returning(tx).await.map(drop)
}

/// Stores what an alert for every customer is for one of them; `false` if that is stored already.
pub(super) async fn insert_copy(tx: &DatabaseTransaction, alert: &Alert) -> Result<bool, DbErr> {
    let key = [Column::TenantId, Column::TemplateId, Column::CustomerId];
    let known = OnConflict::columns(key).do_nothing().to_owned();
    Ok(Entity::insert(row(alert)).on_conflict(known).exec_without_returning(tx).await? == 1)
}

fn row(alert: &Alert) -> ActiveModel {
    ActiveModel {
        tenant_id: Set(alert.tenant_id),
        id: Set(alert.id),
        customer_id: Set(alert.customer_id),
        template_id: Set(alert.template_id),
        test_clock_id: Set(alert.test_clock_id),
        metric_id: Set(alert.metric_id),
        kind: Set(alert.kind),
        currency: Set(alert.currency.map(|currency| currency.code().to_owned())),
        created_at: Set(alert.created_at),
        ..changeable(alert)
    }
}

pub(super) async fn save(tx: &DatabaseTransaction, alert: &Alert) -> Result<(), DbErr> {
    Entity::update_many()
        .set(changeable(alert))
        .filter(Column::TenantId.eq(alert.tenant_id))
        .filter(Column::Id.eq(alert.id))
        .exec(tx)
        .await
        .map(drop)
}

/// Has what an alert for every customer is for each of them say what it says itself.
pub(super) async fn save_copies(tx: &DatabaseTransaction, template: &Alert) -> Result<(), DbErr> {
    let mut terms = terms(template);
    if !template.is_active {
        terms.review_at = Set(None);
    }
    Entity::update_many()
        .set(terms)
        .filter(Column::TenantId.eq(template.tenant_id))
        .filter(Column::TemplateId.eq(template.id))
        .exec(tx)
        .await
        .map(drop)
}

fn changeable(alert: &Alert) -> ActiveModel {
    ActiveModel {
        is_triggered: Set(alert.is_triggered),
        last_trigger: Set(alert.last_trigger.clone().map(Json)),
        review_at: Set(alert.review_at),
        ..terms(alert)
    }
}

/// What people change.
fn terms(alert: &Alert) -> ActiveModel {
    ActiveModel {
        name: Set(alert.name.clone()),
        threshold: Set(Dec(alert.threshold)),
        is_active: Set(alert.is_active),
        metadata: Set(Json(alert.metadata.clone())),
        ..Default::default()
    }
}

/// Forgets an alert, what it is for each customer, and when it triggered.
pub(super) async fn delete(tx: &DatabaseTransaction, alert: &Alert) -> Result<(), DbErr> {
    let it = Condition::any().add(Column::Id.eq(alert.id)).add(Column::TemplateId.eq(alert.id));
    let ids = of(alert.tenant_id).select_only().column(Column::Id).filter(it).into_query();
    triggers::Entity::delete_many()
        .filter(triggers::Column::TenantId.eq(alert.tenant_id))
        .filter(triggers::Column::UsageAlertId.in_subquery(ids))
        .exec(tx)
        .await?;
    // Those that refer to it first.
    for column in [Column::TemplateId, Column::Id] {
        let of_tenant = Entity::delete_many().filter(Column::TenantId.eq(alert.tenant_id));
        of_tenant.filter(column.eq(alert.id)).exec(tx).await?;
    }
    Ok(())
}

/// Notes that an alert triggers in a period; `false` if it did before, by the same threshold.
pub(super) async fn insert_trigger(
    tx: &DatabaseTransaction,
    alert: &Alert,
    trigger: &Trigger,
) -> Result<bool, DbErr> {
    let columns = vec![
        Cells::new("tenant_id", [alert.tenant_id.0]),
        Cells::new("id", [UsageAlertTriggerId::new(trigger.at).0]),
        Cells::new("usage_alert_id", [alert.id.0]),
        Cells::new("period_start_at", [trigger.start]),
        Cells::new("threshold", [trigger.threshold.0.normalize()]),
        Cells::new("triggered_at", [trigger.at]),
    ];
    let key = "tenant_id, usage_alert_id, period_start_at, threshold";
    Ok(bulk::insert(tx, "usage_alert_triggers", columns, key).await? == 1)
}

pub(super) async fn find(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: UsageAlertId,
) -> Result<Option<Alert>, DbErr> {
    of(tenant).filter(Column::Id.eq(id)).one(db).await?.map(TryInto::try_into).transpose()
}

pub(super) async fn find_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: UsageAlertId,
) -> Result<Option<Alert>, DbErr> {
    of(tenant).filter(Column::Id.eq(id)).lock_exclusive().one(tx).await?.map(TryInto::try_into).transpose()
}

pub(super) async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    which: Which,
    page: &PageQuery,
) -> Result<Vec<Alert>, PageError> {
    let status = which.status.map(|status| match status {
        Status::Inactive => Condition::all().add(Column::IsActive.eq(false)),
        Status::Ok | Status::Triggered => Condition::all()
            .add(Column::IsActive.eq(true))
            .add(Column::IsTriggered.eq(status == Status::Triggered)),
    });
    let wanted = Condition::all()
        .add_option(which.customer.map(|customer| Column::CustomerId.eq(customer)))
        .add_option(which.metric.map(|metric| Column::MetricId.eq(metric)))
        .add_option(status);
    let rows = page.fetch::<Entity, UsageAlertId>(of(tenant).filter(wanted), Column::Id, db).await?;
    Ok(alerts(rows)?)
}

/// The alerts on a metric that are to be looked at for a customer, the oldest first: its own, what was stored of those for
/// every customer, and these themselves.
pub(super) async fn active_on(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: CustomerId,
    metric: MetricId,
) -> Result<Vec<Alert>, DbErr> {
    let its = Condition::any().add(Column::CustomerId.eq(customer)).add(Column::CustomerId.is_null());
    let active = of(tenant).filter(its).filter(Column::MetricId.eq(metric)).filter(Column::IsActive.eq(true));
    alerts(active.order_by_asc(Column::Id).all(db).await?)
}

/// How many alerts a customer has on a metric, or are there for every customer. What is stored of the latter for a
/// customer does not count.
pub(super) async fn count_on(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: Option<CustomerId>,
    metric: MetricId,
) -> Result<u64, DbErr> {
    let whose = match customer {
        Some(customer) => Column::CustomerId.eq(customer),
        None => Column::CustomerId.is_null(),
    };
    let made =
        of(tenant).filter(whose).filter(Column::MetricId.eq(metric)).filter(Column::TemplateId.is_null());
    made.count(db).await
}

/// When the period ends in which an alert was looked at.
pub(super) const REVIEWS: DueColumn = DueColumn { table: "usage_alerts", name: "review_at" };

fn alerts(rows: Vec<Model>) -> Result<Vec<Alert>, DbErr> {
    rows.into_iter().map(TryInto::try_into).collect()
}

impl TryFrom<Model> for Alert {
    type Error = DbErr;

    fn try_from(row: Model) -> Result<Self, DbErr> {
        Ok(Self {
            tenant_id: row.tenant_id,
            id: row.id,
            customer_id: row.customer_id,
            template_id: row.template_id,
            test_clock_id: row.test_clock_id,
            metric_id: row.metric_id,
            name: row.name,
            kind: row.kind,
            threshold: row.threshold.0.normalize(),
            currency: row.currency.as_deref().map(column::currency).transpose()?,
            is_active: row.is_active,
            is_triggered: row.is_triggered,
            last_trigger: row.last_trigger.map(|trigger| trigger.0),
            review_at: row.review_at,
            metadata: row.metadata.0,
            created_at: row.created_at,
        })
    }
}
