//! The schema of Accrue: one file per change; expand, then contract.
//!
//! Rules, checked by `tests/it/schema.rs`: a table that belongs to a tenant has the primary key
//! `(tenant_id, id)`, and `tenant_id` stands in every unique and every foreign key. So no reference can
//! cross tenants, and a distributed PostgreSQL can shard by tenant.

mod ddl;
mod m20261121_000001_platform;
mod m20261121_000002_catalog;
mod m20261121_000003_customers;
mod m20261121_000004_usage;
mod m20261121_000005_ledger;
mod m20261121_000006_invoices;
mod m20261121_000007_payments;
mod m20261121_000008_delivery;

use sea_orm_migration::{MigrationTrait, async_trait};
pub use sea_orm_migration::{MigratorTrait, SchemaManager};

/// Every change of the schema, in order.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261121_000001_platform::Migration),
            Box::new(m20261121_000002_catalog::Migration),
            Box::new(m20261121_000003_customers::Migration),
            Box::new(m20261121_000004_usage::Migration),
            Box::new(m20261121_000005_ledger::Migration),
            Box::new(m20261121_000006_invoices::Migration),
            Box::new(m20261121_000007_payments::Migration),
            Box::new(m20261121_000008_delivery::Migration),
        ]
    }
}
