//! How usage events leave the database: when they may, and that nobody's death or haste loses one.

use std::collections::{BTreeMap, BTreeSet};

use accrue::{
    archives::{self, service},
    auth::{Mode, service::first_tenant},
    metering::{Month, archive},
};
use accrue_platform::db::Db;
use chrono::TimeDelta;
use rstest::rstest;
use sea_orm::{ConnectionTrait, Database, Statement};
use serde_json::{Value, json};

use crate::support::{
    Archiving, Engine,
    Engine::*,
    World,
    archiving::{JANUARY, places},
    process::Installation,
    text,
};

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
        "prorate": true, "model": {"type": "per_unit", "unit_price": "1"}});
    of.sell("disk", "month", json!([price])).await;

    assert!(of.hold().await.unwrap().contains("storage looks at all events"));
    of.go_to("2026-03-13T02:37:00Z").await;
    assert!(of.archive().await.is_none());
}

/// Events of January 2026 of nobody in particular, five in a pack, in more packs than a run reads at once.
const EVENTS: u64 = 5000;

async fn fill(home: &Installation, on: Engine) {
    let db = Database::connect(&home.database_url).await.unwrap();
    let (from, to) = JANUARY.parse::<Month>().unwrap().ids();
    let month = &from.simple().to_string()[..12];
    let columns = "tenant_id, id, event_name, customer_id, first_at, last_at, count, events, received_at";
    let live = "(select id from tenants where livemode)";
    let sql = if on == Postgres {
        format!(
            "create table usage_event_packs_2026_01 partition of usage_event_packs for values from ('{from}') to ('{to}');
            insert into usage_event_packs ({columns})
            select {live}, ('{month}' || lpad(to_hex(n / 5), 16, '0') || '0000')::uuid, 'call', '{to}',
                '2026-01-10T00:00:00Z', '2026-01-10T00:00:00Z', count(*),
                '[' || string_agg(format('[%s,\"\",\"%s\",1768003200000000,{{\"n\":0.10}}]', n % 5, n), ',' order by n) || ']',
                '2026-01-10T00:00:00Z'
            from generate_series(1, {EVENTS}) as n group by n / 5"
        )
    } else {
        format!(
            "with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < {EVENTS})
            insert into usage_event_packs ({columns})
            select {live}, unhex('{month}' || printf('%016x0000', n / 5)), 'call', unhex('{}'),
                '2026-01-10T00:00:00+00:00', '2026-01-10T00:00:00+00:00', count(*),
                '[' || group_concat(printf('[%d,\"\",\"%d\",1768003200000000,{{\"n\":0.10}}]', n % 5, n)) || ']',
                '2026-01-10T00:00:00+00:00'
            from numbers group by n / 5",
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
    let count = Statement::from_string(db.get_database_backend(), "select count(*) from usage_event_packs");
    assert_eq!(db.query_one_raw(count).await.unwrap().unwrap().try_get_by_index::<i64>(0).unwrap(), 0);
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
        "insert into usage_event_packs (tenant_id, id, event_name, customer_id, first_at, last_at, count, events,
            received_at)
        select (select id from tenants where not livemode), ('{month}' || lpad(to_hex(n), 16, '0') || '0000')::uuid,
            'call', '{from}', '2026-01-10T00:00:00Z', '2026-01-10T00:00:00Z', 1,
            format('[[0,\"\",\"tried-%s\",1768003200000000,{{}}]]', n), '2026-01-10T00:00:00Z'
        from generate_series(1, {events}) as n"
    );
    world.sql(&sql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_file_was_not_read_once_more_keeps_the_events_when_the_partition_is_dropped() {
    let Some(of) = Archiving::two_months(Postgres).await else { return };
    try_out(&of.world, 3).await;
    of.skip_to("2026-03-13T02:37:00Z");
    let archive = of.note(of.write().await).await;
    let noted = "insert into usage_archives
        select (select id from tenants where not livemode), id, month, event_names, events_before, final_before,
            file, events, bytes, sha256, archived_at, null, null
        from usage_archives";
    of.world.sql(noted).await;

    while of.remove_some(&archive).await > 0 {}

    assert_eq!(
        places(&of.world).await.values().sum::<i64>(),
        2 + 3,
        "the other month's, and those of test mode"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_partition_of_an_archived_month_is_dropped_and_test_mode_keeps_its_events() {
    let Some(of) = Archiving::two_months(Postgres).await else { return };
    try_out(&of.world, 3).await;
    let before = places(&of.world).await;
    of.skip_to("2026-03-13T02:37:00Z");
    let archive = of.note(of.write().await).await;

    let reading = of.world.app.db.begin_snapshot().await.unwrap();
    Db::fix(&reading).await.unwrap();
    reading.execute_unprepared("select count(*) from usage_event_packs").await.unwrap();
    let tx = of.world.app.db.begin().await.unwrap();
    let (removed, ()) =
        tokio::join!(archive::remove(&tx, &archive, of.world.app.now()), of.call("meanwhile"));
    tx.rollback().await.unwrap();
    reading.rollback().await.unwrap();
    let why = removed.unwrap_err().to_string();
    while of.remove_some(&archive).await > 0 {}

    assert!(why.contains("lock timeout"), "who reads for long is not waited for: {why}");
    let of_place = |place: &str, count: i64| (format!("usage_event_packs_{place}"), count);
    let february = of_place("2026_02", 2);
    assert_eq!(before, BTreeMap::from([of_place("2026_01", 5), february.clone()]));
    let after = [of_place("default", 3), february, of_place("2026_03", 1)];
    assert_eq!(places(&of.world).await, BTreeMap::from(after));
    let partitions = "select count(*) from pg_class where relname = 'usage_event_packs_2026_01'";
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
    assert_eq!(left["usage_event_packs_2026_01"], i64::try_from(MANY).unwrap(), "{left:?}");
    assert_eq!(of.listed().await, ["d", "c"]);
}
