//! Usage events that left the database: every number stays what it was, or is not told any more.

use accrue::{
    catalog,
    metering::{Building, Grain, service::MeteringError},
};
use chrono::{DateTime, TimeDelta, Utc};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Archiving, Engine, Engine::*, process::Chance, text};

const WHOLE_HOURS: &str = "start=2026-01-06T00:00:00Z&end=2026-02-01T00:00:00Z";
const PARTS_OF_HOURS: &str = "start=2026-01-05T10:17:00Z&end=2026-02-05T10:17:00Z";
const UNTIL_WITHIN_AN_HOUR: &str = "start=2026-01-06T00:00:00Z&end=2026-01-10T10:30:00Z";
const MARCH: &str = "start=2026-03-01T00:17:00Z&end=2026-04-01T00:00:00Z";

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_archived_month_is_in_its_file_and_nowhere_else_and_what_was_billed_stays(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(of) = Archiving::two_months(on).await else { return };
    let shown = [of.world.get("/v1/usage_events/a").await, of.world.get("/v1/usage_events/b").await];
    let before = (of.quantity("calls", WHOLE_HOURS).await, of.invoices().await);
    assert_eq!((before.0.clone(), before.1.len()), (json!("2"), 2));
    assert!(of.archive().await.is_none(), "late usage is still taken");

    of.go_to("2026-03-13T02:37:00Z").await;
    let noted = of.archive().await.unwrap();
    let listed = of.listed().await;
    of.go_to("2026-03-13T03:37:00Z").await;

    assert_eq!(of.file(), shown);
    assert_eq!(shown[0]["history"][0]["metadata"]["n"], "0.10");
    assert_eq!(
        (noted.contents.events, noted.final_before.to_rfc3339()),
        (2, "2026-02-05T10:17:00+00:00".into())
    );
    assert_eq!(listed, ["d", "c", "b", "a"], "not taken out before the file is checked again");
    assert_eq!(of.listed().await, ["d", "c"]);
    assert_eq!((of.quantity("calls", WHOLE_HOURS).await, of.invoices().await), before);
    assert!(of.world.dead_jobs().await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_archived_event_is_known_again_for_ever(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(of) = Archiving::archived(on).await else { return };
    let mut other = Archiving::event("b");
    other["metadata"]["n"] = json!("7");
    let mut new = Archiving::event("new");
    new["timestamp"] = json!("2026-02-05T10:16:59Z");

    let sent = json!([Archiving::event("a"), Archiving::event("b"), other, new]);
    let answer = of.world.post("/v1/usage_events?backfill=true", sent).await;

    let codes: Vec<_> =
        answer["rejected"].as_array().unwrap().iter().map(|error| text(&error["code"])).collect();
    assert_eq!((&answer["accepted"], &answer["duplicates"]), (&json!(0), &json!(2)), "{answer}");
    assert_eq!(codes, ["conflict", "usage_archived"]);
    for (method, path) in [("GET", ""), ("GET", "/explain"), ("POST", "/void")] {
        let path = format!("/v1/usage_events/a{path}");
        let reply = of.world.send(method, &path, &json!({})).await;
        assert_eq!((reply.status, &reply.json()["code"]), (409, &json!("usage_archived")), "{path}");
        assert!(text(&reply.json()["detail"]).contains("usage-2026-01-"), "{}", reply.text);
    }
    let id = text(&of.file()[0]["id"]);
    assert_eq!(of.world.send("GET", &format!("/v1/usage_events/{id}"), &Value::Null).await.status, 409);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_would_need_archived_events_is_refused_and_never_too_small(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(of) = Archiving::archived(on).await else { return };
    let archived = json!("usage_archived");

    assert_eq!(of.quantity("calls", WHOLE_HOURS).await, json!("2"));
    for until_within_an_hour in [PARTS_OF_HOURS, UNTIL_WITHIN_AN_HOUR] {
        assert_eq!(of.quantity("calls", until_within_an_hour).await, archived);
    }
    assert_eq!(of.quantity("users", WHOLE_HOURS).await, archived);
    assert_eq!(of.quantity("n", &format!("{WHOLE_HOURS}&group_by=model")).await, json!("0.4"));
    assert_eq!(of.quantity("n", &format!("{WHOLE_HOURS}&group_by=user")).await, archived);
    of.call("e").await;
    for metric in ["calls", "users"] {
        assert_eq!(of.quantity(metric, MARCH).await, json!("1"));
    }

    // An event of February that belongs to a final period.
    let refused = of.world.send("POST", "/v1/usage_events/c/void", &json!({})).await;
    assert_eq!((refused.status, &refused.json()["code"]), (409, &archived));
    let earlier = json!({"timestamp": "2026-02-05T10:16:00Z"});
    let refused = of.world.send("POST", "/v1/usage_events/d/amend?backfill=true", &earlier).await;
    assert_eq!(refused.json()["code"], archived);

    let metric = json!({"code": "later", "name": "Later", "event_name": "call", "aggregation": "count"});
    of.world.create("/v1/metrics", metric).await;
    let recurring = json!({"code": "ever", "name": "Ever", "event_name": "call", "aggregation": "sum",
        "property": "n", "recurring": true});
    of.world.create("/v1/metrics", recurring).await;
    of.call("f").await;
    of.world.work().await;
    assert_eq!(of.quantity("later", WHOLE_HOURS).await, archived);
    assert_eq!(of.quantity("later", "start=2026-02-01T00:00:00Z&end=2026-04-01T00:00:00Z").await, json!("4"));
    assert_eq!(of.quantity("ever", MARCH).await, archived);

    let db = &of.world.app.db;
    let metrics = catalog::service::all_metrics(db.reader(), of.tenant.id).await.unwrap();
    let calls = metrics.into_iter().find(|metric| metric.code == "calls").unwrap();
    let tx = db.begin().await.unwrap();
    let grain = Grain { metric_id: calls.id, properties: Vec::new() };
    let rebuilt = Building::begin(db, &tx, of.tenant.id, calls, grain, true).await;
    assert!(matches!(rebuilt, Err(MeteringError::Archived(_))));
    tx.rollback().await.unwrap();
    assert_eq!(of.quantity("calls", WHOLE_HOURS).await, json!("2"));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_late_for_a_period_whose_events_are_there_is_billed_as_ever(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(of) = Archiving::archived(on).await else { return };
    for event_id in ["late", "later"] {
        let mut late = Archiving::event(event_id);
        late["timestamp"] = json!("2026-02-20T00:00:00Z");
        assert_eq!(of.world.post("/v1/usage_events", late).await["accepted"], 1);
    }
    of.world.post("/v1/usage_events/d/void", json!({})).await;

    of.go_to("2026-04-06T00:00:00Z").await;

    let invoices = of.invoices().await;
    let lines = invoices[0]["lines"].as_array().unwrap().iter();
    let adjusted = lines.filter(|line| line["kind"] == "usage_adjustment");
    let mut amounts: Vec<_> = adjusted.map(|line| text(&line["amount"])).collect();
    amounts.sort();
    // Two came and one went: one call more, one user more, 0.10 more of the model.
    assert_eq!((invoices.len(), amounts), (3, vec!["0.10".into(), "1.00".into(), "1.00".into()]));
    assert!(of.world.dead_jobs().await.is_empty());
}

/// Half a year of two customers: usage of each fourth day, some of it late, some sent again, some taken back. Which is
/// decided by chance, and the same whenever it is asked. Every line that was billed, and how many months left.
async fn half_a_year(on: Engine, retention_months: &str) -> Option<(Vec<String>, usize)> {
    let of = Archiving::new(on, retention_months).await?;
    of.go_to("2026-01-17T00:00:00Z").await;
    of.sell("other", "month", Archiving::prices()).await;
    let mut chance = Chance::new();
    let end = "2026-07-06T00:00:00Z".parse::<DateTime<Utc>>().unwrap();
    let mut number = 0;
    while of.world.app.now() < end {
        of.go_to(&(of.world.app.now() + TimeDelta::days(4)).to_rfc3339()).await;
        let mut sent = Vec::new();
        for _ in 0..3 {
            let ago = TimeDelta::minutes(i64::try_from(chance.below(30 * 24 * 60)).unwrap());
            let mut event = Archiving::event(&format!("{number}"));
            event["customer_id"] = json!(["api", "other"][usize::try_from(chance.below(2)).unwrap()]);
            event["timestamp"] = json!(of.world.app.now() - ago);
            event["metadata"] = json!({"user": format!("u{}", chance.below(9)), "n": format!("0.{}", chance.below(99)),
                "model": format!("m{}", chance.below(3))});
            sent.push(event);
            number += 1;
        }
        assert_eq!(of.world.post("/v1/usage_events", json!(sent)).await["accepted"], 3);
        // Anything that was ever sent, and something that was sent of late.
        let again = Archiving::event(&format!("{}", chance.below(number)));
        let answer = of.world.post("/v1/usage_events?backfill=true", again).await;
        assert_eq!(answer["rejected"][0]["code"], "conflict", "{answer}");
        if chance.below(3) == 0 {
            of.world.post(&format!("/v1/usage_events/{}/void", number - 1), json!({})).await;
        }
    }
    assert!(of.world.dead_jobs().await.is_empty());
    let mut lines = Vec::new();
    for invoice in of.invoices().await {
        for line in invoice["lines"].as_array().unwrap() {
            let words =
                ["kind", "period", "quantity", "amount", "group"].map(|field| line[field].to_string());
            lines.push(format!("{} {} {}", invoice["reason"], invoice["period"], words.join(" ")));
        }
    }
    lines.sort();
    let folder = of.world.app.config.usage_archive_dir.join(of.tenant.id.to_string());
    Some((lines, std::fs::read_dir(folder).map_or(0, Iterator::count)))
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_billed_does_not_depend_on_what_is_archived(#[values(Sqlite, Postgres)] on: Engine) {
    let Some((kept, nothing)) = half_a_year(on, "0").await else { return };
    let (archived, months) = half_a_year(on, "1").await.unwrap();

    assert_eq!(archived, kept);
    assert!(nothing == 0 && months >= 2, "{months} months were archived");
    assert!(kept.len() > 20, "{kept:?}");
}
