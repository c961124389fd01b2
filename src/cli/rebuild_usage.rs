//! `accrue rebuild-usage`: usage by the hour anew, from the events. The service may run meanwhile.

use std::{process::ExitCode, time::Duration};

use accrue_platform::db::Db;
use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::{
    auth::{self, Tenant},
    catalog::{self, Metric},
    metering::{Building, Grain, service::MeteringError},
};

/// Build up usage by the hour anew, from the events.
///
/// Until a metric is done, its usage is read from the events; nothing else is different. A metric of which events are
/// archived stays as it is. On SQLite the service has
/// to be stopped, as for every command that writes.
#[derive(clap::Args)]
pub(super) struct RebuildUsage {
    #[command(flatten)]
    settings: super::Settings,
    /// Only this metric, by its code or identifier; all of them unless given.
    #[arg(long)]
    metric: Option<String>,
    /// One object for scripts: `{"metrics":[{"tenant","livemode","metric","split_by","events","kept"}]}`.
    #[arg(long)]
    json: bool,
}

/// A metric that was rebuilt.
#[derive(Serialize)]
struct Rebuilt {
    tenant: String,
    livemode: bool,
    metric: String,
    /// The properties by which prices tell its usage apart; none for all of it as one.
    split_by: Vec<String>,
    events: u64,
    /// Why it was not; null if it was.
    kept: Option<String>,
}

impl RebuildUsage {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let db = Db::open(&self.settings.load(&[])?.database).await?;
        let mut rebuilt = Vec::new();
        for tenant in auth::service::all_tenants(db.reader()).await? {
            let metrics = catalog::service::all_metrics(db.reader(), tenant.id).await?;
            let wanted = |metric: &Metric| {
                self.metric.as_ref().is_none_or(|name| *name == metric.code || *name == metric.id.to_string())
            };
            for metric in metrics.into_iter().filter(wanted) {
                for grain in Grain::all_of(&metric) {
                    rebuilt.push(rebuild(&db, &tenant, metric.clone(), grain).await?);
                }
            }
        }
        if let (Some(name), []) = (&self.metric, rebuilt.as_slice()) {
            anyhow::bail!("there is no metric {name}");
        }
        if self.json {
            println!("{}", serde_json::json!({ "metrics": rebuilt }));
        } else {
            for Rebuilt { livemode, metric, split_by, events, kept, .. } in &rebuilt {
                let mode = if *livemode { "live" } else { "test" };
                let metric = named(metric, split_by);
                match kept {
                    Some(why) => println!("{mode}  {metric}: stays as it is: {why}"),
                    None => println!("{mode}  {metric}: {events} events"),
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// `tokens by model, region`
fn named(metric: &str, split_by: &[String]) -> String {
    if split_by.is_empty() { metric.to_owned() } else { format!("{metric} by {}", split_by.join(", ")) }
}

async fn rebuild(db: &Db, tenant: &Tenant, metric: Metric, grain: Grain) -> anyhow::Result<Rebuilt> {
    let (code, split_by) = (metric.code.clone(), grain.properties.clone());
    let rebuilt = |events, kept| Rebuilt {
        tenant: tenant.id.to_string(),
        livemode: tenant.livemode,
        metric: code.clone(),
        split_by: split_by.clone(),
        events,
        kept,
    };
    let tx = db.begin().await?;
    let building = match Building::begin(db, &tx, tenant.id, metric, grain, true).await {
        Err(error @ MeteringError::Archived(_)) => return Ok(rebuilt(0, Some(error.to_string()))),
        building => building?,
    };
    tx.commit().await?;
    let building = building.context("a metric that is rebuilt anew is always begun")?;
    let bar = progress(&named(&code, &split_by), building.count().await?);
    building.finish(db, |events| bar.inc(events)).await?;
    let events = bar.position();
    bar.finish_and_clear();
    Ok(rebuilt(events, None))
}

/// Seen on a terminal only.
fn progress(metric: &str, events: u64) -> ProgressBar {
    let style = "{prefix} {wide_bar} {human_pos}/{human_len} events, {per_sec}, {eta} left";
    let bar = ProgressBar::new(events).with_prefix(metric.to_owned());
    bar.set_style(ProgressStyle::with_template(style).expect("a valid template"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
