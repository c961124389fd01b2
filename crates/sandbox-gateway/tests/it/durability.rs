//! What was acknowledged survives those who were told.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use accrue_sandbox_gateway::Sandbox;

use crate::support::{File, assert_adds_up, card, charge, now, open, refund};

const ACKNOWLEDGED: &str = "acknowledged ";

#[tokio::test]
async fn a_handle_dropped_without_closing_loses_nothing() {
    let (file, sandbox) = open().await;
    let method = card(&sandbox, "tok_visa").await;
    let paid = charge(&sandbox, "key", &method).await.unwrap();
    sandbox.refund(&refund("refund", &paid, 1), now()).await.unwrap();
    drop(sandbox);

    let reopened = Sandbox::open(file.path()).await.unwrap();

    assert_eq!(charge(&reopened, "key", &method).await.unwrap(), paid);
    assert_eq!(reopened.balances().await.unwrap()["USD"], 1998);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_file_can_be_opened_by_many_at_once() {
    let file = File::new();

    let openings: Vec<_> = (0..16)
        .map(|_| {
            let path = file.path().to_owned();
            tokio::spawn(async move { Sandbox::open(path).await.map(drop) })
        })
        .collect();

    for opening in openings {
        opening.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn two_killed_processes_lose_nothing_they_acknowledged() {
    let (file, sandbox) = open().await;
    let method = card(&sandbox, "tok_visa").await;
    // The survivors must recover the file alone: nobody holds it open while the processes die.
    drop(sandbox);

    let mut acknowledged = BTreeSet::new();
    for acknowledgements in [1, 7, 20, 40] {
        let mut running = [start(file.path(), &method), start(file.path(), &method)];
        for (_, keys) in &mut running {
            acknowledged.extend(keys.take(acknowledgements));
        }
        for (process, _) in &mut running {
            assert_eq!(process.try_wait().unwrap(), None, "only a kill ends it");
            process.kill().unwrap();
            process.wait().unwrap();
        }

        let reopened = Sandbox::open(file.path()).await.unwrap();
        let succeeded = reopened.succeeded().await.unwrap();
        let charged: BTreeSet<_> = succeeded.into_iter().map(|charge| charge.idempotency_key).collect();
        assert!(acknowledged.is_subset(&charged));
        assert_adds_up(&reopened).await;
    }
    assert_eq!(acknowledged.len(), 2 * (1 + 7 + 20 + 40));
}

/// Runs [`charge_until_killed`] in a process of its own. With it come the keys it acknowledges.
fn start(file: &Path, method: &str) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["durability::charge_until_killed", "--exact", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(process.stdin.take().unwrap(), "{}\n{method}", file.display()).unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
    (process, lines.filter_map(|line| line.strip_prefix(ACKNOWLEDGED).map(str::to_owned)))
}

#[tokio::test]
#[ignore = "not a test: the process that another test kills; reads the file and the method from its input"]
async fn charge_until_killed() {
    let mut input = std::io::stdin().lines();
    let (Some(file), Some(method)) = (input.next(), input.next()) else { return };
    let (file, method) = (file.unwrap(), method.unwrap());

    let sandbox = Sandbox::open(file).await.unwrap();
    loop {
        let key = uuid::Uuid::new_v4().to_string();
        charge(&sandbox, &key, &method).await.unwrap();
        writeln!(std::io::stdout(), "{ACKNOWLEDGED}{key}").unwrap();
    }
}
