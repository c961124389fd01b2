//! How long questions about usage wait where much is stored: the slowest hundredth of each kind of question.

use std::time::{Duration, Instant};

use accrue::{
    app::work_until_idle,
    catalog::{self, Metric},
    metering::{Building, Grain},
};
use anyhow::{Context, Result, ensure};
use chrono::{SecondsFormat, TimeDelta};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::{
    load::ask,
    site::{METRIC, Site},
};

/// No answer may take longer.
pub const LONGEST: Duration = Duration::from_millis(20);

/// Who subscribed to a plan, and is asked about.
const SUBSCRIBERS: usize = 200;
/// Of each kind.
const QUESTIONS: usize = 2000;
/// How long ago they subscribed: their month is nearly over.
const SINCE: TimeDelta = TimeDelta::days(27);

#[derive(Deserialize)]
struct Subscribed {
    id: String,
}

/// Has usage kept apart by a property, builds up the hours of the events that were filled in, and subscribes customers to
/// a plan with tiers.
pub async fn prepare(site: &Site) -> Result<Vec<String>> {
    site.ask("PATCH", &format!("/v1/metrics/{METRIC}"), r#"{"group_by":[["model"]]}"#).await?;
    let metrics = catalog::service::all_metrics(site.app.db.reader(), site.tenant).await?;
    let metric = metrics.into_iter().find(|metric| metric.code == METRIC).context("the metric")?;
    for grain in Grain::all_of(&metric) {
        build(site, &metric, grain).await?;
    }

    let tiers =
        json!([{"up_to": "1000000", "unit_price": "0.00002"}, {"up_to": null, "unit_price": "0.00001"}]);
    let price = json!({"code": "tokens", "name": "Tokens", "kind": "usage", "metric": METRIC,
        "model": {"type": "graduated", "tiers": tiers}});
    let plan = json!({"code": "api", "name": "API", "currency": "USD",
        "interval": {"unit": "month", "count": 1}, "prices": [price]});
    site.ask("POST", "/v1/plans", &plan.to_string()).await?;
    let start = (site.app.now() - SINCE).to_rfc3339_opts(SecondsFormat::Secs, true);
    let mut subscriptions = Vec::with_capacity(SUBSCRIBERS);
    for number in 0..SUBSCRIBERS {
        let body = json!({"customer": format!("customer-{number}"), "plan": "api", "start_at": start,
            "collection": "send_invoice", "net_terms_days": 30});
        let made = site.ask("POST", "/v1/subscriptions", &body.to_string()).await?;
        subscriptions.push(serde_json::from_str::<Subscribed>(&made)?.id);
    }
    work_until_idle(&site.app).await?;
    Ok(subscriptions)
}

async fn build(site: &Site, metric: &Metric, grain: Grain) -> Result<()> {
    let db = &site.app.db;
    let tx = db.begin().await?;
    let building = Building::begin(db, &tx, site.tenant, metric.clone(), grain, true).await?;
    tx.commit().await?;
    Ok(building.context("it is wanted anew")?.finish(db, |_| {}).await?)
}

/// What is asked, and how long the slowest hundredth waits.
pub async fn slowest(site: &Site, subscriptions: &[String]) -> Result<Vec<(&'static str, Duration)>> {
    let at = |days| (site.app.now() - TimeDelta::days(days)).to_rfc3339_opts(SecondsFormat::Secs, true);
    let month = format!("metric={METRIC}&start={}&end={}", at(30), at(0));
    let of = |number: usize, more: &str| {
        format!("/v1/customers/customer-{}/usage?{month}{more}", number % SUBSCRIBERS)
    };
    let by_day = |number: usize| of(number, "&granularity=day");
    let by_group = |number: usize| of(number, "&granularity=month&group_by=model");
    let running = |number: usize| format!("/v1/subscriptions/{}/usage", subscriptions[number % SUBSCRIBERS]);
    let questions: [(_, &dyn Fn(usize) -> String); 3] = [
        ("p99 of a month's usage by the day", &by_day),
        ("p99 of the running period with amounts", &running),
        ("p99 of a month's usage by a property", &by_group),
    ];
    let mut slowest = Vec::new();
    for (name, path) in questions {
        let mut stream = TcpStream::connect(site.address).await?;
        let mut times = Vec::with_capacity(QUESTIONS);
        for number in 0..QUESTIONS {
            let started = Instant::now();
            let answer = ask(&mut stream, &site.key, "GET", &path(number), "").await?;
            times.push(started.elapsed());
            let told: Value = serde_json::from_str(&answer)?;
            let quantity = told["quantity"].as_str().or(told["usage"][0]["quantity"].as_str());
            ensure!(quantity.is_some_and(|quantity| quantity != "0"), "no usage in {answer}");
        }
        times.sort_unstable();
        slowest.push((name, times[QUESTIONS * 99 / 100]));
    }
    Ok(slowest)
}
