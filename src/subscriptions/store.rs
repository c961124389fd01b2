//! Subscriptions in the database.

mod phases;

use std::collections::BTreeMap;

use accrue_core::{
    calendar::{Alignment, Interval, Period},
    decimal::Number,
    id::{CustomerId, PlanId, PlanVersionId, SubscriptionId, TenantId, TestClockId},
    money::Money,
    proration::Basis,
};
use accrue_platform::{
    bulk,
    check::Metadata,
    column::Json,
    due::DueColumn,
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, Condition, ConnectionTrait, DatabaseTransaction, DbErr, QueryOrder, QuerySelect,
    entity::prelude::*, sea_query::ExprTrait,
};

use super::model::{Access, CancelReason, Collection, Scheduled, Status, Subscription, UsageInPause};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "subscriptions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: SubscriptionId,
    pub customer_id: CustomerId,
    pub test_clock_id: Option<TestClockId>,
    pub external_id: Option<String>,
    pub plan_id: PlanId,
    pub plan_version_id: PlanVersionId,
    pub status: Status,
    pub currency: String,
    pub timezone: String,
    pub alignment: Json<Alignment>,
    pub interval: Json<Interval>,
    pub anchor_at: DateTime<Utc>,
    pub start_at: DateTime<Utc>,
    pub trial_end_at: Option<DateTime<Utc>>,
    pub period_start_at: DateTime<Utc>,
    pub period_end_at: DateTime<Utc>,
    pub opened: bool,
    pub phase_from_at: DateTime<Utc>,
    pub fees_from_at: DateTime<Utc>,
    pub fees_until_at: DateTime<Utc>,
    pub fees_basis: String,
    pub changes: i32,
    pub scheduled: Option<Json<Scheduled>>,
    /// What a scheduled change leads to, so that it is not deleted before.
    pub scheduled_plan_version_id: Option<PlanVersionId>,
    pub usage_in_pause: Option<UsageInPause>,
    pub access: Access,
    pub quantities: Json<BTreeMap<String, Number>>,
    pub collection: Collection,
    pub net_terms_days: i32,
    pub progressive_threshold_minor: Option<i64>,
    pub ends_at: Option<DateTime<Utc>>,
    pub cancel_at: Option<DateTime<Utc>>,
    pub canceled_at: Option<DateTime<Utc>>,
    pub cancel_reason: Option<CancelReason>,
    pub ended_at: Option<DateTime<Utc>>,
    pub next_due_at: Option<DateTime<Utc>>,
    /// When its customer is to be told that the trial ends soon; `None` once that is done.
    pub trial_notice_at: Option<DateTime<Utc>>,
    pub metadata: Json<Metadata>,
    pub created_at: DateTime<Utc>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Every query starts here, so that none can forget its tenant.
fn of(tenant: TenantId) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(tenant))
}

/// Which subscriptions to list.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Filter {
    pub customer: Option<CustomerId>,
    pub plan: Option<PlanId>,
    pub status: Option<Status>,
}

pub(super) async fn insert(
    tx: &DatabaseTransaction,
    subscription: &Subscription,
    trial_notice_at: Option<DateTime<Utc>>,
) -> Result<(), DbErr> {
    let new = subscription.clone();
    let row = ActiveModel {
        tenant_id: Set(new.tenant_id),
        id: Set(new.id),
        customer_id: Set(new.customer_id),
        test_clock_id: Set(new.test_clock_id),
        external_id: Set(new.external_id),
        currency: Set(new.currency.code().to_owned()),
        timezone: Set(new.timezone.name().to_owned()),
        alignment: Set(Json(new.alignment)),
        start_at: Set(new.start_at),
        collection: Set(new.collection),
        net_terms_days: Set(i32::from(new.net_terms_days)),
        progressive_threshold_minor: Set(new.progressive_billing_threshold.map(Money::minor)),
        ends_at: Set(new.ends_at),
        trial_notice_at: Set(trial_notice_at),
        metadata: Set(Json(new.metadata)),
        created_at: Set(new.created_at),
        ..changing(subscription)
    };
    Entity::insert(row).exec_without_returning(tx).await.map(drop)
}

/// What a subscription's life changes; the rest is fixed when it is made.
fn changing(subscription: &Subscription) -> ActiveModel {
    ActiveModel {
        plan_id: Set(subscription.plan_id),
        plan_version_id: Set(subscription.plan_version_id),
        status: Set(subscription.status),
        interval: Set(Json(subscription.interval)),
        anchor_at: Set(subscription.anchor_at),
        trial_end_at: Set(subscription.trial_end_at),
        period_start_at: Set(subscription.period.start),
        period_end_at: Set(subscription.period.end),
        opened: Set(subscription.opened),
        phase_from_at: Set(subscription.phase_from),
        fees_from_at: Set(subscription.fees_from),
        fees_until_at: Set(subscription.fees_until),
        fees_basis: Set(basis_text(subscription.fees_basis).to_owned()),
        changes: Set(subscription.changes),
        scheduled: Set(subscription.scheduled.clone().map(Json)),
        scheduled_plan_version_id: Set(subscription.scheduled_version()),
        usage_in_pause: Set(subscription.usage_in_pause),
        access: Set(subscription.access),
        quantities: Set(Json(subscription.quantities.clone())),
        cancel_at: Set(subscription.cancel_at),
        canceled_at: Set(subscription.canceled_at),
        cancel_reason: Set(subscription.cancel_reason),
        ended_at: Set(subscription.ended_at),
        next_due_at: Set(subscription.next_due_at),
        ..Default::default()
    }
}

fn basis_text(basis: Basis) -> &'static str {
    match basis {
        Basis::Day => "day",
        Basis::Second => "second",
        Basis::None => "none",
    }
}

fn basis(text: &str) -> Option<Basis> {
    [Basis::Day, Basis::Second, Basis::None].into_iter().find(|basis| basis_text(*basis) == text)
}

/// Stores what a subscription's life changes.
pub(super) async fn save(tx: &DatabaseTransaction, subscription: &Subscription) -> Result<(), DbErr> {
    let row = changing(subscription);
    Entity::update_many()
        .set(row)
        .filter(Column::TenantId.eq(subscription.tenant_id))
        .filter(Column::Id.eq(subscription.id))
        .exec(tx)
        .await
        .map(drop)
}

/// The trial ends at another instant: when that is to be told.
pub(super) async fn set_trial_notice(
    tx: &DatabaseTransaction,
    subscription: &Subscription,
    at: Option<DateTime<Utc>>,
) -> Result<(), DbErr> {
    Entity::update_many()
        .col_expr(Column::TrialNoticeAt, Expr::value(at))
        .filter(Column::TenantId.eq(subscription.tenant_id))
        .filter(Column::Id.eq(subscription.id))
        .exec(tx)
        .await
        .map(drop)
}

/// The customer has been told of the trial's end, or need not be. `false` if that was so before.
pub(super) async fn settle_trial_notice(
    tx: &DatabaseTransaction,
    subscription: &Subscription,
) -> Result<bool, DbErr> {
    let settled = Entity::update_many()
        .col_expr(Column::TrialNoticeAt, Expr::value(None::<DateTime<Utc>>))
        .filter(Column::TenantId.eq(subscription.tenant_id))
        .filter(Column::Id.eq(subscription.id))
        .filter(Column::TrialNoticeAt.is_not_null())
        .exec(tx)
        .await?;
    Ok(settled.rows_affected == 1)
}

pub(super) async fn find(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: SubscriptionId,
) -> Result<Option<Subscription>, DbErr> {
    of(tenant).filter(Column::Id.eq(id)).one(db).await?.map(TryInto::try_into).transpose()
}

pub(super) async fn find_by_external_id(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    external_id: &str,
) -> Result<Option<Subscription>, DbErr> {
    of(tenant).filter(Column::ExternalId.eq(external_id)).one(db).await?.map(TryInto::try_into).transpose()
}

pub(super) async fn find_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: SubscriptionId,
) -> Result<Option<Subscription>, DbErr> {
    of(tenant).filter(Column::Id.eq(id)).lock_exclusive().one(tx).await?.map(TryInto::try_into).transpose()
}

pub(super) async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    filter: Filter,
    page: &PageQuery,
) -> Result<Vec<Subscription>, PageError> {
    let wanted = Condition::all()
        .add_option(filter.customer.map(|customer| Column::CustomerId.eq(customer)))
        .add_option(filter.plan.map(|plan| Column::PlanId.eq(plan)))
        .add_option(filter.status.map(|status| Column::Status.eq(status)));
    let rows = page.fetch::<Entity, SubscriptionId>(of(tenant).filter(wanted), Column::Id, db).await?;
    Ok(models(rows)?)
}

/// A customer's subscriptions that are not canceled, the oldest first.
pub(super) async fn running_of_customer(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: CustomerId,
) -> Result<Vec<Subscription>, DbErr> {
    let rows = of(tenant)
        .filter(Column::CustomerId.eq(customer))
        .filter(Column::Status.ne(Status::Canceled))
        .order_by_asc(Column::Id)
        .all(db)
        .await?;
    models(rows)
}

/// All subscriptions of some customers, the oldest first.
pub(super) async fn of_customers(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customers: &[CustomerId],
) -> Result<Vec<Subscription>, DbErr> {
    let mut found = Vec::new();
    for some in customers.chunks(bulk::LIST_MAX) {
        let theirs = bulk::one_of(db, Column::CustomerId, some.iter().map(|customer| customer.0).collect());
        found.extend(models(of(tenant).filter(theirs).order_by_asc(Column::Id).all(db).await?)?);
    }
    Ok(found)
}

/// A customer's subscriptions that were not over at an instant, the oldest first.
pub(super) async fn not_over_at(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: CustomerId,
    at: DateTime<Utc>,
) -> Result<Vec<Subscription>, DbErr> {
    let rows = of(tenant)
        .filter(Column::CustomerId.eq(customer))
        .filter(Column::EndedAt.is_null().or(Column::EndedAt.gt(at)))
        .filter(Column::CancelAt.is_null().or(Column::CancelAt.gt(at)))
        .order_by_asc(Column::Id)
        .all(db)
        .await?;
    models(rows)
}

/// The plan versions of subscriptions with a period that began before an instant and is not billed yet.
pub(super) async fn unbilled_before(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    at: DateTime<Utc>,
) -> Result<Vec<PlanVersionId>, DbErr> {
    of(tenant)
        .select_only()
        .column(Column::PlanVersionId)
        .distinct()
        .filter(Column::NextDueAt.is_not_null())
        .filter(Column::PeriodStartAt.lt(at))
        .into_tuple()
        .all(db)
        .await
}

/// The customer's subscriptions that are, or were, on a trial that began.
pub(super) async fn on_trial(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: CustomerId,
) -> Result<Vec<Subscription>, DbErr> {
    let began = Condition::any()
        .add(Column::EndedAt.is_null())
        .add(Expr::col(Column::EndedAt).gt(Expr::col(Column::StartAt)));
    let select = of(tenant)
        .filter(Column::CustomerId.eq(customer))
        .filter(Column::TrialEndAt.is_not_null())
        .filter(began);
    models(select.all(db).await?)
}

pub(super) use phases::{insert_phase, phases_of};

/// When the next turn is due.
pub(super) const TURNS: DueColumn = DueColumn { table: "subscriptions", name: "next_due_at" };

/// When the customer is to be told that the trial ends soon.
pub(super) const TRIAL_NOTICES: DueColumn = DueColumn { table: "subscriptions", name: "trial_notice_at" };

fn models(rows: Vec<Model>) -> Result<Vec<Subscription>, DbErr> {
    rows.into_iter().map(TryInto::try_into).collect()
}

impl TryFrom<Model> for Subscription {
    type Error = DbErr;

    fn try_from(row: Model) -> Result<Self, DbErr> {
        let unreadable = |what: &str| DbErr::Type(format!("the stored {what} of {}", row.id));
        let currency = row.currency.parse().map_err(|_| unreadable("currency"))?;
        Ok(Self {
            tenant_id: row.tenant_id,
            id: row.id,
            customer_id: row.customer_id,
            test_clock_id: row.test_clock_id,
            currency,
            timezone: row.timezone.parse().map_err(|_| unreadable("timezone"))?,
            net_terms_days: row.net_terms_days.try_into().map_err(|_| unreadable("net_terms_days"))?,
            progressive_billing_threshold: row
                .progressive_threshold_minor
                .map(|minor| Money::from_minor(minor, currency)),
            external_id: row.external_id,
            plan_id: row.plan_id,
            plan_version_id: row.plan_version_id,
            status: row.status,
            alignment: row.alignment.0,
            interval: row.interval.0,
            anchor_at: row.anchor_at,
            start_at: row.start_at,
            trial_end_at: row.trial_end_at,
            period: Period { start: row.period_start_at, end: row.period_end_at },
            opened: row.opened,
            phase_from: row.phase_from_at,
            fees_from: row.fees_from_at,
            fees_until: row.fees_until_at,
            fees_basis: basis(&row.fees_basis).ok_or_else(|| unreadable("fees_basis"))?,
            changes: row.changes,
            scheduled: row.scheduled.map(|scheduled| scheduled.0),
            usage_in_pause: row.usage_in_pause,
            access: row.access,
            quantities: row.quantities.0,
            collection: row.collection,
            ends_at: row.ends_at,
            cancel_at: row.cancel_at,
            canceled_at: row.canceled_at,
            cancel_reason: row.cancel_reason,
            ended_at: row.ended_at,
            next_due_at: row.next_due_at,
            metadata: row.metadata.0,
            created_at: row.created_at,
        })
    }
}
