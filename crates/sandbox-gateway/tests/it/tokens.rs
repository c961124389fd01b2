//! What each token does.

use std::time::{Duration, Instant};

use accrue_sandbox_gateway::{ChargeStatus, DisputeStatus, EntryKind, SandboxError, tokens};
use chrono::Datelike;

use crate::support::{all_entries, assert_adds_up, card, charge, now, open, request};

/// What an off-session charge that takes the money at once leads to the first time: its status with the
/// decline code, or its error.
const FIRST_ANSWERS: &[(&str, &str)] = &[
    ("tok_visa", "succeeded"),
    ("tok_mastercard", "succeeded"),
    ("tok_decline_insufficient_funds", "declined insufficient_funds"),
    ("tok_decline_stolen", "declined stolen_card"),
    ("tok_decline_expired_card", "declined expired_card"),
    ("tok_decline_do_not_honor", "declined do_not_honor"),
    ("tok_decline_fraudulent", "declined fraudulent"),
    ("tok_decline_merchant_blocked", "declined merchant_blocked"),
    ("tok_decline_then_ok", "declined insufficient_funds"),
    ("tok_decline_twice_then_ok", "declined insufficient_funds"),
    ("tok_requires_action", "declined authentication_required"),
    ("tok_timeout_after_accept", "the gateway did not answer in time"),
    ("tok_timeout_before_accept", "the gateway did not answer in time"),
    ("tok_slow", "succeeded"),
    ("tok_unavailable", "the gateway is unavailable"),
    ("tok_pending", "pending"),
    ("tok_dispute", "succeeded"),
    ("tok_invalid_request", "invalid request: this card refuses every request"),
];

#[tokio::test]
async fn every_token_answers_as_documented_also_in_a_process_that_did_not_attach_it() {
    let (file, attacher) = open().await;
    let charger = accrue_sandbox_gateway::Sandbox::open(file.path()).await.unwrap();
    let charger = charger.with_slow_delay(Duration::ZERO);

    let mut answers = Vec::new();
    for token in tokens() {
        let method = card(&attacher, token).await;
        let answer = match charge(&charger, token, &method).await {
            Ok(charge) => match charge.decline_code {
                Some(code) => format!("{} {code}", charge.status),
                None => charge.status.to_string(),
            },
            Err(error) => error.to_string(),
        };
        answers.push((token, answer));
    }

    let expected: Vec<_> =
        FIRST_ANSWERS.iter().map(|(token, answer)| (*token, (*answer).to_owned())).collect();
    assert_eq!(answers, expected);
    assert_adds_up(&charger).await;
}

#[tokio::test]
async fn an_unknown_token_or_customer_is_refused() {
    let (_file, sandbox) = open().await;
    let customer = sandbox.create_customer(now()).await.unwrap();

    let token = sandbox.attach("tok_nonesuch", &customer, now()).await;
    let nobody = sandbox.attach("tok_visa", "cus_nobody", now()).await;

    assert!(matches!(token, Err(SandboxError::UnknownToken(token)) if token == "tok_nonesuch"));
    assert!(matches!(nobody, Err(SandboxError::NotFound { kind: "customer", .. })));
}

#[tokio::test]
async fn a_customer_has_the_methods_that_were_attached_to_it_oldest_first() {
    let (_file, sandbox) = open().await;
    let customer = sandbox.create_customer(now()).await.unwrap();
    card(&sandbox, "tok_visa").await;

    let first = sandbox.attach("tok_mastercard", &customer, now()).await.unwrap();
    let second = sandbox.attach("tok_visa", &customer, now()).await.unwrap();

    assert_eq!((first.brand.as_str(), first.last4.as_str()), ("mastercard", "4444"));
    assert_eq!((second.exp_month, i32::from(second.exp_year)), (1, now().year() + 3));
    assert_eq!(sandbox.methods(&customer).await.unwrap(), [first, second]);
}

#[tokio::test]
async fn the_first_charges_of_a_method_decline_and_later_ones_succeed() {
    let (_file, sandbox) = open().await;
    for (token, declines) in [("tok_decline_then_ok", 1), ("tok_decline_twice_then_ok", 2)] {
        let method = card(&sandbox, token).await;

        let mut statuses = Vec::new();
        for attempt in 0..4 {
            statuses.push(charge(&sandbox, &format!("{token}-{attempt}"), &method).await.unwrap().status);
        }

        let declined = statuses.iter().take_while(|status| **status == ChargeStatus::Declined).count();
        let succeeded = statuses.iter().filter(|status| **status == ChargeStatus::Succeeded).count();
        assert_eq!((declined, succeeded), (declines, 4 - declines), "{token}");
    }
}

#[tokio::test]
async fn a_charge_that_timed_out_after_acceptance_took_the_money_once() {
    let (_file, sandbox) = open().await;
    let method = card(&sandbox, "tok_timeout_after_accept").await;

    assert!(matches!(charge(&sandbox, "key", &method).await, Err(SandboxError::Timeout)));

    let found = sandbox.find_by_idempotency_key("key").await.unwrap().unwrap();
    assert_eq!((found.status, found.captured_minor), (ChargeStatus::Succeeded, 1999));
    assert_eq!(charge(&sandbox, "key", &method).await.unwrap(), found);
    assert_eq!(sandbox.balances().await.unwrap(), [("USD".to_owned(), 1999)].into());
}

#[tokio::test]
async fn a_charge_that_timed_out_before_acceptance_took_nothing_and_succeeds_with_the_same_key() {
    let (_file, sandbox) = open().await;
    let method = card(&sandbox, "tok_timeout_before_accept").await;

    assert!(matches!(charge(&sandbox, "key", &method).await, Err(SandboxError::Timeout)));
    assert_eq!(sandbox.find_by_idempotency_key("key").await.unwrap(), None);
    assert!(sandbox.balances().await.unwrap().is_empty());

    assert_eq!(charge(&sandbox, "key", &method).await.unwrap().status, ChargeStatus::Succeeded);
    assert!(matches!(charge(&sandbox, "other", &method).await, Err(SandboxError::Timeout)));
}

#[tokio::test]
async fn an_unavailable_gateway_and_an_invalid_request_have_no_effect_however_often() {
    let (_file, sandbox) = open().await;
    let unavailable = card(&sandbox, "tok_unavailable").await;
    let invalid = card(&sandbox, "tok_invalid_request").await;

    for _ in 0..2 {
        assert!(matches!(charge(&sandbox, "a", &unavailable).await, Err(SandboxError::Unavailable)));
        assert!(matches!(charge(&sandbox, "b", &invalid).await, Err(SandboxError::InvalidRequest(_))));
    }

    assert_eq!(sandbox.find_by_idempotency_key("a").await.unwrap(), None);
    assert_eq!(sandbox.find_by_idempotency_key("b").await.unwrap(), None);
    let visa = card(&sandbox, "tok_visa").await;
    assert!(charge(&sandbox, "a", &visa).await.is_ok());
}

#[tokio::test]
async fn a_slow_charge_is_durable_before_it_is_answered() {
    let (_file, sandbox) = open().await;
    let delay = Duration::from_secs(1);
    let method = card(&sandbox, "tok_slow").await;

    let started = Instant::now();
    let slow = sandbox.clone().with_slow_delay(delay);
    let answer = tokio::spawn(async move { charge(&slow, "key", &method).await.unwrap() });
    let found = loop {
        if let Some(found) = sandbox.find_by_idempotency_key("key").await.unwrap() {
            break found;
        }
    };

    assert!(!answer.is_finished());
    assert_eq!(answer.await.unwrap(), found);
    assert_eq!(found.status, ChargeStatus::Succeeded);
    assert!(started.elapsed() >= delay);
}

#[tokio::test]
async fn every_call_of_a_merchant_takes_the_configured_delay() {
    let (_file, sandbox) = open().await;
    let method = card(&sandbox, "tok_visa").await;
    let sandbox = sandbox.with_delay(Duration::from_millis(100));

    let started = Instant::now();
    charge(&sandbox, "key", &method).await.unwrap();
    sandbox.find_by_idempotency_key("key").await.unwrap();

    assert!(started.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_disputed_charge_succeeds_and_then_loses_its_money_until_the_dispute_is_won() {
    let (_file, sandbox) = open().await;
    let method = card(&sandbox, "tok_dispute").await;

    let answered = charge(&sandbox, "key", &method).await.unwrap();
    assert_eq!((answered.status, answered.dispute), (ChargeStatus::Succeeded, None));

    let dispute = sandbox.fetch(&answered.reference).await.unwrap().dispute.unwrap();
    assert_eq!((dispute.status, dispute.amount_minor), (DisputeStatus::Open, 1999));
    assert_eq!(sandbox.balances().await.unwrap()["USD"], 0);

    for _ in 0..2 {
        let closed = sandbox.close_dispute(&answered.reference, true, now()).await.unwrap();
        assert_eq!(closed.dispute.unwrap().status, DisputeStatus::Won);
    }
    let kinds: Vec<_> = all_entries(&sandbox).await.into_iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [EntryKind::Capture, EntryKind::Dispute, EntryKind::DisputeWon]);
    assert_adds_up(&sandbox).await;
}

#[tokio::test]
async fn a_dispute_waits_for_the_capture_and_a_lost_one_keeps_the_money_away() {
    let (_file, sandbox) = open().await;
    let method = card(&sandbox, "tok_dispute").await;
    let mut authorize = request("key", &method);
    authorize.capture = false;
    let held = sandbox.charge(&authorize, now()).await.unwrap();
    assert_eq!(sandbox.fetch(&held.reference).await.unwrap().dispute, None);

    let captured = sandbox.capture(&held.reference, 500, now()).await.unwrap();
    assert_eq!(captured.dispute.unwrap().amount_minor, 500);

    let closed = sandbox.close_dispute(&held.reference, false, now()).await.unwrap();
    assert_eq!(closed.dispute.unwrap().status, DisputeStatus::Lost);
    assert_eq!(sandbox.balances().await.unwrap()["USD"], 0);
    assert_adds_up(&sandbox).await;
}

#[tokio::test]
async fn a_charge_without_a_dispute_has_none_to_close() {
    let (_file, sandbox) = open().await;
    let method = card(&sandbox, "tok_visa").await;
    let paid = charge(&sandbox, "key", &method).await.unwrap();

    let closed = sandbox.close_dispute(&paid.reference, true, now()).await;

    assert!(matches!(closed, Err(SandboxError::NotFound { kind: "dispute", .. })));
}
