//! PostgreSQL's partitions of usage events: there before their month is, and never in anybody's way.

use accrue::metering::partitions::make_ahead;
use accrue_platform::db::Db;
use chrono::TimeDelta;
use rstest::rstest;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

use crate::support::{Engine::*, World, process::Installation};

const PARTITIONS: &str = "
select child.relname || ' ' || coalesce((select string_agg(event ->> 2, ',' order by event ->> 2)
    from usage_event_packs as pack, json_array_elements(events::json) as event where pack.tableoid = child.oid), '-')
from pg_inherits join pg_class as child on child.oid = inhrelid
where inhparent = 'usage_event_packs'::regclass order by 1";

/// Every partition, with the names of the events that stand in it.
async fn partitions(world: &World) -> Vec<String> {
    let db = world.app.db.reader();
    let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), PARTITIONS)).await.unwrap();
    let line = |row: &sea_orm::QueryResult| row.try_get_by_index::<String>(0).unwrap();
    rows.iter().map(|row| line(row).replace("usage_event_packs_", "")).collect()
}

async fn call(world: &World, event_id: &str) {
    let event = json!({"event_id": event_id, "customer_id": "acme", "event_name": "call"});
    let answer = world.post("/v1/usage_events", event).await;
    assert_eq!(answer["accepted"], 1, "{answer}");
}

async fn world_with_customer() -> Option<World> {
    let world = World::new(Postgres).await?;
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme"})).await;
    Some(world)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_goes_into_the_partition_of_the_month_in_which_it_came() {
    let Some(world) = world_with_customer().await else { return };

    call(&world, "new-year").await;
    world.clock.advance(TimeDelta::days(31) - TimeDelta::microseconds(1));
    call(&world, "end-of-january").await;
    world.clock.advance(TimeDelta::microseconds(1));
    call(&world, "february").await;

    let expected =
        ["2026_01 end-of-january,new-year", "2026_02 february", "2026_03 -", "2026_04 -", "default -"];
    assert_eq!(partitions(&world).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_packed_the_fast_way_in_every_partition() {
    const COMPRESSIONS: &str = "
select distinct attcompression::text from pg_inherits join pg_attribute on attrelid = inhrelid
where inhparent = 'usage_event_packs'::regclass and attname = 'events'";
    let Some(world) = World::new(Postgres).await else { return };
    let db = world.app.db.reader();
    let rows =
        db.query_all_raw(Statement::from_string(db.get_database_backend(), COMPRESSIONS)).await.unwrap();
    let told: Vec<String> = rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect();
    assert_eq!(told, ["l"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_months_get_their_partitions_as_time_goes_on_by_however_many_processes() {
    let Some(world) = world_with_customer().await else { return };

    world.clock.advance(TimeDelta::days(31));
    world.sweep().await;
    let in_february = partitions(&world).await;
    world.clock.advance(TimeDelta::days(61));
    let (db, now) = (&world.app.db, world.app.now());
    let made = futures_util::future::join_all((0..4).map(|_| make_ahead(db, now))).await;

    assert!(made.iter().all(Result::is_ok), "{made:?}");
    assert_eq!(in_february, ["2026_01 -", "2026_02 -", "2026_03 -", "2026_04 -", "2026_05 -", "default -"]);
    let months: Vec<String> = (1..=7).map(|month| format!("2026_{month:02} -")).collect();
    assert_eq!(partitions(&world).await, [months.as_slice(), &["default -".to_owned()]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_while_a_month_had_no_partition_is_moved_into_it() {
    let Some(world) = world_with_customer().await else { return };
    // Since the start nobody has led the scheduler.
    world.clock.advance(TimeDelta::days(181));
    call(&world, "july").await;
    world.clock.advance(TimeDelta::days(31));
    call(&world, "august").await;
    let before = (partitions(&world).await, world.list("/v1/usage_events").await);

    world.sweep().await;

    assert_eq!(before.0.last().unwrap(), "default august,july");
    let after = partitions(&world).await;
    // July is over: it has no use for a partition of its own any more.
    assert_eq!(after[4..], ["2026_08 august", "2026_09 -", "2026_10 -", "2026_11 -", "default july"]);
    assert_eq!(world.list("/v1/usage_events").await, before.1);
    let again = json!({"event_id": "august", "customer_id": "acme", "event_name": "call"});
    assert_eq!(world.post("/v1/usage_events", again).await["duplicates"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_for_long_keeps_a_partition_from_being_made_and_events_come_in_meanwhile() {
    let Some(world) = world_with_customer().await else { return };
    world.clock.advance(TimeDelta::days(31));
    let reading = world.app.db.begin_snapshot().await.unwrap();
    Db::fix(&reading).await.unwrap();
    reading.execute_unprepared("select count(*) from usage_event_packs").await.unwrap();

    let (made, ()) = tokio::join!(make_ahead(&world.app.db, world.app.now()), call(&world, "meanwhile"));

    let why = made.unwrap_err().to_string();
    assert!(why.contains("lock timeout"), "{why}");
    assert_eq!(partitions(&world).await.len(), 5);
    reading.rollback().await.unwrap();
    assert_eq!(make_ahead(&world.app.db, world.app.now()).await, Ok(1));
    assert!(partitions(&world).await.contains(&"2026_02 meanwhile".to_owned()));
}

#[rstest]
#[case::together("")]
#[case::alone("?atomic=true")]
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_on_its_way_while_its_month_gets_a_partition_is_taken(#[case] how: &str) {
    let Some(world) = world_with_customer().await else { return };
    world.clock.advance(TimeDelta::days(181));
    let db = &world.app.db;
    // Somebody reads what has no partition: making one waits for that, and the event waits behind it.
    let reading = db.begin_snapshot().await.unwrap();
    Db::fix(&reading).await.unwrap();
    reading.execute_unprepared("select count(*) from usage_event_packs_default").await.unwrap();
    let event = async {
        until_waiting(&world, 1).await;
        let event = json!({"event_id": "a", "customer_id": "acme", "event_name": "call"});
        world.send("POST", &format!("/v1/usage_events{how}"), &event).await
    };
    let end_of_reading = async {
        until_waiting(&world, 2).await;
        reading.rollback().await.unwrap();
    };

    let (made, event, ()) = tokio::join!(make_ahead(db, world.app.now()), event, end_of_reading);

    assert_eq!(made, Ok(4));
    assert_eq!((event.status, &event.json()["accepted"]), (200, &json!(1)), "{}", event.text);
    assert!(partitions(&world).await.contains(&"2026_07 a".to_owned()));
}

/// Until so many wait for a lock, or nobody can any more: locks of partitions are waited for a second.
async fn until_waiting(world: &World, wanted: i64) {
    const WAITING: &str = "select count(*) from pg_locks join pg_database on pg_database.oid = database
        where not granted and datname = current_database()";
    let db = world.app.db.reader();
    let statement = Statement::from_string(db.get_database_backend(), WAITING);
    for _ in 0..10_000 {
        let row = db.query_one_raw(statement.clone()).await.unwrap().unwrap();
        if row.try_get_by_index::<i64>(0).unwrap() >= wanted {
            return;
        }
    }
    panic!("nobody waits");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_says_that_a_month_has_no_partition() {
    let Some(home) = Installation::new(Postgres).await else { return };
    home.run(&["migrate", "up"]);
    let well = check(&home);
    let db = sea_orm::Database::connect(&home.database_url).await.unwrap();
    let sql =
        "do $$ begin execute (select string_agg('drop table ' || inhrelid::regclass, ';') from pg_inherits
        where inhparent = 'usage_event_packs'::regclass and inhrelid <> 'usage_event_packs_default'::regclass); end $$";
    db.execute_unprepared(sql).await.unwrap();
    db.close().await.unwrap();

    let unwell = check(&home);

    assert_eq!(well["ok"], true, "{well}");
    assert_eq!(unwell["ok"], false, "{unwell}");
    assert!(unwell["detail"].as_str().unwrap().contains("role all or worker"), "{unwell}");
}

fn check(home: &Installation) -> Value {
    let (_, printed) = home.try_run(&["doctor", "--json"]);
    let said: Value = serde_json::from_str(&printed).unwrap();
    said["checks"].as_array().unwrap().iter().find(|check| check["name"] == "partitions").unwrap().clone()
}
