//! One key, one effect, for ever.

use accrue_sandbox_gateway::{ChargeStatus, Sandbox, SandboxError};
use chrono::TimeDelta;

use crate::support::{assert_adds_up, card, charge, now, open, refund, request};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_calls_at_once_with_one_key_on_two_handles_charge_once() {
    let (file, first) = open().await;
    let second = Sandbox::open(file.path()).await.unwrap();
    let method = card(&first, "tok_visa").await;

    let calls: Vec<_> = (0..50)
        .map(|call| {
            let sandbox = if call % 2 == 0 { first.clone() } else { second.clone() };
            let method = method.clone();
            tokio::spawn(async move { charge(&sandbox, "key", &method).await.unwrap() })
        })
        .collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap());
    }

    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(first.succeeded().await.unwrap().len(), 1);
    assert_eq!(second.balances().await.unwrap()["USD"], 1999);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_fifty_calls_at_once_that_time_out_after_acceptance_only_one_is_left_without_an_answer() {
    let (file, first) = open().await;
    let second = Sandbox::open(file.path()).await.unwrap();
    let method = card(&first, "tok_timeout_after_accept").await;

    let calls: Vec<_> = (0..50)
        .map(|call| {
            let sandbox = if call % 2 == 0 { first.clone() } else { second.clone() };
            let method = method.clone();
            tokio::spawn(async move { charge(&sandbox, "key", &method).await })
        })
        .collect();
    let mut timeouts = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok(charge) => assert_eq!(charge.status, ChargeStatus::Succeeded),
            Err(SandboxError::Timeout) => timeouts += 1,
            Err(other) => panic!("{other}"),
        }
    }

    assert_eq!(timeouts, 1);
    assert_eq!(first.balances().await.unwrap()["USD"], 1999);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_attempts_of_a_method_are_counted_exactly_though_they_come_at_once() {
    let (file, first) = open().await;
    let second = Sandbox::open(file.path()).await.unwrap();
    let method = card(&first, "tok_decline_twice_then_ok").await;

    let calls: Vec<_> = (0..40)
        .map(|call| {
            let sandbox = if call % 2 == 0 { first.clone() } else { second.clone() };
            let (method, key) = (method.clone(), format!("key-{}", call / 4));
            tokio::spawn(async move { charge(&sandbox, &key, &method).await.unwrap() })
        })
        .collect();
    let mut declined = std::collections::BTreeSet::new();
    let mut succeeded = std::collections::BTreeSet::new();
    for call in calls {
        let charge = call.await.unwrap();
        let set = if charge.status == ChargeStatus::Declined { &mut declined } else { &mut succeeded };
        set.insert(charge.reference);
    }

    assert_eq!((declined.len(), succeeded.len()), (2, 8));
    assert_adds_up(&first).await;
}

#[tokio::test]
async fn a_declined_charge_stays_declined_for_its_key_and_a_replay_is_no_attempt() {
    let (_file, sandbox) = open().await;
    let method = card(&sandbox, "tok_decline_twice_then_ok").await;

    let first = charge(&sandbox, "first", &method).await.unwrap();
    for _ in 0..3 {
        assert_eq!(charge(&sandbox, "first", &method).await.unwrap(), first);
    }

    assert_eq!(charge(&sandbox, "second", &method).await.unwrap().status, ChargeStatus::Declined);
    assert_eq!(charge(&sandbox, "third", &method).await.unwrap().status, ChargeStatus::Succeeded);
}

#[tokio::test]
async fn a_replay_gets_the_first_answer_though_the_charge_has_moved_on_and_years_have_passed() {
    let (_file, sandbox) = open().await;
    let method = card(&sandbox, "tok_pending").await;
    let first = charge(&sandbox, "key", &method).await.unwrap();
    sandbox.settle(&first.reference, true, now()).await.unwrap();

    let replay = sandbox.charge(&request("key", &method), now() + TimeDelta::days(3000)).await.unwrap();

    assert_eq!(replay, first);
    assert_eq!(sandbox.fetch(&first.reference).await.unwrap().status, ChargeStatus::Succeeded);
}

#[tokio::test]
async fn a_key_with_other_parameters_is_a_conflict_and_has_no_effect() {
    let (_file, sandbox) = open().await;
    let method = card(&sandbox, "tok_visa").await;
    let paid = charge(&sandbox, "key", &method).await.unwrap();

    let mut dearer = request("key", &method);
    dearer.amount_minor += 1;
    let mut tagged = request("key", &method);
    tagged.metadata.insert("attempt".to_owned(), "2".to_owned());
    for other in [dearer, tagged] {
        let conflict = sandbox.charge(&other, now()).await;
        assert!(matches!(conflict, Err(SandboxError::IdempotencyConflict(key)) if key == "key"));
    }
    let conflict = sandbox.refund(&refund("key", &paid, 100), now()).await;
    assert!(matches!(conflict, Err(SandboxError::IdempotencyConflict(_))));

    assert_eq!(sandbox.balances().await.unwrap()["USD"], 1999);
}

#[tokio::test]
async fn what_cannot_be_charged_is_an_invalid_request() {
    let (_file, sandbox) = open().await;
    let method = card(&sandbox, "tok_visa").await;

    let base = request("key", &method);
    let invalid = [
        accrue_sandbox_gateway::ChargeRequest { amount_minor: 0, ..base.clone() },
        accrue_sandbox_gateway::ChargeRequest { amount_minor: -1, ..base.clone() },
        accrue_sandbox_gateway::ChargeRequest { currency: "usd".to_owned(), ..base.clone() },
        accrue_sandbox_gateway::ChargeRequest { currency: "DOLLARS".to_owned(), ..base.clone() },
        accrue_sandbox_gateway::ChargeRequest { idempotency_key: String::new(), ..base.clone() },
        accrue_sandbox_gateway::ChargeRequest { idempotency_key: "k".repeat(256), ..base },
    ];
    for request in invalid {
        let refused = sandbox.charge(&request, now()).await;
        assert!(matches!(refused, Err(SandboxError::InvalidRequest(_))), "{request:?}");
    }
    let unknown = charge(&sandbox, "key", "pm_none").await;
    assert!(matches!(unknown, Err(SandboxError::NotFound { kind: "method", .. })));
}
