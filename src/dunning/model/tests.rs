use accrue_core::{
    id::{PaymentAttemptId, PaymentId, PaymentMethodId},
    money::Currency,
};

use super::*;
use crate::payments::{AttemptStatus, PaymentAttempt, PaymentStatus};

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn first_failure() -> DateTime<Utc> {
    at("2026-02-01T09:30:00Z")
}

fn payment() -> Payment {
    Payment {
        tenant_id: TenantId::new(first_failure()),
        id: PaymentId::new(first_failure()),
        customer_id: CustomerId::new(first_failure()),
        test_clock_id: None,
        invoice_id: InvoiceId::new(first_failure()),
        status: PaymentStatus::Failed,
        amount: Money::from_minor(1000, Currency::USD),
        refunded: Money::zero(Currency::USD),
        decline_code: None,
        decline_class: None,
        attempts: Vec::new(),
        metadata: Metadata::new(),
        created_at: first_failure(),
    }
}

/// The card that is charged unless told otherwise.
fn card() -> PaymentMethodId {
    "pm_01979f0c6a5e7c1f8f6d2b1a9e3c4d5f".parse().unwrap()
}

fn decline(payment: &mut Payment, reason: &str, code: &str) {
    decline_by(payment, card(), reason, code);
}

fn decline_by(payment: &mut Payment, method: PaymentMethodId, reason: &str, code: &str) {
    let class = Some(decline::classify(code));
    payment.attempts.push(PaymentAttempt {
        id: PaymentAttemptId::new(first_failure()),
        payment_id: payment.id,
        payment_method_id: method,
        position: i32::try_from(payment.attempts.len()).unwrap() + 1,
        reason: reason.to_owned(),
        automatic: !reason.starts_with("request:"),
        gateway: "sandbox".to_owned(),
        brand: "visa".to_owned(),
        last4: "9995".to_owned(),
        status: AttemptStatus::Declined,
        amount: payment.amount,
        idempotency_key: String::new(),
        gateway_reference: None,
        decline_code: Some(code.to_owned()),
        decline_class: class,
        look_ups: 0,
        look_up_at: None,
        created_at: first_failure(),
        updated_at: first_failure(),
    });
    payment.decline_code = Some(code.to_owned());
    payment.decline_class = class;
}

fn started(payment: &Payment) -> Dunning {
    let mut dunning = Dunning {
        tenant_id: payment.tenant_id,
        id: DunningId::new(first_failure()),
        customer_id: payment.customer_id,
        invoice_id: payment.invoice_id,
        subscription_id: None,
        test_clock_id: None,
        status: DunningStatus::Running,
        access: Access::Full,
        retries_stopped: false,
        step: 0,
        next_step_at: None,
        look_again_at: None,
        invoice_number: None,
        amount: payment.amount,
        failure: Failure::of(payment),
        started_at: first_failure(),
        ended_at: None,
        metadata: Metadata::new(),
        created_at: first_failure(),
    };
    dunning.start(&DEFAULT, payment, Some(card()));
    dunning
}

fn after_one_decline(code: &str) -> (Payment, Dunning) {
    let mut payment = payment();
    decline(&mut payment, "finalized", code);
    let dunning = started(&payment);
    (payment, dunning)
}

#[test]
fn a_payment_that_keeps_failing_is_tried_on_days_1_3_5_and_7_and_then_it_is_over() {
    let (mut payment, mut dunning) = after_one_decline("insufficient_funds");
    let mut ladder = vec![format!("{} {:?}", dunning.started_at, dunning.access)];
    while let Some(due) = dunning.next_step_at {
        assert_eq!(dunning.next_try_at(), Some(due));
        assert_eq!(dunning.take_step(&DEFAULT, due), Next::Retry);
        ladder.push(format!("{due} {:?}", dunning.access));
        decline(&mut payment, &reason(dunning.step), "insufficient_funds");
        let next = dunning.fail(&DEFAULT, &payment, Some(card()), due);
        assert_eq!(next, if dunning.step == 4 { Next::Exhausted } else { Next::Stepped });
    }
    assert_eq!(dunning.status, DunningStatus::Exhausted);
    assert_eq!(dunning.ended_at, Some(at("2026-02-08T09:30:00Z")));
    insta::assert_snapshot!(ladder.join("\n"), @"
    2026-02-01 09:30:00 UTC Grace
    2026-02-02 09:30:00 UTC Grace
    2026-02-04 09:30:00 UTC Restricted
    2026-02-06 09:30:00 UTC Restricted
    2026-02-08 09:30:00 UTC Restricted
    ");
}

#[test]
fn hearing_of_a_failure_again_moves_nothing() {
    let (mut payment, mut dunning) = after_one_decline("insufficient_funds");
    let before = dunning.clone();
    assert_eq!(dunning.fail(&DEFAULT, &payment, Some(card()), first_failure()), Next::Wait);
    assert_eq!(dunning, before);

    let due = dunning.next_step_at.unwrap();
    assert_eq!(dunning.take_step(&DEFAULT, due), Next::Retry);
    assert_eq!(
        dunning.fail(&DEFAULT, &payment, Some(card()), due),
        Next::Wait,
        "the step's own try is not on record yet"
    );
    decline(&mut payment, "dunning:1", "insufficient_funds");
    assert_eq!(dunning.fail(&DEFAULT, &payment, Some(card()), due), Next::Stepped);
    assert_eq!(dunning.fail(&DEFAULT, &payment, Some(card()), due), Next::Wait);
    assert_eq!((dunning.step, dunning.next_step_at), (1, Some(at("2026-02-04T09:30:00Z"))));
}

#[test]
fn a_try_by_hand_or_with_a_new_method_uses_no_step() {
    let (mut payment, mut dunning) = after_one_decline("insufficient_funds");
    for tried in ["request:1", "method:pm_1"] {
        decline(&mut payment, tried, "do_not_honor");
        assert_eq!(dunning.fail(&DEFAULT, &payment, Some(card()), at("2026-02-01T12:00:00Z")), Next::Wait);
    }
    assert_eq!((dunning.step, dunning.next_step_at), (0, Some(at("2026-02-02T09:30:00Z"))));
    assert_eq!(dunning.failure.attempts, 2, "the automatic ones");
}

#[test]
fn a_stolen_card_is_not_tried_again_but_the_steps_go_on() {
    let (_, mut dunning) = after_one_decline("stolen_card");
    assert_eq!(dunning.next_try_at(), None);
    let mut told = Vec::new();
    while let Some(due) = dunning.next_step_at {
        told.push(format!("{} {:?}", due.to_rfc3339(), dunning.take_step(&DEFAULT, due)));
    }
    insta::assert_snapshot!(told.join("\n"), @"
    2026-02-02T09:30:00+00:00 Stepped
    2026-02-04T09:30:00+00:00 Stepped
    2026-02-06T09:30:00+00:00 Stepped
    2026-02-08T09:30:00+00:00 Exhausted
    ");
}

#[test]
fn a_bank_that_wants_consent_is_not_asked_again_without_the_customer() {
    let (_, mut dunning) = after_one_decline("authentication_required");
    let due = dunning.next_step_at.unwrap();
    assert_eq!(dunning.take_step(&DEFAULT, due), Next::Stepped);
}

#[test]
fn a_new_method_lets_the_steps_try_again() {
    let (mut payment, mut dunning) = after_one_decline("stolen_card");
    let new = PaymentMethodId::new(first_failure());
    decline_by(&mut payment, new, "method:pm_1", "insufficient_funds");
    assert_eq!(dunning.fail(&DEFAULT, &payment, Some(new), first_failure()), Next::Wait);
    let due = dunning.next_step_at.unwrap();
    assert_eq!(dunning.take_step(&DEFAULT, due), Next::Retry);
}

#[test]
fn what_is_tried_by_hand_neither_stops_the_retries_of_another_card_nor_lets_a_stolen_one_be_tried() {
    let other = PaymentMethodId::new(first_failure());
    let (mut payment, mut stopped) = after_one_decline("stolen_card");
    decline(&mut payment, "request:1", "insufficient_funds");
    decline_by(&mut payment, other, "request:2", "insufficient_funds");
    assert_eq!(stopped.fail(&DEFAULT, &payment, Some(card()), first_failure()), Next::Wait);
    assert!(stopped.retries_stopped);

    let (mut payment, mut running) = after_one_decline("insufficient_funds");
    decline_by(&mut payment, other, "request:1", "stolen_card");
    decline(&mut payment, "request:2", "authentication_required");
    assert_eq!(running.fail(&DEFAULT, &payment, Some(card()), first_failure()), Next::Wait);
    assert!(!running.retries_stopped);
    decline(&mut payment, "request:3", "stolen_card");
    assert_eq!(running.fail(&DEFAULT, &payment, Some(card()), first_failure()), Next::Wait);
    assert!(running.retries_stopped, "whoever tried it, this card is stolen");
}

#[test]
fn a_step_without_a_method_is_over_at_once() {
    let (mut payment, mut dunning) = after_one_decline("insufficient_funds");
    let due = dunning.next_step_at.unwrap();
    assert_eq!(dunning.take_step(&DEFAULT, due), Next::Retry);
    payment.decline_code = Some(decline::NO_PAYMENT_METHOD.to_owned());
    payment.decline_class = Some(DeclineClass::Hard);
    assert_eq!(dunning.fail(&DEFAULT, &payment, None, due), Next::Stepped);
    assert!(dunning.retries_stopped);
    assert_eq!(dunning.failure.last4, None);
}

#[test]
fn while_an_outcome_is_awaited_it_is_looked_for_and_afterwards_it_is_not() {
    let (mut payment, mut dunning) = after_one_decline("insufficient_funds");
    assert_eq!(dunning.look_again_at, None);
    let due = dunning.next_step_at.unwrap();
    assert_eq!(dunning.take_step(&DEFAULT, due), Next::Retry);
    assert_eq!(dunning.look_again_at, Some(due + LOOKS_AGAIN_AFTER));

    // Our own fault uses no step.
    decline(&mut payment, "dunning:1", "merchant_blocked");
    assert_eq!(dunning.fail(&DEFAULT, &payment, Some(card()), due), Next::Wait);
    assert_eq!(dunning.look_again_at, Some(due + LOOKS_AGAIN_AFTER));

    decline(&mut payment, "dunning:1", "insufficient_funds");
    assert_eq!(dunning.fail(&DEFAULT, &payment, Some(card()), due), Next::Stepped);
    assert_eq!(dunning.look_again_at, None);
}

#[test]
fn a_late_step_keeps_a_day_between_itself_and_the_next() {
    let (mut payment, mut dunning) = after_one_decline("insufficient_funds");
    let mut now = at("2026-02-20T00:00:00Z");
    for _ in 0..3 {
        assert_eq!(dunning.take_step(&DEFAULT, now), Next::Retry);
        decline(&mut payment, &reason(dunning.step), "insufficient_funds");
        assert_eq!(dunning.fail(&DEFAULT, &payment, Some(card()), now), Next::Stepped);
        assert_eq!(dunning.next_step_at, Some(now + TimeDelta::days(1)));
        now += TimeDelta::days(1);
    }
}

#[test]
fn what_is_in_flight_our_own_fault_or_tried_by_hand_is_not_dunned() {
    let (mut payment, _) = after_one_decline("insufficient_funds");
    assert!(is_dunned(&payment, false));
    payment.attempts[0].status = AttemptStatus::Unknown;
    assert!(!is_dunned(&payment, false));

    let (payment, _) = after_one_decline("invalid_request");
    assert!(!is_dunned(&payment, false));

    let mut by_hand = self::payment();
    decline(&mut by_hand, "request:1", "do_not_honor");
    assert!(!is_dunned(&by_hand, false));
    assert!(is_dunned(&by_hand, true), "we had found nothing to charge before");

    let (mut both, _) = after_one_decline("insufficient_funds");
    decline(&mut both, "request:1", "invalid_request");
    assert!(is_dunned(&both, false), "what somebody does by hand does not undo the first failure");
}

#[test]
fn a_debt_that_is_gone_gives_everything_back_once() {
    let (_, mut dunning) = after_one_decline("insufficient_funds");
    assert!(dunning.recover(at("2026-02-03T00:00:00Z")));
    assert!(!dunning.recover(at("2026-02-04T00:00:00Z")));
    assert_eq!((dunning.access, dunning.next_step_at), (Access::Full, None));
    assert_eq!(dunning.ended_at, Some(at("2026-02-03T00:00:00Z")));
}

#[test]
fn of_several_debts_the_worst_decides() {
    assert_eq!(worst([Access::Grace, Access::Restricted, Access::Full]), Access::Restricted);
    assert_eq!(worst([]), Access::Full);
}
