//! When more usage events wait than can be held, the sender hears it at once, and nothing is lost or half taken.

use std::net::TcpListener;

use accrue::{cli::serve, metering::Grouping};
use futures_util::{StreamExt, stream::FuturesUnordered};
use rstest::rstest;
use sea_orm::{ConnectionTrait, DatabaseTransaction};
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Reply, World};

const BODY_BYTES: usize = 300;
/// Of which so many have room.
const HELD: usize = 3;
const SENT: usize = 8;

fn event(number: usize) -> String {
    let event = |filling: &str| {
        let (event_id, metadata) = (number.to_string(), json!({"filling": filling}));
        json!({"event_id": event_id, "customer_id": "acme", "event_name": "call", "metadata": metadata})
            .to_string()
    };
    event(&"x".repeat(BODY_BYTES - event("").len()))
}

/// While this is open, nothing can be stored.
async fn keep_out(world: &World, on: Engine) -> DatabaseTransaction {
    let tx = world.app.db.begin().await.unwrap();
    if on == Postgres {
        tx.execute_unprepared("lock table usage_event_packs in access exclusive mode").await.unwrap();
    }
    tx
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_answers_503_with_retry_after_and_takes_the_events_when_they_come_again(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme"})).await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/usage_events", listener.local_addr().unwrap());
    let waiting_bytes_max = u32::try_from(BODY_BYTES * (HELD + 1) - 1).unwrap();
    let grouping = Grouping { waiting_bytes_max, ..Grouping::default() };
    let server = serve::start_with(&world.app, listener, grouping).unwrap();
    let handle = server.handle();
    tokio::spawn(server);
    let client = reqwest::Client::new();
    let send = async |number| {
        let request = client.post(&url).bearer_auth(&world.key).header("content-type", "application/json");
        (number, Reply::of(request.body(event(number))).await)
    };

    let writing = keep_out(&world, on).await;
    let mut answers: FuturesUnordered<_> = (0..SENT).map(send).collect();
    let mut refused = Vec::new();
    for _ in HELD..SENT {
        let (number, answer) = answers.next().await.unwrap();
        assert_eq!(answer.status, 503, "{}", answer.text);
        assert_eq!(answer.header("retry-after"), "1");
        assert_eq!(answer.json()["code"], json!("unavailable"));
        refused.push(number);
    }
    writing.rollback().await.unwrap();
    let taken: Vec<_> = answers.collect().await;

    assert!(taken.iter().all(|(_, answer)| answer.status == 200), "{taken:?}");
    assert_eq!(world.list("/v1/usage_events").await.len(), HELD, "what was refused is not there");
    for number in refused {
        let (_, answer) = send(number).await;
        assert_eq!((answer.status, &answer.json()["accepted"]), (200, &json!(1)), "{}", answer.text);
    }
    let mut stored: Vec<_> = world.list("/v1/usage_events").await;
    stored.sort_by_key(|event: &Value| event["event_id"].to_string());
    let ids: Vec<_> = stored.iter().map(|event| event["event_id"].clone()).collect();
    assert_eq!(json!(ids), json!(["0", "1", "2", "3", "4", "5", "6", "7"]));
    handle.stop(false).await;
}
