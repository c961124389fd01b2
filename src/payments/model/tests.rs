use std::fmt::Write;

use accrue_core::money::Currency;
use sea_orm::Iterable;

use super::{attempt::AttemptEvent, *};

fn now() -> DateTime<Utc> {
    "2026-01-31T10:00:00Z".parse().unwrap()
}

pub(super) fn payment() -> Payment {
    Payment {
        tenant_id: TenantId::new(now()),
        id: PaymentId::new(now()),
        customer_id: CustomerId::new(now()),
        test_clock_id: None,
        invoice_id: InvoiceId::new(now()),
        status: PaymentStatus::Initialized,
        amount: Money::from_minor(1000, Currency::USD),
        refunded: Money::zero(Currency::USD),
        decline_code: None,
        decline_class: None,
        attempts: Vec::new(),
        metadata: Metadata::new(),
        created_at: now(),
    }
}

fn begin(payment: &mut Payment, reason: &str) -> PaymentAttemptId {
    let method = PaymentMethod {
        tenant_id: payment.tenant_id,
        id: PaymentMethodId::new(now()),
        customer_id: payment.customer_id,
        gateway: "sandbox".to_owned(),
        reference_sealed: String::new(),
        brand: "visa".to_owned(),
        last4: "4242".to_owned(),
        expires_on: None,
        detached_at: None,
        metadata: Metadata::new(),
        created_at: now(),
    };
    payment.begin_attempt(PaymentAttemptId::new(now()), &method, reason, true, now()).id
}

fn declined(code: &str) -> Outcome {
    Outcome::Verdict(Verdict::Declined { reference: "ch_1".to_owned(), code: code.to_owned() })
}

fn succeeded() -> Outcome {
    Outcome::Verdict(Verdict::Succeeded { reference: "ch_1".to_owned() })
}

fn pending() -> Outcome {
    Outcome::Verdict(Verdict::Pending { reference: "ch_1".to_owned() })
}

fn table<S: Iterable + std::fmt::Debug, E: Iterable + std::fmt::Debug>(
    on: impl Fn(&S, &E) -> Option<S>,
) -> String {
    let mut table = String::new();
    for from in S::iter() {
        for by in E::iter() {
            if let Some(to) = on(&from, &by) {
                writeln!(table, "{from:?} --{by:?}--> {to:?}").unwrap();
            }
        }
    }
    table
}

#[test]
fn the_life_of_an_attempt() {
    let table = table::<AttemptStatus, AttemptEvent>(|from, by| from.on(*by).ok());
    insta::assert_snapshot!(table, @"
    Started --Succeeded--> Succeeded
    Started --Declined--> Declined
    Started --Accepted--> Pending
    Started --Unanswered--> Unknown
    Started --NotTaken--> Error
    Pending --Succeeded--> Succeeded
    Pending --Declined--> Declined
    Pending --Accepted--> Pending
    Pending --Unanswered--> Pending
    Unknown --Succeeded--> Succeeded
    Unknown --Declined--> Declined
    Unknown --Accepted--> Pending
    Unknown --Unanswered--> Unknown
    Unknown --NotTaken--> Error
    Error --TriedAgain--> Started
    ");
}

#[test]
fn the_life_of_a_payment() {
    let table = table::<PaymentStatus, PaymentEvent>(|from, by| from.on(*by).ok());
    insta::assert_snapshot!(table, @"
    Initialized --Captured--> Captured
    Initialized --Failed--> Failed
    Initialized --ActionNeeded--> RequiresAction
    Initialized --Accepted--> Pending
    Initialized --Canceled--> Canceled
    RequiresAction --Captured--> Captured
    RequiresAction --Failed--> Failed
    RequiresAction --ActionNeeded--> RequiresAction
    RequiresAction --Accepted--> Pending
    RequiresAction --Canceled--> Canceled
    Pending --Captured--> Captured
    Pending --Failed--> Failed
    Pending --ActionNeeded--> RequiresAction
    Pending --Accepted--> Pending
    Captured --PartlyRefunded--> PartiallyRefunded
    Captured --Refunded--> Refunded
    Failed --Captured--> Captured
    Failed --Failed--> Failed
    Failed --ActionNeeded--> RequiresAction
    Failed --Accepted--> Pending
    Failed --Canceled--> Canceled
    PartiallyRefunded --PartlyRefunded--> PartiallyRefunded
    PartiallyRefunded --Refunded--> Refunded
    ");
}

#[test]
fn an_attempt_is_in_flight_from_before_the_call_until_its_outcome_is_known() {
    let mut payment = payment();
    let attempt = begin(&mut payment, "finalized");
    assert_eq!(payment.in_flight().map(|attempt| attempt.id), Some(attempt));
    assert_eq!(payment.settle(attempt, &succeeded(), now()), Ok(Change::Captured));
    assert_eq!(payment.in_flight(), None);
    assert_eq!(payment.status, PaymentStatus::Captured);
}

#[test]
fn what_is_known_stays_whatever_is_heard_later() {
    let mut payment = payment();
    let attempt = begin(&mut payment, "finalized");
    assert_eq!(payment.settle(attempt, &succeeded(), now()), Ok(Change::Captured));
    let settled = payment.clone();
    assert_eq!(payment.settle(attempt, &declined("stolen_card"), now()), Ok(Change::AlreadyDone));
    assert_eq!(payment, settled);
}

#[test]
fn a_gateway_that_does_not_answer_is_asked_after_5_s_1_min_5_min_1_h_and_then_hourly() {
    let mut payment = payment();
    let attempt = begin(&mut payment, "finalized");
    let mut waits = Vec::new();
    for _ in 0..6 {
        assert_eq!(payment.settle(attempt, &Outcome::Unknown, now()), Ok(Change::Open));
        waits.push((payment.in_flight().unwrap().look_up_at.unwrap() - now()).num_seconds());
    }
    assert_eq!(waits, [5, 60, 300, 3600, 3600, 3600]);
    assert_eq!(payment.attempts[0].look_ups, 5);
}

#[test]
fn a_decline_says_why_and_a_later_success_clears_it() {
    let mut payment = payment();
    let first = begin(&mut payment, "finalized");
    assert_eq!(payment.settle(first, &declined("insufficient_funds"), now()), Ok(Change::Failed));
    assert_eq!(payment.decline_class, Some(DeclineClass::Soft));
    let second = begin(&mut payment, "dunning:1");
    assert_eq!(payment.attempts[1].position, 2);
    assert_eq!(payment.settle(second, &succeeded(), now()), Ok(Change::Captured));
    assert_eq!((payment.decline_code, payment.decline_class), (None, None));
}

#[test]
fn a_bank_that_wants_consent_is_no_failure() {
    let mut payment = payment();
    let attempt = begin(&mut payment, "finalized");
    let outcome = declined("authentication_required");
    assert_eq!(payment.settle(attempt, &outcome, now()), Ok(Change::RequiresAction));
    assert_eq!(payment.status, PaymentStatus::RequiresAction);
    assert_eq!(payment.in_flight(), None);
}

#[test]
fn a_pending_payment_is_told_once_and_asked_about_until_it_is_decided() {
    let mut payment = payment();
    let attempt = begin(&mut payment, "finalized");
    assert_eq!(payment.settle(attempt, &pending(), now()), Ok(Change::Pending));
    assert_eq!(payment.settle(attempt, &pending(), now()), Ok(Change::Open));
    assert_eq!(payment.settle(attempt, &Outcome::Unknown, now()), Ok(Change::Open));
    assert_eq!(payment.status, PaymentStatus::Pending);
    assert_eq!(payment.settle(attempt, &declined("insufficient_funds"), now()), Ok(Change::Failed));
}

#[test]
fn an_attempt_in_which_nothing_happened_does_not_use_up_its_reason() {
    let mut payment = payment();
    let unavailable = begin(&mut payment, "finalized");
    assert_eq!(payment.settle(unavailable, &Outcome::NotTaken, now()), Ok(Change::NothingHappened));
    assert_eq!(payment.status, PaymentStatus::Initialized);
    assert_eq!(payment.attempt_for("finalized"), None);
    let our_fault = begin(&mut payment, "finalized");
    let refused = Outcome::Refused("no such method".to_owned());
    assert_eq!(payment.settle(our_fault, &refused, now()), Ok(Change::Failed));
    assert_eq!(payment.decline_class, Some(DeclineClass::OurFault));
    assert_eq!(payment.attempt_for("finalized"), None);
    let decline = begin(&mut payment, "finalized");
    assert_eq!(payment.settle(decline, &declined("do_not_honor"), now()), Ok(Change::Failed));
    assert_eq!(payment.attempt_for("finalized").map(|attempt| attempt.id), Some(decline));
}

#[test]
fn an_outage_leaves_one_attempt_whose_call_is_made_again_with_the_same_key() {
    let mut payment = payment();
    let attempt = begin(&mut payment, "finalized");
    let method = payment.attempts[0].payment_method_id;
    let key = payment.attempts[0].idempotency_key.clone();
    assert_eq!(payment.resume_attempt(method, "finalized", now()), None, "its outcome is open");

    for _ in 0..3 {
        assert_eq!(payment.settle(attempt, &Outcome::NotTaken, now()), Ok(Change::NothingHappened));
        assert_eq!(payment.resume_attempt(method, "dunning:1", now()), None, "another reason");
        let other = PaymentMethodId::new(now());
        assert_eq!(payment.resume_attempt(other, "finalized", now()), None, "another method");
        let again = payment.resume_attempt(method, "finalized", now()).unwrap();
        assert_eq!((again.id, again.status, &again.idempotency_key), (attempt, AttemptStatus::Started, &key));
    }
    assert_eq!(payment.attempts.len(), 1);

    let refused = Outcome::Refused("no such method".to_owned());
    assert_eq!(payment.settle(attempt, &refused, now()), Ok(Change::Failed));
    assert_eq!(payment.resume_attempt(method, "finalized", now()), None, "the key is spent");
}

#[test]
fn what_is_in_flight_or_paid_is_not_canceled() {
    let mut payment = payment();
    let attempt = begin(&mut payment, "finalized");
    assert_eq!(payment.cancel(), Ok(false));
    assert_eq!(payment.settle(attempt, &declined("do_not_honor"), now()), Ok(Change::Failed));
    assert_eq!(payment.cancel(), Ok(true));
    assert_eq!(payment.status, PaymentStatus::Canceled);
    assert_eq!(payment.cancel(), Ok(false));
}
