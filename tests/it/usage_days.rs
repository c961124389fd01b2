//! Usage is added to days as this process wrote them last (decision 0048): whoever else writes them, and whatever is undone,
//! nothing is lost and nothing doubled.

use chrono::TimeDelta;
use futures_util::{StreamExt, future::join_all, stream};
use rstest::rstest;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::support::{
    Engine::{self, *},
    Reply, World, text,
};

const CUSTOMERS: [&str; 3] = ["acme", "beta", "core"];

/// A world in March with three customers, and a metric that sums the `n` of events `call`.
async fn world_of_three(on: Engine) -> Option<World> {
    let world = World::new(on).await?;
    world.clock.advance(TimeDelta::days(60));
    for customer in CUSTOMERS {
        world.create("/v1/customers", json!({"external_id": customer, "name": customer})).await;
    }
    let metric = json!({"code": "calls", "name": "Calls", "event_name": "call", "aggregation": "sum", "property": "n"});
    world.create("/v1/metrics", metric).await;
    world.post("/v1/usage_events", json!([call("first", "acme", 0)])).await;
    world.work().await;
    Some(world)
}

fn call(event_id: &str, customer: &str, n: usize) -> Value {
    json!({"event_id": event_id, "customer_id": customer, "event_name": "call", "metadata": {"n": n}})
}

async fn send(world: &World, url: &str, query: &str, body: &Value) -> Reply {
    let request = reqwest::Client::new().post(format!("{url}/v1/usage_events{query}"));
    Reply::of(request.bearer_auth(&world.key).json(body)).await
}

async fn used(world: &World) -> [String; 3] {
    let used = CUSTOMERS.map(async |customer| {
        let path = format!("/v1/customers/{customer}/usage?metric=calls");
        text(&world.get(&path).await["quantity"])
    });
    join_all(used).await.try_into().unwrap()
}

fn thrice(n: usize) -> [String; 3] {
    [n, n, n].map(|n| n.to_string())
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn days_are_read_again_only_if_somebody_else_has_written_them(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world_of_three(on).await else { return };
    let call_all = async |turn: usize| {
        let events = CUSTOMERS.map(|customer| call(&format!("{turn}-{customer}"), customer, 1));
        assert_eq!(world.post("/v1/usage_events", json!(events)).await["accepted"], 3);
    };
    for turn in 1..=3 {
        call_all(turn).await;
    }
    assert_eq!(used(&world).await, thrice(3));

    world.sql("update usage_rollups set hours = '[]', total = '[]'").await;
    call_all(4).await;
    assert_eq!(used(&world).await, thrice(4), "nobody saw what stood there");

    world.sql("update usage_rollups set hours = '[]', total = '[]', revision = follows").await;
    for turn in 5..=7 {
        call_all(turn).await;
        assert_eq!(used(&world).await, thrice(turn - 4), "it is what somebody else wrote");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_by_a_commit_that_failed_is_not_added_to() {
    let Some(world) = world_of_three(Postgres).await else { return };
    let refuse =
        "create function refuse() returns trigger language plpgsql as $$ begin raise 'refused'; end $$";
    world.sql(refuse).await;
    for turn in 0..6 {
        let events = json!(CUSTOMERS.map(|customer| call(&format!("{turn}-{customer}"), customer, 1)));
        if turn % 2 == 1 {
            world
                .sql(
                    "create constraint trigger refuse after insert on usage_event_identities \
                    deferrable initially deferred for each row execute function refuse()",
                )
                .await;
            assert!(send(&world, &world.url, "", &events).await.status >= 500);
            world.sql("drop trigger refuse on usage_event_identities").await;
        }
        assert_eq!(world.post("/v1/usage_events", events).await["accepted"], 3);
    }
    assert_eq!(used(&world).await, thrice(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_replicas_add_to_the_same_days_is_all_there() {
    let Some(world) = world_of_three(Postgres).await else { return };
    let urls = [world.url.clone(), world.serve_again()];
    let all_three =
        |name: &str| json!(CUSTOMERS.map(|customer| call(&format!("{name}-{customer}"), customer, 1)));
    for turn in 0..20 {
        let taken = send(&world, &urls[turn % 2], "", &all_three(&format!("turn-{turn}"))).await;
        assert_eq!(taken.json()["accepted"], 3, "{taken:?}");
    }
    assert_eq!(used(&world).await, thrice(20));

    let at_once = (0..200).map(async |number: usize| {
        let event = call(&format!("at-once-{number}"), CUSTOMERS[number % 3], 10);
        let both = all_three(&format!("both-{number}"));
        let body = if number.is_multiple_of(5) { both } else { event };
        let taken = send(&world, &urls[number / 3 % 2], "", &body).await;
        assert_eq!(taken.json()["rejected"], json!([]), "{taken:?}");
    });
    stream::iter(at_once).buffer_unordered(16).collect::<Vec<()>>().await;

    let of = |customer: usize| -> usize {
        let added = |number: usize| match number {
            number if number.is_multiple_of(5) => 1,
            number if number % 3 == customer => 10,
            _ => 0,
        };
        20 + (0..200).map(added).sum::<usize>()
    };
    assert_eq!(used(&world).await, [0, 1, 2].map(|customer| of(customer).to_string()));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_was_undone_is_not_added_to(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world_of_three(on).await else { return };
    for turn in 0..10 {
        let good = json!(CUSTOMERS.map(|customer| call(&format!("good-{turn}-{customer}"), customer, 1)));
        assert_eq!(world.post("/v1/usage_events", good).await["accepted"], 3);
        let mut bad =
            CUSTOMERS.map(|customer| call(&format!("bad-{turn}-{customer}"), customer, 100)).to_vec();
        bad.push(call("bad", "nobody", 1));
        let refused = send(&world, &world.url, "?atomic=true", &json!(bad)).await;
        assert_eq!(refused.status, 422, "{refused:?}");
    }
    assert_eq!(used(&world).await, thrice(10));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn corrections_between_events_count(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = world_of_three(on).await else { return };
    for turn in 0..6 {
        let event = |name: &str, customer| call(&format!("{name}-{turn}-{customer}"), customer, 1);
        let some = CUSTOMERS.iter().flat_map(|customer| [event("one", customer), event("two", customer)]);
        assert_eq!(world.post("/v1/usage_events", json!(some.collect::<Vec<_>>())).await["accepted"], 6);
        for customer in CUSTOMERS {
            world.post(&format!("/v1/usage_events/one-{turn}-{customer}/void"), json!({})).await;
            let amended = json!({"metadata": {"n": 5}});
            world.post(&format!("/v1/usage_events/two-{turn}-{customer}/amend"), amended).await;
        }
    }
    assert_eq!(used(&world).await, thrice(30));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_break_off_lose_and_double_nothing() {
    const SENDERS: usize = 9;
    const EVENTS: usize = 40;

    let Some(world) = world_of_three(Postgres).await else { return };
    let break_off = "select pg_terminate_backend(pid) from pg_stat_activity \
        where datname = current_database() and pid <> pg_backend_pid()";
    let senders = (0..SENDERS).map(async |sender: usize| {
        for number in 0..EVENTS {
            if sender == 0 && number % 4 == 3 {
                world.app.db.reader().execute_unprepared(break_off).await.ok();
            }
            let event = call(&format!("{sender}-{number}"), CUSTOMERS[sender % 3], 1);
            loop {
                let taken = send(&world, &world.url, "", &event).await;
                if taken.status == 200 {
                    let taken = taken.json();
                    assert_eq!(
                        taken["accepted"].as_u64().unwrap() + taken["duplicates"].as_u64().unwrap(),
                        1
                    );
                    break;
                }
            }
        }
    });
    join_all(senders).await;
    assert_eq!(used(&world).await, thrice(SENDERS / 3 * EVENTS));
}
