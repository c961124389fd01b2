//! Events: what happened, stored in the transaction in which it happened, told to others afterwards.

use std::str::FromStr;

use accrue_core::id::{CustomerId, EventId, TenantId, TestClockId};
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DatabaseBackend, DatabaseTransaction, DbErr, QueryOrder, QuerySelect,
    Statement, entity::prelude::*, sea_query::ArrayType,
};
use serde_json::value::RawValue;

use crate::counter;

/// The counter that numbers a tenant's events.
const SEQUENCE: &str = "events";

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "events")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: EventId,
    #[sea_orm(column_name = "type")]
    pub kind: String,
    pub object_id: String,
    pub customer_id: Option<CustomerId>,
    pub test_clock_id: Option<TestClockId>,
    pub data: String,
    pub cause: String,
    pub sequence: Option<i64>,
    pub created_at: DateTime<Utc>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Something that happened. `data` is `{"object": …, "previous": …}`, as webhooks carry it.
pub type Event = Model;

/// A fact to be told, in the past tense: `subscription.canceled`.
#[derive(Clone, Debug)]
pub struct Fact {
    pub kind: &'static str,
    pub object_id: String,
    /// Whose fact it is; their test clock, if they hang on one, decides when its consequences are due.
    pub customer: Option<CustomerId>,
    pub test_clock: Option<TestClockId>,
    /// JSON: the object after the fact, as the API shows it.
    pub object: Box<RawValue>,
    /// JSON: what the changed fields were before.
    pub previous: Option<Box<RawValue>>,
}

impl Fact {
    /// A fact about `object`, in the shape that the API shows.
    pub fn new(
        kind: &'static str,
        object_id: impl std::fmt::Display,
        object: &impl serde::Serialize,
    ) -> Self {
        Self {
            kind,
            object_id: object_id.to_string(),
            customer: None,
            test_clock: None,
            object: serde_json::value::to_raw_value(object).expect("bodies are plain data"),
            previous: None,
        }
    }

    #[must_use]
    pub fn of_customer(mut self, customer: CustomerId, test_clock: Option<TestClockId>) -> Self {
        self.customer = Some(customer);
        self.test_clock = test_clock;
        self
    }

    /// Notes which fields `before` had otherwise.
    #[must_use]
    pub fn changed_from(mut self, before: &impl serde::Serialize) -> Self {
        let before = serde_json::to_value(before).expect("bodies are plain data");
        let after: serde_json::Value = serde_json::from_str(self.object.get()).expect("made by us");
        let changed = changed_fields(&before, &after);
        self.previous = Some(serde_json::value::to_raw_value(&changed).expect("made by us"));
        self
    }
}

fn changed_fields(before: &serde_json::Value, after: &serde_json::Value) -> serde_json::Value {
    let fields = before.as_object().into_iter().flatten();
    let changed = fields.filter(|(name, value)| after.get(name.as_str()) != Some(*value));
    changed.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Stores a fact beside its cause.
pub async fn append(
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    tenant: TenantId,
    fact: Fact,
) -> Result<EventId, DbErr> {
    let id = EventId::new(now);
    let previous = fact.previous.as_ref().map_or("", |previous| previous.get());
    let data = if previous.is_empty() {
        format!(r#"{{"object":{}}}"#, fact.object.get())
    } else {
        format!(r#"{{"object":{},"previous":{previous}}}"#, fact.object.get())
    };
    let row = ActiveModel {
        tenant_id: Set(tenant),
        id: Set(id),
        kind: Set(fact.kind.to_owned()),
        object_id: Set(fact.object_id),
        customer_id: Set(fact.customer),
        test_clock_id: Set(fact.test_clock),
        data: Set(data),
        cause: Set(crate::request::cause()),
        sequence: Set(None),
        created_at: Set(now),
    };
    Entity::insert(row).exec_without_returning(tx).await?;
    Ok(id)
}

/// Tenants with events that nobody was told of.
pub async fn tenants_waiting(db: &impl ConnectionTrait) -> Result<Vec<TenantId>, DbErr> {
    Entity::find()
        .select_only()
        .column(Column::TenantId)
        .distinct()
        .filter(Column::Sequence.is_null())
        .limit(1000)
        .into_tuple()
        .all(db)
        .await
}

/// Takes a tenant's oldest untold events and numbers them.
///
/// The tenant's counter stays locked until the transaction ends, so two dispatchers never tell the same
/// event, and sequences have no holes.
pub async fn take(tx: &DatabaseTransaction, tenant: TenantId, limit: u64) -> Result<Vec<Event>, DbErr> {
    let waiting = Column::Sequence.is_null();
    // Locks first, reads after: what another dispatcher has just told is then no longer waiting.
    counter::take(tx, tenant, SEQUENCE, 0).await?;
    let mut events = Entity::find()
        .filter(Column::TenantId.eq(tenant))
        .filter(waiting)
        .order_by_asc(Column::Id)
        .limit(limit)
        .all(tx)
        .await?;
    let count = i64::try_from(events.len()).expect("limited");
    let first = counter::take(tx, tenant, SEQUENCE, count).await?;
    for (event, sequence) in events.iter_mut().zip(first..) {
        event.sequence = Some(sequence);
    }
    number(tx, tenant, &events).await?;
    Ok(events)
}

const NUMBER: &str = "
update events set sequence = told.sequence
from (select unnest($2::uuid[]) as id, unnest($3::bigint[]) as sequence) as told
where events.tenant_id = $1 and events.id = told.id";

/// Stores the sequences of some events, by one statement.
async fn number(tx: &DatabaseTransaction, tenant: TenantId, events: &[Event]) -> Result<(), DbErr> {
    if events.is_empty() {
        return Ok(());
    }
    let backend = tx.get_database_backend();
    let statement = if backend == DatabaseBackend::Postgres {
        let ids = events.iter().map(|event| event.id.0.into()).collect();
        let sequences = events.iter().map(|event| event.sequence.into()).collect();
        let values = [
            tenant.0.into(),
            Value::Array(ArrayType::Uuid, Some(Box::new(ids))),
            Value::Array(ArrayType::BigInt, Some(Box::new(sequences))),
        ];
        Statement::from_sql_and_values(backend, NUMBER, values)
    } else {
        let sql = format!(
            "with told (id, sequence) as (values {}) update events set sequence = told.sequence from told \
             where events.tenant_id = ? and events.id = told.id",
            vec!["(?, ?)"; events.len()].join(", ")
        );
        let told = events.iter().flat_map(|event| [event.id.0.into(), event.sequence.into()]);
        Statement::from_sql_and_values(backend, sql, told.chain([tenant.0.into()]).collect::<Vec<_>>())
    };
    tx.execute_raw(statement).await.map(drop)
}

/// Has a test clock events that nobody was told of? Their consequences are not there yet.
pub async fn untold_of_test_clock(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    clock: TestClockId,
) -> Result<bool, DbErr> {
    let untold = Entity::find()
        .filter(Column::TenantId.eq(tenant))
        .filter(Column::TestClockId.eq(clock))
        .filter(Column::Sequence.is_null());
    Ok(untold.one(db).await?.is_some())
}

/// Which events to list.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    pub kind: Option<String>,
    pub customer: Option<CustomerId>,
    pub object_id: Option<String>,
    pub test_clock: Option<TestClockId>,
}

impl EventFilter {
    fn apply(self, mut select: Select<Entity>) -> Select<Entity> {
        if let Some(kind) = self.kind {
            select = select.filter(Column::Kind.eq(kind));
        }
        if let Some(customer) = self.customer {
            select = select.filter(Column::CustomerId.eq(customer));
        }
        if let Some(object_id) = self.object_id {
            select = select.filter(Column::ObjectId.eq(object_id));
        }
        if let Some(clock) = self.test_clock {
            select = select.filter(Column::TestClockId.eq(clock));
        }
        select
    }
}

/// The log of what happened, one page of it.
pub async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    filter: EventFilter,
    page: &crate::page::PageQuery,
) -> Result<Vec<Event>, crate::page::PageError> {
    let select = filter.apply(Entity::find().filter(Column::TenantId.eq(tenant)));
    page.fetch::<Entity, EventId>(select, Column::Id, db).await
}

/// One page of what happened to a customer, the newest first. It may begin after something that is no event, if its
/// identifier is made from time as an event's is.
pub async fn of_customer<I: FromStr<Err: ToString> + Into<Value>>(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customer: CustomerId,
    page: &crate::page::PageQuery,
) -> Result<Vec<Event>, crate::page::PageError> {
    let filter = EventFilter { customer: Some(customer), ..EventFilter::default() };
    let select = filter.apply(Entity::find().filter(Column::TenantId.eq(tenant)));
    page.fetch::<Entity, I>(select, Column::Id, db).await
}

/// The number that the next event to be told gets. Nothing is told until the transaction ends.
pub async fn next_sequence(tx: &DatabaseTransaction, tenant: TenantId) -> Result<i64, DbErr> {
    counter::take(tx, tenant, SEQUENCE, 0).await
}

/// The told events of a test clock, from a sequence on, in the order in which they were told.
pub async fn of_test_clock(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    clock: TestClockId,
    since: i64,
    limit: u64,
) -> Result<Vec<Event>, DbErr> {
    Entity::find()
        .filter(Column::TenantId.eq(tenant))
        .filter(Column::TestClockId.eq(clock))
        .filter(Column::Sequence.gte(since))
        .order_by_asc(Column::Sequence)
        .limit(limit)
        .all(db)
        .await
}

/// What happened to a customer who is deleted, told or not. Nothing may refer to it any more.
pub async fn delete_of_customer(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    customer: CustomerId,
) -> Result<(), DbErr> {
    let of_tenant = Entity::delete_many().filter(Column::TenantId.eq(tenant));
    of_tenant.filter(Column::CustomerId.eq(customer)).exec(tx).await.map(drop)
}

/// A customer of a test clock to whom something happened, if there is any.
pub async fn customer_of_test_clock(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    clock: TestClockId,
) -> Result<Option<CustomerId>, DbErr> {
    let event = Entity::find()
        .filter(Column::TenantId.eq(tenant))
        .filter(Column::TestClockId.eq(clock))
        .filter(Column::CustomerId.is_not_null())
        .one(db)
        .await?;
    Ok(event.and_then(|event| event.customer_id))
}

pub async fn find(db: &impl ConnectionTrait, tenant: TenantId, id: EventId) -> Result<Option<Event>, DbErr> {
    Entity::find().filter(Column::TenantId.eq(tenant)).filter(Column::Id.eq(id)).one(db).await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn previous_holds_only_what_changed() {
        let before = json!({"id": "sub_1", "status": "active", "canceled_at": null});
        let after = json!({"id": "sub_1", "status": "canceled", "canceled_at": "2026-01-01T00:00:00Z"});
        assert_eq!(changed_fields(&before, &after), json!({"status": "active", "canceled_at": null}));
    }
}
