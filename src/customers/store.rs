//! Customers in the database.

use std::collections::HashMap;

use accrue_core::{
    id::{CustomerId, IssuerId, PaymentMethodId, TenantId, TestClockId},
    tax_id::TaxId,
};
use accrue_platform::{
    bulk,
    check::Metadata,
    column::Json,
    page::{PageError, PageQuery},
};
use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::Set, Condition, ConnectionTrait, DatabaseTransaction, DbErr, QueryOrder, QuerySelect,
    Statement, entity::prelude::*,
};

use super::model::{Address, Contact, Customer, Exemption};

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "customers")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: TenantId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: CustomerId,
    pub external_id: Option<String>,
    pub parent_id: Option<CustomerId>,
    pub issuer_id: Option<IssuerId>,
    pub name: String,
    pub email: Option<String>,
    pub invoice_contacts: Json<Vec<Contact>>,
    pub currency: Option<String>,
    pub timezone: Option<String>,
    pub locale: Option<String>,
    pub net_terms_days: Option<i32>,
    pub address: Json<Address>,
    pub tax_ids: Json<Vec<TaxId>>,
    pub exemption: Exemption,
    pub test_clock_id: Option<TestClockId>,
    pub default_payment_method_id: Option<PaymentMethodId>,
    pub balance_minor: i64,
    pub metadata: Json<Metadata>,
    pub created_at: DateTime<Utc>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Which customers to list: those of all that is given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Which {
    pub test_clock: Option<TestClockId>,
    pub issuer: Option<IssuerId>,
    pub parent: Option<CustomerId>,
}

/// Every query starts here, so that none can forget its tenant.
fn of(tenant: TenantId) -> Select<Entity> {
    Entity::find().filter(Column::TenantId.eq(tenant))
}

pub(super) async fn find(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    id: CustomerId,
) -> Result<Option<Customer>, DbErr> {
    Ok(of(tenant).filter(Column::Id.eq(id)).one(db).await?.map(Into::into))
}

pub(super) async fn find_by_external_id(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    external_id: &str,
) -> Result<Option<Customer>, DbErr> {
    Ok(of(tenant).filter(Column::ExternalId.eq(external_id)).one(db).await?.map(Into::into))
}

pub(super) async fn all_of(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    ids: Vec<CustomerId>,
) -> Result<Vec<Customer>, DbErr> {
    Ok(of(tenant).filter(Column::Id.is_in(ids)).all(db).await?.into_iter().map(Into::into).collect())
}

/// Whose parent is one of these.
pub(super) async fn children_of(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    parents: Vec<CustomerId>,
) -> Result<Vec<CustomerId>, DbErr> {
    let mut children = Vec::new();
    for some in parents.chunks(bulk::LIST_MAX) {
        let some = some.iter().map(|parent| parent.0).collect();
        let select =
            of(tenant).select_only().column(Column::Id).filter(bulk::one_of(db, Column::ParentId, some));
        children.extend(select.into_tuple::<CustomerId>().all(db).await?);
    }
    Ok(children)
}

/// Those with one of these identifiers or of the tenant's own names, as far as it takes to know them.
pub(super) async fn find_all(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    ids: Vec<CustomerId>,
    names: Vec<String>,
) -> Result<Vec<(CustomerId, Option<String>, Option<TestClockId>)>, DbErr> {
    let mut found = Vec::new();
    let ids: Vec<Uuid> = ids.into_iter().map(|id| id.0).collect();
    let by_id = ids.chunks(bulk::LIST_MAX).map(|some| bulk::one_of(db, Column::Id, some.to_vec()));
    let by_name =
        names.chunks(bulk::LIST_MAX).map(|some| bulk::one_of(db, Column::ExternalId, some.to_vec()));
    for named in by_id.chain(by_name) {
        let select = of(tenant).select_only().columns([Column::Id, Column::ExternalId, Column::TestClockId]);
        found.extend(select.filter(named).into_tuple().all(db).await?);
    }
    Ok(found)
}

pub(super) async fn test_clocks_of(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customers: &[CustomerId],
) -> Result<HashMap<CustomerId, TestClockId>, DbErr> {
    let mut found = HashMap::new();
    for some in customers.chunks(bulk::LIST_MAX) {
        let select = of(tenant).select_only().columns([Column::Id, Column::TestClockId]);
        let on_clocks = select
            .filter(bulk::one_of(db, Column::Id, some.iter().map(|customer| customer.0).collect()))
            .filter(Column::TestClockId.is_not_null());
        found.extend(on_clocks.into_tuple::<(CustomerId, TestClockId)>().all(db).await?);
    }
    Ok(found)
}

pub(super) async fn next(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    after: Option<CustomerId>,
    limit: u64,
) -> Result<Vec<(CustomerId, Option<TestClockId>)>, DbErr> {
    let select = of(tenant)
        .select_only()
        .columns([Column::Id, Column::TestClockId])
        .filter(Condition::all().add_option(after.map(|last| Column::Id.gt(last))))
        .order_by_asc(Column::Id)
        .limit(limit);
    select.into_tuple().all(db).await
}

pub(super) async fn find_for_update(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: CustomerId,
) -> Result<Option<Customer>, DbErr> {
    Ok(of(tenant).filter(Column::Id.eq(id)).lock_exclusive().one(tx).await?.map(Into::into))
}

pub(super) async fn list(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    which: Which,
    page: &PageQuery,
) -> Result<Vec<Customer>, PageError> {
    let wanted = Condition::all()
        .add_option(which.test_clock.map(|clock| Column::TestClockId.eq(clock)))
        .add_option(which.issuer.map(|issuer| Column::IssuerId.eq(issuer)))
        .add_option(which.parent.map(|parent| Column::ParentId.eq(parent)));
    let select = of(tenant).filter(wanted);
    let rows = page.fetch::<Entity, CustomerId>(select, Column::Id, db).await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

pub(super) async fn insert(tx: &DatabaseTransaction, customer: &Customer) -> Result<(), DbErr> {
    let row = ActiveModel {
        tenant_id: Set(customer.tenant_id),
        id: Set(customer.id),
        test_clock_id: Set(customer.test_clock_id),
        balance_minor: Set(customer.balance_minor),
        created_at: Set(customer.created_at),
        ..changeable(customer)
    };
    Entity::insert(row).exec_without_returning(tx).await.map(drop)
}

pub(super) async fn save(tx: &DatabaseTransaction, customer: &Customer) -> Result<(), DbErr> {
    let row = changeable(customer);
    Entity::update_many()
        .set(row)
        .filter(Column::TenantId.eq(customer.tenant_id))
        .filter(Column::Id.eq(customer.id))
        .exec(tx)
        .await
        .map(drop)
}

/// Of the locked customer.
pub(super) async fn set_balance(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    id: CustomerId,
    minor: i64,
) -> Result<(), DbErr> {
    Entity::update_many()
        .col_expr(Column::BalanceMinor, minor.into())
        .filter(Column::TenantId.eq(tenant))
        .filter(Column::Id.eq(id))
        .exec(tx)
        .await
        .map(drop)
}

/// Who has a balance, and which.
pub(super) async fn balances(
    db: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<Vec<(CustomerId, i64)>, DbErr> {
    let select = of(tenant).select_only().columns([Column::Id, Column::BalanceMinor]);
    select.filter(Column::BalanceMinor.ne(0)).into_tuple().all(db).await
}

/// Payments keep the methods; of them only this much is known here: whose one is, and that it was not detached.
const CAN_BE_CHARGED: &str = "
select 1 from payment_methods where tenant_id = $1 and customer_id = $2 and id = $3 and detached_at is null";

/// Is it a payment method of this customer, whom the caller has locked?
pub(super) async fn can_be_charged(
    tx: &DatabaseTransaction,
    customer: &Customer,
    method: PaymentMethodId,
) -> Result<bool, DbErr> {
    let values = [customer.tenant_id.into(), customer.id.into(), method.into()];
    let statement = Statement::from_sql_and_values(tx.get_database_backend(), CAN_BE_CHARGED, values);
    Ok(tx.query_one_raw(statement).await?.is_some())
}

fn changeable(customer: &Customer) -> ActiveModel {
    ActiveModel {
        external_id: Set(customer.external_id.clone()),
        parent_id: Set(customer.parent_id),
        issuer_id: Set(customer.issuer_id),
        name: Set(customer.name.clone()),
        email: Set(customer.email.clone()),
        invoice_contacts: Set(Json(customer.invoice_contacts.clone())),
        currency: Set(customer.currency.map(|currency| currency.code().to_owned())),
        timezone: Set(customer.timezone.clone()),
        locale: Set(customer.locale.clone()),
        net_terms_days: Set(customer.net_terms_days.map(Into::into)),
        address: Set(Json(customer.address.clone())),
        tax_ids: Set(Json(customer.tax_ids.clone())),
        exemption: Set(customer.exemption),
        default_payment_method_id: Set(customer.default_payment_method_id),
        metadata: Set(Json(customer.metadata.clone())),
        ..Default::default()
    }
}

impl From<Model> for Customer {
    fn from(row: Model) -> Self {
        Self {
            tenant_id: row.tenant_id,
            id: row.id,
            external_id: row.external_id,
            parent_id: row.parent_id,
            issuer_id: row.issuer_id,
            name: row.name,
            email: row.email,
            invoice_contacts: row.invoice_contacts.0,
            currency: row.currency.and_then(|code| code.parse().ok()),
            timezone: row.timezone,
            locale: row.locale,
            net_terms_days: row.net_terms_days.and_then(|days| days.try_into().ok()),
            address: row.address.0,
            tax_ids: row.tax_ids.0,
            exemption: row.exemption,
            test_clock_id: row.test_clock_id,
            default_payment_method_id: row.default_payment_method_id,
            balance_minor: row.balance_minor,
            metadata: row.metadata.0,
            created_at: row.created_at,
        }
    }
}
