//! A customer in live mode whose usage gets old, and is archived.

use std::{collections::BTreeMap, io::Read};

use accrue::{
    archives::{self, Written, service},
    auth::{KeyKind, Mode, Tenant, service::first_tenant},
    metering::{Archive, Month, archive},
};
use chrono::{DateTime, Utc};
use flate2::read::MultiGzDecoder;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

use super::{Engine, Reply, World, text};

/// The month in which everything begins.
pub const JANUARY: &str = "2026-01";

/// A customer in live mode who pays by calls, by users and by model, from 5 January 10:17 on.
pub struct Archiving {
    pub world: World,
    pub tenant: Tenant,
}

impl Archiving {
    pub async fn new(on: Engine, retention_months: &str) -> Option<Self> {
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
        of.sell("api", "month", Self::prices()).await;
        Some(of)
    }

    pub fn prices() -> Value {
        let price = |metric: &str, group_by: Value| {
            json!({"code": metric, "name": metric, "kind": "usage", "metric": metric, "group_by": group_by,
                "model": {"type": "per_unit", "unit_price": "1"}})
        };
        json!([price("calls", json!([])), price("users", json!([])), price("n", json!(["model"]))])
    }

    /// Sells a plan to a new customer of its name.
    pub async fn sell(&self, code: &str, unit: &str, prices: Value) {
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
    pub fn skip_to(&self, at: &str) {
        let at: DateTime<Utc> = at.parse().unwrap();
        self.world.clock.advance(at - self.world.app.now());
    }

    pub async fn go_to(&self, at: &str) {
        self.skip_to(at);
        self.world.sweep().await;
    }

    pub fn event(event_id: &str) -> Value {
        json!({"event_id": event_id, "customer_id": "api", "event_name": "call",
            "metadata": {"user": event_id, "n": "0.10", "model": "pro"}})
    }

    /// Sends an event that happens now.
    pub async fn call(&self, event_id: &str) {
        let answer = self.world.post("/v1/usage_events", Self::event(event_id)).await;
        assert_eq!(answer["accepted"], 1, "{answer}");
    }

    /// January and February as they were, and what was billed for them; nothing is archived.
    pub async fn two_months(on: Engine) -> Option<Self> {
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
    pub async fn archived(on: Engine) -> Option<Self> {
        let of = Self::two_months(on).await?;
        of.go_to("2026-03-13T02:37:00Z").await;
        of.go_to("2026-03-13T03:37:00Z").await;
        Some(of)
    }

    pub async fn archive(&self) -> Option<Archive> {
        let (db, january) = (self.world.app.db.reader(), JANUARY.parse().unwrap());
        archive::find(db, self.tenant.id, january).await.unwrap()
    }

    /// Why January stays.
    pub async fn hold(&self) -> Option<String> {
        let tx = self.world.app.db.begin().await.unwrap();
        let clock = &*self.world.clock;
        let held = service::hold(&tx, clock, &self.tenant, JANUARY.parse().unwrap()).await.unwrap();
        tx.rollback().await.unwrap();
        held.map(|held| held.to_string())
    }

    pub async fn write(&self) -> Written {
        let app = &self.world.app;
        let month = (&self.tenant, JANUARY.parse::<Month>().unwrap());
        archives::write(&app.db, &*app.clock, &app.config.usage_archive_dir, month, |_| ()).await.unwrap()
    }

    pub async fn note(&self, written: Written) -> Archive {
        let tx = self.world.app.db.begin().await.unwrap();
        let noted = service::note(&tx, &*self.world.clock, &self.tenant, written).await.unwrap().unwrap();
        tx.commit().await.unwrap();
        noted
    }

    pub async fn remove_some(&self, archive: &Archive) -> u64 {
        let tx = self.world.app.db.begin().await.unwrap();
        let removed = archive::remove(&tx, archive, self.world.app.now()).await.unwrap();
        tx.commit().await.unwrap();
        removed
    }

    /// The events of the only file, which any gzip unpacks.
    pub fn file(&self) -> Vec<Value> {
        let folder = self.world.app.config.usage_archive_dir.join(self.tenant.id.to_string());
        let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        let [file] = files.as_slice() else { panic!("{files:?}") };
        let name = file.file_name().unwrap().to_string_lossy();
        assert!(name.starts_with("usage-2026-01-") && name.ends_with(".ndjson.gz"), "{name}");
        let mut lines = String::new();
        MultiGzDecoder::new(std::fs::File::open(file).unwrap()).read_to_string(&mut lines).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub async fn quantity(&self, metric: &str, more: &str) -> Value {
        let address = format!("/v1/customers/api/usage?metric={metric}&{more}");
        let reply = Reply::of(self.world.request("GET", &address)).await;
        let body = reply.json();
        if reply.status == 200 { body["quantity"].clone() } else { body["code"].clone() }
    }

    /// The event ids of the list.
    pub async fn listed(&self) -> Vec<String> {
        let events = self.world.list("/v1/usage_events").await;
        events.iter().map(|event| text(&event["event_id"])).collect()
    }

    pub async fn invoices(&self) -> Vec<Value> {
        self.world.list("/v1/invoices?limit=100").await
    }
}

/// How many events the database holds, of everybody, by the partition in which they are.
pub async fn places(world: &World) -> BTreeMap<String, i64> {
    let db = world.app.db.reader();
    let sql = if db.get_database_backend() == sea_orm::DatabaseBackend::Postgres {
        "select tableoid::regclass::text, sum(count)::bigint from usage_event_packs group by 1"
    } else {
        "select 'usage_event_packs', sum(count) from usage_event_packs"
    };
    let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), sql)).await.unwrap();
    rows.iter().map(|row| (row.try_get_by_index(0).unwrap(), row.try_get_by_index(1).unwrap())).collect()
}
