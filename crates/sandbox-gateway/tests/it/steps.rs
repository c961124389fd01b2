//! What happens to a charge after its first answer.

use accrue_sandbox_gateway::{Charge, ChargeStatus, Sandbox, SandboxError};

use crate::support::{assert_adds_up, card, charge, now, open, request};

async fn on_session(sandbox: &Sandbox, key: &str, capture: bool) -> Charge {
    let method = card(sandbox, "tok_requires_action").await;
    let mut request = request(key, &method);
    request.off_session = false;
    request.capture = capture;
    sandbox.charge(&request, now()).await.unwrap()
}

async fn authorized(sandbox: &Sandbox) -> Charge {
    let method = card(sandbox, "tok_visa").await;
    let mut request = request("authorize", &method);
    request.capture = false;
    sandbox.charge(&request, now()).await.unwrap()
}

#[tokio::test]
async fn a_customer_who_is_there_completes_the_action_and_the_money_is_taken_once() {
    let (_file, sandbox) = open().await;
    let asked = on_session(&sandbox, "key", true).await;
    assert_eq!((asked.status, asked.captured_minor), (ChargeStatus::RequiresAction, 0));

    for _ in 0..2 {
        let completed = sandbox.complete_action(&asked.reference, now()).await.unwrap();
        assert_eq!((completed.status, completed.captured_minor), (ChargeStatus::Succeeded, 1999));
    }
    assert_eq!(sandbox.balances().await.unwrap()["USD"], 1999);
    assert_adds_up(&sandbox).await;
}

#[tokio::test]
async fn a_completed_action_only_authorizes_what_is_to_be_captured_later() {
    let (_file, sandbox) = open().await;
    let asked = on_session(&sandbox, "key", false).await;

    let completed = sandbox.complete_action(&asked.reference, now()).await.unwrap();

    assert_eq!((completed.status, completed.captured_minor), (ChargeStatus::Authorized, 0));
}

#[tokio::test]
async fn a_failed_action_declines_for_good() {
    let (_file, sandbox) = open().await;
    let asked = on_session(&sandbox, "key", true).await;

    let failed = sandbox.fail_action(&asked.reference, now()).await.unwrap();
    assert_eq!(failed.status, ChargeStatus::Declined);
    assert_eq!(failed.decline_code.as_deref(), Some("authentication_failed"));

    let late = sandbox.complete_action(&asked.reference, now()).await;
    assert!(matches!(late, Err(SandboxError::IllegalStep(_))));
    assert!(sandbox.balances().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_pending_charge_settles_once_either_way() {
    let (_file, sandbox) = open().await;
    let method = card(&sandbox, "tok_pending").await;
    let first = charge(&sandbox, "first", &method).await.unwrap();
    let second = charge(&sandbox, "second", &method).await.unwrap();
    assert_eq!(first.status, ChargeStatus::Pending);
    assert!(matches!(sandbox.cancel(&first.reference, now()).await, Err(SandboxError::IllegalStep(_))));

    for _ in 0..2 {
        let paid = sandbox.settle(&first.reference, true, now()).await.unwrap();
        assert_eq!((paid.status, paid.captured_minor), (ChargeStatus::Succeeded, 1999));
        let unpaid = sandbox.settle(&second.reference, false, now()).await.unwrap();
        assert_eq!(unpaid.status, ChargeStatus::Declined);
        assert_eq!(unpaid.decline_code.as_deref(), Some("insufficient_funds"));
    }
    assert!(matches!(
        sandbox.settle(&first.reference, false, now()).await,
        Err(SandboxError::IllegalStep(_))
    ));
    assert_eq!(sandbox.balances().await.unwrap()["USD"], 1999);
    assert_adds_up(&sandbox).await;
}

#[tokio::test]
async fn a_part_of_an_authorized_amount_is_captured_once() {
    let (_file, sandbox) = open().await;
    let held = authorized(&sandbox).await;
    assert_eq!((held.status, held.captured_minor), (ChargeStatus::Authorized, 0));
    assert!(sandbox.balances().await.unwrap().is_empty());

    for wrong in [0, -1, 2000] {
        let refused = sandbox.capture(&held.reference, wrong, now()).await;
        assert!(matches!(refused, Err(SandboxError::InvalidRequest(_))), "{wrong}");
    }
    for _ in 0..2 {
        let captured = sandbox.capture(&held.reference, 1500, now()).await.unwrap();
        assert_eq!((captured.status, captured.captured_minor), (ChargeStatus::Succeeded, 1500));
    }
    let more = sandbox.capture(&held.reference, 1999, now()).await;
    assert!(matches!(more, Err(SandboxError::InvalidRequest(_))));
    assert_eq!(sandbox.balances().await.unwrap()["USD"], 1500);
    assert_adds_up(&sandbox).await;
}

#[tokio::test]
async fn a_canceled_authorization_cannot_be_captured_and_taken_money_cannot_be_canceled() {
    let (_file, sandbox) = open().await;
    let held = authorized(&sandbox).await;
    let method = card(&sandbox, "tok_visa").await;
    let paid = charge(&sandbox, "paid", &method).await.unwrap();

    for _ in 0..2 {
        assert_eq!(sandbox.cancel(&held.reference, now()).await.unwrap().status, ChargeStatus::Canceled);
    }

    let captured = sandbox.capture(&held.reference, 1999, now()).await;
    assert!(matches!(captured, Err(SandboxError::IllegalStep(_))));
    assert!(matches!(sandbox.cancel(&paid.reference, now()).await, Err(SandboxError::IllegalStep(_))));
}

#[tokio::test]
async fn a_step_of_an_unknown_charge_is_refused() {
    let (_file, sandbox) = open().await;

    let canceled = sandbox.cancel("ch_none", now()).await;

    assert!(matches!(canceled, Err(SandboxError::NotFound { kind: "charge", .. })));
}
