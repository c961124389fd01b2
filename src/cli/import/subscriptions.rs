//! `accrue import subscriptions`: who has which plan, from another system or another account.

use std::{process::ExitCode, sync::Arc};

use accrue_core::clock::SystemClock;
use anyhow::Result;

use super::{
    columns::{Fields, Kind},
    objects::{Objects, What},
    run::{Source, Work},
};

/// Subscriptions from a file of CSV or NDJSON, packed by gzip or not.
///
/// Each line is what `POST /v1/subscriptions` takes, or what an export of subscriptions has; customers and plans have to be
/// there. A subscription is known by its `external_id`, which every line needs: one that is there already is left as it is,
/// so that a run can be repeated. What ended or is paused is not taken, and what is scheduled is not taken along. On SQLite the service has to be stopped, as for every command
/// that writes. The exit code is 1 if lines were not taken.
#[derive(clap::Args)]
pub(super) struct ImportSubscriptions {
    #[command(flatten)]
    source: Source,
    /// Take those too that start in the past: every period since then is billed.
    #[arg(long)]
    bill_past: bool,
}

pub(super) const SUBSCRIPTIONS: Fields = Fields {
    named: &[
        ("id", Kind::Text),
        ("external_id", Kind::Text),
        ("customer", Kind::Text),
        ("customer_external_id", Kind::Text),
        ("plan", Kind::Text),
        ("quantities", Kind::Json),
        ("start_at", Kind::Text),
        ("trial_end", Kind::Text),
        ("ends_at", Kind::Text),
        ("ended_at", Kind::Text),
        ("usage_in_pause", Kind::Text),
        ("timezone", Kind::Text),
        ("alignment", Kind::TextOrObject),
        ("collection", Kind::Text),
        ("net_terms_days", Kind::Value),
        ("progressive_billing_threshold", Kind::Value),
        ("metadata", Kind::Json),
    ],
    members: &[("quantities", Kind::Value), ("metadata", Kind::Text)],
    rest: None,
    renamed: &[("plan.code", "plan"), ("cancel_at", "ends_at")],
    passed_over: &[
        "object",
        "livemode",
        "plan.id",
        "plan.name",
        "plan.version",
        "status",
        "currency",
        "interval",
        "current_period",
        "access",
        "scheduled",
        "canceled_at",
        "cancel_reason",
        "test_clock",
        "created_at",
    ],
    required: &[(&["external_id", "id"], ""), (&["customer", "customer_external_id"], ""), (&["plan"], "")],
};

impl ImportSubscriptions {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let options = vec![format!("bill_past {}", self.bill_past)];
        let work = Work { of: "subscriptions", fields: &SUBSCRIPTIONS, given: Vec::new(), options };
        let (what, dry_run) = (What::Subscriptions { bill_past: self.bill_past }, self.source.dry_run);
        let open = async |db, tenant, name| {
            Objects::open(db, Arc::new(SystemClock), tenant, name, (what, dry_run)).await
        };
        Box::pin(self.source.import(work, open)).await
    }
}
