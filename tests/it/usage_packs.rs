//! Usage events that come together are one row (decision 0029), and nobody notices.

use chrono::TimeDelta;
use futures_util::future::join_all;
use rstest::rstest;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

use crate::support::{Archiving, Engine, Engine::*, World, text};

const DECISION: &str = include_str!("../../docs/decisions/0029-events-that-come-together-are-one-row.md");

/// A world in March with a customer `acme`, and metrics of the events `call` that are read by the hour and by the event.
async fn world_of_acme(on: Engine) -> Option<World> {
    let world = World::new(on).await?;
    world.clock.advance(TimeDelta::days(60));
    world.send("PATCH", "/v1/account", &json!({"allow_unknown_customer": true})).await.expect(200);
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme"})).await;
    for (code, aggregation) in [("n", "sum"), ("values", "unique_count")] {
        let metric = json!({"code": code, "name": code, "event_name": "call", "aggregation": aggregation,
            "property": "n"});
        world.create("/v1/metrics", metric).await;
    }
    Some(world)
}

fn call(event_id: &str, n: &str, at: &str) -> Value {
    json!({"event_id": event_id, "customer_id": "acme", "event_name": "call", "timestamp": at,
        "metadata": {"n": n}})
}

/// Three calls of one hour in one request.
async fn three_calls(world: &World) {
    let events = json!([
        call("a", "1", "2026-02-10T10:00:00Z"),
        call("b", "2", "2026-02-10T10:20:00Z"),
        call("c", "4", "2026-02-10T10:40:00Z"),
    ]);
    assert_eq!(world.post("/v1/usage_events", events).await["accepted"], 3);
    world.work().await;
}

/// The sum and the number of values in February, the sum of the hour from a quarter past to a quarter past, and
/// the sum of the next day but for its first minute.
async fn quantities(world: &World) -> String {
    let ask = async |metric: &str, start: &str, end: &str| {
        let path = format!("/v1/customers/acme/usage?metric={metric}&start={start}&end={end}");
        text(&world.get(&path).await["quantity"])
    };
    let (february, march) = ("2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z");
    format!(
        "{} {} {} {}",
        ask("n", february, march).await,
        ask("values", february, march).await,
        ask("n", "2026-02-10T10:15:00Z", "2026-02-10T11:15:00Z").await,
        ask("n", "2026-02-11T00:01:00Z", "2026-02-12T00:01:00Z").await,
    )
}

async fn amend(world: &World, event_id: &str, to: Value) -> Value {
    world.post(&format!("/v1/usage_events/{event_id}/amend"), to).await
}

async fn void(world: &World, event_id: &str) -> Value {
    world.post(&format!("/v1/usage_events/{event_id}/void"), json!({})).await
}

/// The first column of what a query finds.
async fn found(world: &World, sql: &str) -> Vec<String> {
    let db = world.app.db.reader();
    let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), sql)).await.unwrap();
    rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn events_of_one_customer_name_and_hour_that_come_together_are_one_row(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = world_of_acme(on).await else { return };
    world.create("/v1/customers", json!({"external_id": "globex", "name": "Globex"})).await;
    let of = |customer: &str, event_name: &str, event_id: &str, at: &str| {
        json!({"event_id": event_id, "customer_id": customer, "event_name": event_name, "timestamp": at,
            "metadata": {"n": "1.50"}})
    };
    let events = json!([
        of("acme", "call", "a", "2026-02-10T10:00:00Z"),
        of("globex", "call", "b", "2026-02-10T10:00:00Z"),
        of("acme", "call", "c", "2026-02-10T10:59:59.999999Z"),
        of("acme", "call", "d", "2026-02-10T11:00:00Z"),
        of("acme", "login", "e", "2026-02-10T10:00:00Z"),
        of("nobody", "call", "f", "2026-02-10T10:00:00Z"),
        of("acme", "call", "c", "2026-02-10T10:59:59.999999Z"),
        of("acme", "call", "g", "2026-02-10T10:01:00Z"),
        of("nobody", "call", "h", "2026-02-10T10:01:00Z"),
    ]);

    let answer = world.post("/v1/usage_events", events).await;

    assert_eq!((&answer["accepted"], &answer["duplicates"]), (&json!(8), &json!(1)), "{answer}");
    let counts = found(&world, "select cast(count as text) from usage_event_packs order by count, id").await;
    assert_eq!(counts, ["1", "1", "1", "2", "3"]);
    for event_id in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let event = world.get(&format!("/v1/usage_events/{event_id}")).await;
        assert_eq!((&event["event_id"], &event["metadata"]["n"]), (&json!(event_id), &json!("1.50")));
        assert_eq!(world.get(&format!("/v1/usage_events/{}", text(&event["id"]))).await, event);
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_voided_and_its_neighbours_are_not(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world_of_acme(on).await else { return };
    three_calls(&world).await;
    assert_eq!(quantities(&world).await, "7 3 6 0");

    assert_eq!(void(&world, "b").await["event_id"], "b");

    assert_eq!(quantities(&world).await, "5 2 4 0");
    let voided: Vec<bool> =
        world.list("/v1/usage_events").await.iter().map(|event| event["voided_at"].is_string()).collect();
    assert_eq!(voided, [false, true, false]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_amended_to_another_time_counts_there_and_stays_what_it_is(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = world_of_acme(on).await else { return };
    three_calls(&world).await;
    let before = world.get("/v1/usage_events/b").await;

    // The next day, a little later in its hour, before its neighbours, and back.
    let steps = [
        ("2026-02-11T09:00:00Z", "7 3 4 2"),
        ("2026-02-10T11:10:00Z", "7 3 6 0"),
        ("2026-02-10T10:45:00Z", "7 3 6 0"),
        ("2026-01-31T23:59:59Z", "5 2 4 0"),
        ("2026-02-10T10:20:00Z", "7 3 6 0"),
    ];
    for (at, expected) in steps {
        let amended = amend(&world, "b", json!({"timestamp": at})).await;
        assert_eq!((&amended["id"], &amended["timestamp"]), (&before["id"], &json!(at)));
        assert_eq!(quantities(&world).await, expected, "{at}");
    }

    amend(&world, "c", json!({"timestamp": "2026-02-11T09:00:00Z"})).await;
    void(&world, "c").await;
    assert_eq!(quantities(&world).await, "3 2 2 0");
    let after = world.get("/v1/usage_events/b").await;
    assert_eq!(after["history"].as_array().unwrap().len(), steps.len());
    let ids: Vec<_> =
        world.list("/v1/usage_events").await.iter().map(|event| text(&event["event_id"])).collect();
    assert_eq!(ids, ["c", "b", "a"], "the order of arrival");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn events_of_one_row_that_are_corrected_at_once_are_all_corrected(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = world_of_acme(on).await else { return };
    three_calls(&world).await;

    let one = amend(&world, "a", json!({"metadata": {"n": "10"}}));
    let other = amend(&world, "b", json!({"timestamp": "2026-02-11T09:00:00Z"}));
    let third = void(&world, "c");
    tokio::join!(one, other, third);

    assert_eq!(quantities(&world).await, "12 2 0 2");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_page_may_begin_and_end_in_the_middle_of_a_row(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world_of_acme(on).await else { return };
    for hour in 10..13 {
        let at = |minute: u32| format!("2026-02-10T{hour}:{minute:02}:00Z");
        let events: Vec<_> = (0..5).map(|event| call(&format!("{hour}-{event}"), "1", &at(event))).collect();
        world.post("/v1/usage_events", json!(events)).await;
    }
    let all = world.list("/v1/usage_events").await;
    assert_eq!((all.len(), &all[0]["event_id"], &all[14]["event_id"]), (15, &json!("12-4"), &json!("10-0")));

    for (filter, wanted) in [("", &all[..]), ("&start=2026-02-10T11:00:00Z&customer=acme", &all[..10])] {
        let page = async |place: String| world.get(&format!("/v1/usage_events?limit=4{filter}{place}")).await;
        let (mut down, mut place) = (Vec::new(), String::new());
        loop {
            let next = page(place).await;
            down.extend(next["data"].as_array().unwrap().clone());
            if next["has_more"] == false {
                break;
            }
            place = format!("&starting_after={}", text(&down.last().unwrap()["id"]));
        }
        let mut up = vec![down.last().unwrap().clone()];
        loop {
            let next = page(format!("&ending_before={}", text(&up[0]["id"]))).await;
            up.splice(0..0, next["data"].as_array().unwrap().clone());
            if next["has_more"] == false {
                break;
            }
        }
        assert_eq!((down.as_slice(), up.as_slice()), (wanted, wanted));
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_rare_source_is_searched_for_in_parts(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world_of_acme(on).await else { return };
    let rare = |event_id: &str| {
        let mut event = call(event_id, "1", "2026-02-10T10:00:00Z");
        event["source"] = json!("rare");
        event
    };
    world.post("/v1/usage_events", json!([rare("first"), rare("second")])).await;
    // 3,000 packs of others that came within the next minute.
    let minute = "substr(hex(id), 1, 8) || 'ffff'";
    let numbers =
        "with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < 3000)";
    let columns = "tenant_id, id, event_name, customer_id, first_at, last_at, count, events, received_at";
    let others = if on == Postgres {
        format!(
            "insert into usage_event_packs ({columns})
            select tenant_id, (left(id::text, 8) || '-ffff-7000-8000-' || lpad(to_hex(n), 8, '0') || '0000')::uuid,
                event_name, customer_id, first_at, last_at, 1, replace(events, 'rare', ''), received_at
            from usage_event_packs, generate_series(1, 3000) as n"
        )
    } else {
        format!(
            "{numbers} insert into usage_event_packs ({columns})
            select tenant_id, unhex({minute} || printf('70008000%08x0000', n)),
                event_name, customer_id, first_at, last_at, 1, replace(events, 'rare', ''), received_at
            from usage_event_packs, numbers"
        )
    };
    world.sql(&others).await;

    let first = world.get("/v1/usage_events?source=rare&limit=1").await;
    let on = |from: &Value| format!("/v1/usage_events?source=rare&limit=1&starting_after={}", text(from));
    let second = world.get(&on(&first["searched_to"])).await;
    let third = world.get(&on(&second["data"][0]["id"])).await;
    let up = format!("/v1/usage_events?source=rare&ending_before={}", text(&third["data"][0]["id"]));
    let up = world.get(&up).await;
    let top = format!("/v1/usage_events?source=none&ending_before={}", text(&up["searched_to"]));
    let top = world.get(&top).await;

    assert_eq!((&first["data"], &first["has_more"]), (&json!([]), &json!(true)), "{first}");
    assert_eq!((&second["data"][0]["event_id"], &second["has_more"]), (&json!("second"), &json!(true)));
    assert_eq!((&third["data"][0]["event_id"], &third["has_more"]), (&json!("first"), &json!(false)));
    assert!(third.get("searched_to").is_none(), "{third}");
    assert_eq!((&up["data"][0]["event_id"], &up["has_more"]), (&json!("second"), &json!(true)));
    assert_eq!((&top["data"], &top["has_more"]), (&json!([]), &json!(false)));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn events_that_wait_together_are_given_together(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world_of_acme(on).await else { return };
    let of_globex = |event_id: &str, n: &str| {
        let mut event = call(event_id, n, "2026-02-10T10:30:00Z");
        event["customer_id"] = json!("globex");
        event
    };
    world
        .post("/v1/usage_events", json!([of_globex("a", "1"), of_globex("b", "2"), of_globex("c", "4")]))
        .await;
    void(&world, "a").await;
    amend(&world, "b", json!({"timestamp": "2026-02-11T12:00:00Z"})).await;

    world.create("/v1/customers", json!({"external_id": "globex", "name": "Globex"})).await;
    world.work().await;

    let february = "start=2026-02-01T00:00:00Z&end=2026-03-01T00:00:00Z";
    for (metric, quantity) in [("n", "6"), ("values", "2")] {
        let usage = world.get(&format!("/v1/customers/globex/usage?metric={metric}&{february}")).await;
        assert_eq!(usage["quantity"], quantity, "{metric}");
    }
    assert!(world.list("/v1/usage_events?awaited_customer=globex").await.is_empty());
    assert_eq!(world.list("/v1/usage_events?customer=globex").await.len(), 3);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_has_every_event_of_a_row_once_in_order_with_its_history(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(of) = Archiving::new(on, "1").await else { return };
    of.go_to("2026-01-10T08:30:00Z").await;
    let batch = |names: &[&str]| json!(names.iter().map(|name| Archiving::event(name)).collect::<Vec<_>>());
    of.world.post("/v1/usage_events", batch(&["a", "b", "c"])).await;
    of.world.post("/v1/usage_events", batch(&["d", "e"])).await;
    for at in ["2026-01-09T00:00:00Z", "2026-01-08T00:00:00Z"] {
        amend(&of.world, "b", json!({"timestamp": at})).await;
    }
    void(&of.world, "d").await;
    of.go_to("2026-02-06T00:00:00Z").await;
    of.go_to("2026-03-10T00:00:00Z").await;
    of.go_to("2026-03-13T02:37:00Z").await;
    of.go_to("2026-03-13T03:37:00Z").await;

    let line = |event: &Value| {
        let history = event["history"].as_array().map_or(0, Vec::len);
        format!("{} {history}", text(&event["event_id"]))
    };
    let lines: Vec<_> = of.file().iter().map(line).collect();
    assert_eq!(lines, ["a 0", "b 2", "c 0", "d 1", "e 0"]);
    let archive = of.archive().await.unwrap();
    assert_eq!(archive.contents.events, 5);
    assert!(of.listed().await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_statement_of_the_decision_unfolds_a_row(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world_of_acme(on).await else { return };
    three_calls(&world).await;
    void(&world, "b").await;
    amend(&world, "c", json!({"metadata": {"n": 1.50}})).await;
    let name = if on == Postgres { "PostgreSQL" } else { "SQLite" };
    let sql = DECISION.split(&format!("-- {name}\n")).nth(1).unwrap().split("```").next().unwrap();

    let line =
        "event_id || ' ' || cast(timestamp as text) || ' ' || metadata || ' ' || (voided_at is not null)";
    let events = found(&world, &format!("select {line} from ({sql}) as events order by 1")).await;

    let at = |minute: &str| match on {
        Postgres => format!("2026-02-10 10:{minute}:00+00"),
        Sqlite => format!("2026-02-10 10:{minute}:00"),
    };
    let is_voided =
        |voided: bool| if on == Postgres { voided.to_string() } else { u8::from(voided).to_string() };
    let expected = [
        ("a", "00", r#"{"n":"1"}"#, false),
        ("b", "20", r#"{"n":"2"}"#, true),
        ("c", "40", r#"{"n":1.5}"#, false),
    ];
    let expected = expected
        .map(|(id, minute, said, voided)| format!("{id} {} {said} {}", at(minute), is_voided(voided)));
    assert_eq!(events, expected);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn large_events_are_stored_in_several_rows_and_all_of_them_count(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = world_of_acme(on).await else { return };
    let large = |number: u32| {
        let mut event = call(&number.to_string(), "1", "2026-02-10T10:30:00Z");
        event["metadata"]["text"] = json!("x".repeat(8000));
        event
    };
    let requests = (0..2).map(|request| {
        let events: Vec<_> = (0..20).map(|number| large(request * 20 + number)).collect();
        world.post("/v1/usage_events", json!(events))
    });

    join_all(requests).await;

    world.work().await;
    assert_eq!(quantities(&world).await, "40 1 40 0");
    let longest = "select cast(max(length(events)) as text) from usage_event_packs";
    assert!(found(&world, longest).await[0].parse::<usize>().unwrap() < 42_000);
}
