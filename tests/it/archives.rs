//! Usage events that leave the database: every number stays what it was, or is not told any more.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
};

use accrue::{
    archives::{self, Written, service},
    auth::{KeyKind, Mode, Tenant, service::first_tenant},
    catalog,
    metering::{Archive, Building, Month, archive, service::MeteringError},
};
use chrono::{DateTime, TimeDelta, Utc};
use flate2::read::MultiGzDecoder;
use rstest::rstest;
use sea_orm::{ConnectionTrait, Database, Statement};
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Reply, World, process::Installation, text};

/// The month in which everything begins.
const JANUARY: &str = "2026-01";

/// A customer in live mode who pays by calls, by users and by model, from 5 January 10:17 on.
struct Archiving {
    world: World,
    tenant: Tenant,
}

impl Archiving {
    async fn new(on: Engine, retention_months: &str) -> Option<Self> {
        let mut world = World::with(on, &[("usage_retention_months", retention_months)]).await?;
        world.key = world.new_key(Mode::Live, KeyKind::Secret, &[]).await;
        let tenant = first_tenant(world.app.db.reader(), Mode::Live).await.unwrap().unwrap();
        let of = Self { world, tenant };
        of.go_to("2026-01-05T10:17:00Z").await;
        for (code, aggregation, property) in [
            ("calls", "count", json!(null)),
            ("users", "unique_count", json!("user")),
            ("n", "sum", json!("n")),
        ] {
            let metric = json!({"code": code, "name": code, "event_name": "call", "aggregation": aggregation,
                "property": property});
            of.world.create("/v1/metrics", metric).await;
        }
        let price = |metric: &str, group_by: Value| {
            json!({"code": metric, "name": metric, "kind": "usage", "metric": metric, "group_by": group_by,
                "model": {"type": "per_unit", "unit_price": "1"}})
        };
        let prices = [price("calls", json!([])), price("users", json!([])), price("n", json!(["model"]))];
        of.sell("api", "month", json!(prices)).await;
        Some(of)
    }

    /// Sells a plan to a new customer of its name.
    async fn sell(&self, code: &str, unit: &str, prices: Value) {
        let plan = json!({"code": code, "name": code, "currency": "USD", "interval": {"unit": unit, "count": 1},
            "prices": prices});
        self.world.create("/v1/plans", plan).await;
        self.world.create("/v1/customers", json!({"external_id": code, "name": code})).await;
        let body =
            json!({"customer": code, "plan": code, "collection": "send_invoice", "net_terms_days": 365});
        self.world.create("/v1/subscriptions", body).await;
        self.world.work().await;
    }

    /// Moves the time; what falls due stays undone.
    fn skip_to(&self, at: &str) {
        let at: DateTime<Utc> = at.parse().unwrap();
        self.world.clock.advance(at - self.world.app.now());
    }

    async fn go_to(&self, at: &str) {
        self.skip_to(at);
        self.world.sweep().await;
    }

    fn event(event_id: &str) -> Value {
        json!({"event_id": event_id, "customer_id": "api", "event_name": "call",
            "metadata": {"user": event_id, "n": "0.10", "model": "pro"}})
    }

    /// Sends an event that happens now.
    async fn call(&self, event_id: &str) {
        let answer = self.world.post("/v1/usage_events", Self::event(event_id)).await;
        assert_eq!(answer["accepted"], 1, "{answer}");
    }

    /// January and February as they were, and what was billed for them; nothing is archived.
    async fn two_months(on: Engine) -> Option<Self> {
        let of = Self::new(on, "1").await?;
        for (at, event_id) in [("2026-01-10T08:30:00Z", "a"), ("2026-01-31T23:59:00Z", "b")] {
            of.go_to(at).await;
            of.call(event_id).await;
        }
        of.world.post("/v1/usage_events/a/amend", json!({"metadata": {"user": "z", "n": "0.30"}})).await;
        for (at, event_id) in [("2026-02-02T00:00:00Z", "c"), ("2026-02-20T00:00:00Z", "d")] {
            of.go_to(at).await;
            of.call(event_id).await;
        }
        of.go_to("2026-03-10T00:00:00Z").await;
        Some(of)
    }

    /// The same after January was archived, in the night to 13 March, and taken out.
    async fn archived(on: Engine) -> Option<Self> {
        let of = Self::two_months(on).await?;
        of.go_to("2026-03-13T02:37:00Z").await;
        of.go_to("2026-03-13T03:37:00Z").await;
        Some(of)
    }

    async fn archive(&self) -> Option<Archive> {
        let (db, january) = (self.world.app.db.reader(), JANUARY.parse().unwrap());
        archive::find(db, self.tenant.id, january).await.unwrap()
    }

    /// Why January stays.
    async fn hold(&self) -> Option<String> {
        let tx = self.world.app.db.begin().await.unwrap();
        let clock = &*self.world.clock;
        let held = service::hold(&tx, clock, &self.tenant, JANUARY.parse().unwrap()).await.unwrap();
        tx.rollback().await.unwrap();
        held.map(|held| held.to_string())
    }

    async fn write(&self) -> Written {
        let app = &self.world.app;
        let month = (&self.tenant, JANUARY.parse::<Month>().unwrap());
        archives::write(&app.db, &*app.clock, &app.config.usage_archive_dir, month, |_| ()).await.unwrap()
    }

    async fn note(&self, written: Written) -> Archive {
        let tx = self.world.app.db.begin().await.unwrap();
        let noted = service::note(&tx, &*self.world.clock, &self.tenant, written).await.unwrap().unwrap();
        tx.commit().await.unwrap();
        noted
    }

    async fn remove_some(&self, archive: &Archive) -> u64 {
        let tx = self.world.app.db.begin().await.unwrap();
        let removed = archive::remove(&tx, archive, self.world.app.now()).await.unwrap();
        tx.commit().await.unwrap();
        removed
    }

    /// The events of the only file, which any gzip unpacks.
    fn file(&self) -> Vec<Value> {
        let folder = self.world.app.config.usage_archive_dir.join(self.tenant.id.to_string());
        let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        let [file] = files.as_slice() else { panic!("{files:?}") };
        let name = file.file_name().unwrap().to_string_lossy();
        assert!(name.starts_with("usage-2026-01-") && name.ends_with(".ndjson.gz"), "{name}");
        let mut lines = String::new();
        MultiGzDecoder::new(std::fs::File::open(file).unwrap()).read_to_string(&mut lines).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    async fn quantity(&self, metric: &str, more: &str) -> Value {
        let address = format!("/v1/customers/api/usage?metric={metric}&{more}");
        let reply = Reply::of(self.world.request("GET", &address)).await;
        let body = reply.json();
        if reply.status == 200 { body["quantity"].clone() } else { body["code"].clone() }
    }

    /// The event ids of the list.
    async fn listed(&self) -> Vec<String> {
        let events = self.world.list("/v1/usage_events").await;
        events.iter().map(|event| text(&event["event_id"])).collect()
    }

    async fn invoices(&self) -> Vec<Value> {
        self.world.list("/v1/invoices?limit=100").await
    }
}

/// How many events the database holds, of everybody, by the partition in which they are.
async fn places(world: &World) -> BTreeMap<String, i64> {
    let db = world.app.db.reader();
    let sql = if db.get_database_backend() == sea_orm::DatabaseBackend::Postgres {
        "select tableoid::regclass::text, count(*) from usage_events group by 1"
    } else {
        "select 'usage_events', count(*) from usage_events"
    };
    let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), sql)).await.unwrap();
    rows.iter().map(|row| (row.try_get_by_index(0).unwrap(), row.try_get_by_index(1).unwrap())).collect()
}

const WHOLE_HOURS: &str = "start=2026-01-06T00:00:00Z&end=2026-02-01T00:00:00Z";
const PARTS_OF_HOURS: &str = "start=2026-01-05T10:17:00Z&end=2026-02-05T10:17:00Z";
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
    assert_eq!(of.quantity("calls", PARTS_OF_HOURS).await, archived);
    assert_eq!(of.quantity("users", WHOLE_HOURS).await, archived);
    assert_eq!(of.quantity("n", &format!("{WHOLE_HOURS}&group_by=model")).await, archived);
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
    let rebuilt = Building::begin(db, &tx, of.tenant.id, calls, true).await;
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

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_month_stays_as_long_as_somebody_needs_it(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(of) = Archiving::new(on, "0").await else { return };
    of.go_to("2026-01-06T00:00:00Z").await;
    of.call("a").await;
    of.world.work().await;
    assert!(of.hold().await.unwrap().contains("plan api has a period"));
    of.go_to("2026-02-06T00:00:00Z").await;
    assert!(of.hold().await.unwrap().contains("taken until 2026-03-12 10:17:00 UTC"));
    of.go_to("2026-03-12T10:17:00Z").await;
    assert_eq!(of.hold().await, None);

    of.sell("year", "year", json!([])).await;
    assert_eq!(of.hold().await, None, "what is sold without usage needs none");
    of.world
        .send("PATCH", "/v1/account", &json!({"usage_past_days_max": 100, "allow_unknown_customer": true}))
        .await
        .expect(200);
    let tenant = first_tenant(of.world.app.db.reader(), Mode::Live).await.unwrap().unwrap();
    let of = Archiving { tenant, ..of };
    assert!(of.hold().await.unwrap().contains("taken until 2026-05-16"));
    let waiting = json!({"event_id": "w", "customer_id": "nobody", "event_name": "call",
        "timestamp": "2026-01-20T00:00:00Z"});
    let answer = of.world.post("/v1/usage_events?backfill=true", waiting).await;
    assert_eq!(answer["accepted"], 1, "{answer}");
    of.go_to("2026-06-20T00:00:00Z").await;
    assert!(of.hold().await.unwrap().contains("wait for the customer nobody"));
    of.world.post("/v1/usage_events/w/void", json!({})).await;
    assert_eq!(of.hold().await, None);
    of.go_to("2026-06-21T02:37:00Z").await;
    assert!(of.archive().await.is_none(), "a retention of 0 keeps it for ever");

    let seats = json!({"code": "seats", "name": "Seats", "event_name": "seat", "aggregation": "unique_count",
        "property": "user", "recurring": true});
    of.world.create("/v1/metrics", seats).await;
    assert!(of.hold().await.unwrap().contains("hours of the metric seats"));
}

/// Events of January 2026 of nobody in particular, more than a run reads at once.
const EVENTS: u64 = 5000;

async fn fill(home: &Installation, on: Engine) {
    let db = Database::connect(&home.database_url).await.unwrap();
    let (from, to) = JANUARY.parse::<Month>().unwrap().ids();
    let month = &from.simple().to_string()[..12];
    let columns =
        "tenant_id, id, source, event_id, event_name, customer_id, timestamp, metadata, received_at";
    let live = "(select id from tenants where livemode)";
    let sql = if on == Postgres {
        format!(
            "create table usage_events_2026_01 partition of usage_events for values from ('{from}') to ('{to}');
            insert into usage_events ({columns}) select {live}, ('{month}' || lpad(to_hex(n), 20, '0'))::uuid, '', n,
                'call', '{to}', '2026-01-10T00:00:00Z', '{{\"n\":0.10}}', '2026-01-10T00:00:00Z'
            from generate_series(1, {EVENTS}) as n"
        )
    } else {
        format!(
            "with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < {EVENTS})
            insert into usage_events ({columns}) select {live}, unhex('{month}' || printf('%020x', n)), '', n,
                'call', unhex('{}'), '2026-01-10T00:00:00+00:00', '{{\"n\":0.10}}', '2026-01-10T00:00:00+00:00'
            from numbers",
            to.simple()
        )
    };
    db.execute_unprepared(&sql).await.unwrap();
    db.close().await.unwrap();
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_command_is_given_again_and_every_event_is_in_the_file_once(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(home) = Installation::new(on).await else { return };
    fill(&home, on).await;
    let command = ["archive-usage", "--before", "2026-02", "--json"];
    let said = |printed: &str| serde_json::from_str::<Value>(printed).unwrap()["months"].clone();
    let tried = said(&home.run(&[command.as_slice(), &["--dry-run"]].concat()));
    let folder = home.folder.path().join("usage-archive");

    let killed = home.run_until(&command, &folder).await;
    let done = said(&home.run(&command));
    let again = said(&home.run(&command));

    assert!(killed, "the run was over before it was killed");
    let month = json!({"tenant": tried[0]["tenant"], "month": "2026-01", "events": EVENTS, "file": null, "held": null});
    assert_eq!((&tried, &again), (&json!([month]), &json!([])));
    let file = folder.join(text(&done[0]["file"]));
    let beside = std::fs::read_dir(file.parent().unwrap()).unwrap().count();
    assert_eq!(beside, 1, "what the killed run left is gone");
    let unpacked = std::process::Command::new("gzip").arg("-dc").arg(&file).output().unwrap();
    let lines = String::from_utf8(unpacked.stdout).unwrap();
    let numbers: BTreeSet<u64> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|event| text(&event["event_id"]).parse().unwrap())
        .collect();
    assert_eq!((lines.lines().count() as u64, numbers), (EVENTS, (1..=EVENTS).collect()));
    assert!(lines.lines().all(|line| line.contains(r#""metadata":{"n":0.10}"#)), "numbers as they were sent");
    let db = Database::connect(&home.database_url).await.unwrap();
    let count = Statement::from_string(db.get_database_backend(), "select count(*) from usage_events");
    assert_eq!(db.query_one_raw(count).await.unwrap().unwrap().try_get_by_index::<i64>(0).unwrap(), 0);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_metric_that_carries_its_events_over_keeps_every_month(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(of) = Archiving::two_months(on).await else { return };
    let storage = json!({"code": "storage", "name": "Storage", "event_name": "stored", "aggregation": "sum",
        "property": "n", "recurring": true});
    of.world.create("/v1/metrics", storage).await;
    of.call("e").await;
    of.world.work().await;
    of.skip_to("2026-03-12T10:17:00Z");
    assert_eq!(of.hold().await, None, "it is carried over by the hour");

    let price = json!({"code": "storage", "name": "Storage", "kind": "usage", "metric": "storage",
        "group_by": ["model"], "model": {"type": "per_unit", "unit_price": "1"}});
    of.sell("disk", "month", json!([price])).await;

    assert!(of.hold().await.unwrap().contains("storage looks at all events"));
    of.go_to("2026-03-13T02:37:00Z").await;
    assert!(of.archive().await.is_none());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn archiving_may_die_anywhere_and_be_done_again_by_anybody(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(of) = Archiving::two_months(on).await else { return };
    of.world.clock.advance(TimeDelta::days(3));
    // One dies after writing, with a half-written file of another beside it, and one after noting.
    of.write().await;
    let folder = of.world.app.config.usage_archive_dir.join(of.tenant.id.to_string());
    std::fs::write(folder.join("usage-2026-01.dead.part"), "half").unwrap();
    of.note(of.write().await).await;
    // It was noted already: nothing is left to do for the job but to take the events out.
    assert!(
        archive::months_before(&of.world.app.db, of.tenant.id, "2026-02".parse().unwrap())
            .await
            .unwrap()
            .is_empty()
    );

    let slow = of.write().await;
    let archive = of.note(slow).await;
    archives::check(&of.world.app.config.usage_archive_dir, &archive).await.unwrap();
    while of.remove_some(&archive).await > 0 {}
    archives::tidy(&of.world.app.config.usage_archive_dir, &archive).await.unwrap();

    assert_eq!(of.file().len(), 2);
    assert_eq!(of.listed().await, ["d", "c"]);
    assert_eq!(of.remove_some(&archive).await, 0);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_at_once_archive_once(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(of) = Archiving::two_months(on).await else { return };
    of.world.clock.advance(TimeDelta::days(3));
    let all = || async {
        let archive = of.note(of.write().await).await;
        while of.remove_some(&archive).await > 0 {}
        archive
    };

    let (one, other) = tokio::join!(all(), all());

    assert_eq!(one, other);
    assert_eq!((of.file().len(), one.contents.events), (2, 2));
    assert_eq!(of.listed().await, ["d", "c"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_correction_while_the_file_is_being_written_has_it_written_again(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(of) = Archiving::two_months(on).await else { return };
    of.world.clock.advance(TimeDelta::days(3));
    let written = of.write().await;
    of.world.post("/v1/usage_events/b/void", json!({})).await;

    let tx = of.world.app.db.begin().await.unwrap();
    let noted = service::note(&tx, &*of.world.clock, &of.tenant, written).await.unwrap();
    tx.rollback().await.unwrap();

    assert!(noted.unwrap_err().to_string().contains("corrected just now"));
    of.go_to("2026-03-14T00:00:00Z").await;
    assert!(of.hold().await.unwrap().contains("late for subscription"), "what was voided is to be taken off");
    of.call("e").await;
    for at in ["2026-04-06T00:00:00Z", "2026-04-07T00:00:00Z", "2026-04-07T01:00:00Z"] {
        of.go_to(at).await;
    }
    let voided = of.file().into_iter().find(|event| event["event_id"] == "b").unwrap();
    assert_eq!(voided["history"][0]["change"], "voided");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn events_stay_if_their_file_is_damaged_or_gone(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(of) = Archiving::two_months(on).await else { return };
    of.go_to("2026-03-13T02:37:00Z").await;
    let path = of.world.app.config.usage_archive_dir.join(of.archive().await.unwrap().file);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[1..]).unwrap();
    of.go_to("2026-03-13T03:37:00Z").await;
    let damaged = of.listed().await;

    std::fs::write(&path, &whole).unwrap();
    of.go_to("2026-03-14T03:37:00Z").await;

    assert_eq!(damaged, ["d", "c", "b", "a"]);
    assert_eq!(of.listed().await, ["d", "c"]);
}

/// Some events of test mode, as if they had come in January.
async fn try_out(world: &World, events: u64) {
    let (from, _) = JANUARY.parse::<Month>().unwrap().ids();
    let month = &from.simple().to_string()[..12];
    let sql = format!(
        "insert into usage_events (tenant_id, id, source, event_id, event_name, customer_id, timestamp, metadata,
            received_at)
        select (select id from tenants where not livemode), ('{month}' || lpad(to_hex(n), 20, '0'))::uuid, '',
            'tried-' || n, 'call', '{from}', '2026-01-10T00:00:00Z', '{{}}', '2026-01-10T00:00:00Z'
        from generate_series(1, {events}) as n"
    );
    world.sql(&sql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_partition_of_an_archived_month_is_dropped_and_test_mode_keeps_its_events() {
    let Some(of) = Archiving::two_months(Postgres).await else { return };
    try_out(&of.world, 3).await;
    let before = places(&of.world).await;
    of.skip_to("2026-03-13T02:37:00Z");
    let archive = of.note(of.write().await).await;

    let reading = of.world.app.db.snapshot().await.unwrap();
    reading.execute_unprepared("select count(*) from usage_events").await.unwrap();
    let tx = of.world.app.db.begin().await.unwrap();
    let (removed, ()) =
        tokio::join!(archive::remove(&tx, &archive, of.world.app.now()), of.call("meanwhile"));
    tx.rollback().await.unwrap();
    reading.rollback().await.unwrap();
    let why = removed.unwrap_err().to_string();
    while of.remove_some(&archive).await > 0 {}

    assert!(why.contains("lock timeout"), "who reads for long is not waited for: {why}");
    let of_place = |place: &str, count: i64| (format!("usage_events_{place}"), count);
    let february = of_place("2026_02", 2);
    assert_eq!(before, BTreeMap::from([of_place("2026_01", 5), february.clone()]));
    let after = [of_place("default", 3), february, of_place("2026_03", 1)];
    assert_eq!(places(&of.world).await, BTreeMap::from(after));
    let partitions = "select count(*) from pg_class where relname = 'usage_events_2026_01'";
    let db = of.world.app.db.reader();
    let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), partitions)).await.unwrap();
    assert_eq!(row.unwrap().try_get_by_index::<i64>(0).unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_with_very_many_events_of_others_stays_without_those_that_are_archived() {
    const MANY: u64 = 50_001;
    let Some(of) = Archiving::two_months(Postgres).await else { return };
    try_out(&of.world, MANY).await;

    of.go_to("2026-03-13T02:37:00Z").await;
    of.go_to("2026-03-13T03:37:00Z").await;

    let left = places(&of.world).await;
    assert_eq!(left["usage_events_2026_01"], i64::try_from(MANY).unwrap(), "{left:?}");
    assert_eq!(of.listed().await, ["d", "c"]);
}
