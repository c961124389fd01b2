//! `accrue import customers`: who is billed, from another system or another account.

use std::{process::ExitCode, sync::Arc};

use accrue_core::clock::SystemClock;
use anyhow::Result;

use super::{
    columns::{Fields, Kind},
    objects::{Objects, What},
    run::{Source, Work},
};

/// Customers from a file of CSV or NDJSON, packed by gzip or not.
///
/// Each line is what `POST /v1/customers` takes, or what an export of customers has. A customer is known by its
/// `external_id`, which every line needs: one that is there already is left as it is, so that a run can be repeated.
/// A balance is not taken along: give it by a balance entry. On SQLite the service has to be stopped, as for every command that writes. The exit code is 1 if lines were not taken.
#[derive(clap::Args)]
pub(super) struct ImportCustomers {
    #[command(flatten)]
    source: Source,
}

pub(super) const CUSTOMERS: Fields = Fields {
    named: &[
        ("id", Kind::Text),
        ("external_id", Kind::Text),
        ("parent", Kind::Text),
        ("issuer", Kind::Text),
        ("name", Kind::Text),
        ("email", Kind::Text),
        ("invoice_contacts", Kind::Json),
        ("currency", Kind::Text),
        ("timezone", Kind::Text),
        ("locale", Kind::Text),
        ("net_terms_days", Kind::Value),
        ("address", Kind::Json),
        ("tax_ids", Kind::Json),
        ("exemption", Kind::Text),
        ("test_clock", Kind::Text),
        ("metadata", Kind::Json),
    ],
    members: &[("address", Kind::Text), ("metadata", Kind::Text)],
    rest: None,
    renamed: &[],
    passed_over: &["object", "livemode", "default_payment_method", "balance", "settings", "created_at"],
    required: &[(&["external_id", "id"], ""), (&["name"], "")],
};

impl ImportCustomers {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let work = Work { of: "customers", fields: &CUSTOMERS, given: Vec::new(), options: Vec::new() };
        let dry_run = self.source.dry_run;
        let open = async |db, tenant, name| {
            Objects::open(db, Arc::new(SystemClock), tenant, name, (What::Customers, dry_run)).await
        };
        Box::pin(self.source.import(work, open)).await
    }
}
