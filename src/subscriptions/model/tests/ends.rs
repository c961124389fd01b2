//! How subscriptions end.

use super::*;

#[test]
fn canceled_for_the_end_of_its_period_it_goes_on_until_then_and_closes_it() {
    let mut subscription = subscribed("2026-01-15", 0, wanted());
    turns_until(&mut subscription, at("2026-01-15"));

    assert_eq!(cancel(&mut subscription, "2026-01-20", When::PeriodEnd), Outcome::Changed);
    let once = subscription.clone();
    assert_eq!(cancel(&mut subscription, "2026-01-25", When::PeriodEnd), Outcome::AlreadyDone);
    assert_eq!(subscription, once);
    assert_eq!(subscription.status, Status::Active);
    assert_eq!(
        (subscription.cancel_at, subscription.canceled_at),
        (Some(at("2026-02-15")), Some(at("2026-01-20")))
    );

    let [last] = turns_until(&mut subscription, at("2026-06-01")).try_into().unwrap();
    assert!(last.ends && opens(&last).is_none());
    assert_eq!(closes(&last), Some(period("2026-01-15", "2026-02-15")));
    assert_eq!(subscription.status, Status::Canceled);
    assert_eq!((subscription.ended_at, subscription.next_due_at), (Some(at("2026-02-15")), None));
}

#[test]
fn canceled_now_it_is_canceled_at_once_and_billed_by_a_last_turn() {
    let mut subscription = subscribed("2026-01-15", 0, wanted());
    turns_until(&mut subscription, at("2026-01-15"));

    assert_eq!(cancel(&mut subscription, "2026-01-20T12:00:00Z", When::Now), Outcome::Changed);
    let once = subscription.clone();
    for when in [When::Now, When::PeriodEnd] {
        assert_eq!(cancel(&mut subscription, "2026-01-25", when), Outcome::AlreadyDone);
    }
    assert_eq!(subscription, once);
    assert_eq!(subscription.status, Status::Canceled);
    assert_eq!(subscription.ended_at, Some(at("2026-01-20T12:00:00Z")));

    let [last] = turns_until(&mut subscription, at("2026-06-01")).try_into().unwrap();
    assert_eq!(last.at, at("2026-01-20T12:00:00Z"));
    assert_eq!(closes(&last), Some(period("2026-01-15", "2026-01-20T12:00:00Z")));
    assert_eq!(closes_full(&last), Some(period("2026-01-15", "2026-02-15")));
    assert!(last.ends && opens(&last).is_none());
    assert_eq!(subscription.next_due_at, None);
}

#[test]
fn what_is_canceled_for_the_end_of_its_period_can_still_be_canceled_now() {
    let mut subscription = subscribed("2026-01-15", 0, wanted());
    turns_until(&mut subscription, at("2026-01-15"));
    assert_eq!(cancel(&mut subscription, "2026-01-20", When::PeriodEnd), Outcome::Changed);
    assert_eq!(cancel(&mut subscription, "2026-01-22", When::Now), Outcome::Changed);
    assert_eq!(subscription.ended_at, Some(at("2026-01-22")));
    assert_eq!(subscription.canceled_at, Some(at("2026-01-20")));
}

#[test]
fn canceled_on_the_boundary_it_ends_there_and_opens_nothing_that_was_not_opened() {
    let boundary = "2026-02-15";
    let mut not_renewed = subscribed("2026-01-15", 0, wanted());
    turns_until(&mut not_renewed, at("2026-01-15"));
    assert_eq!(cancel(&mut not_renewed, boundary, When::Now), Outcome::Changed);
    let [last] = turns_until(&mut not_renewed, at("2026-06-01")).try_into().unwrap();
    assert_eq!((closes(&last), opens(&last)), (Some(period("2026-01-15", boundary)), None));

    // Renewed at that instant already: nothing is left to bill.
    let mut renewed = subscribed("2026-01-15", 0, wanted());
    turns_until(&mut renewed, at(boundary));
    assert_eq!(cancel(&mut renewed, boundary, When::Now), Outcome::Changed);
    assert_eq!((renewed.next_due_at, renewed.ended_at), (None, Some(at(boundary))));

    // The boundary instant belongs to the new period.
    let mut at_period_end = subscribed("2026-01-15", 0, wanted());
    turns_until(&mut at_period_end, at("2026-01-15"));
    assert_eq!(cancel(&mut at_period_end, boundary, When::PeriodEnd), Outcome::Changed);
    assert_eq!(at_period_end.cancel_at, Some(at("2026-03-15")));
}

#[test]
fn a_trial_that_is_canceled_ends_without_a_paid_period() {
    let mut at_end = subscribed("2026-01-01", 14, wanted());
    turns_until(&mut at_end, at("2026-01-01"));
    assert!(at_end.goes_on_after_trial(at("2026-01-12")));
    assert_eq!(cancel(&mut at_end, "2026-01-05", When::PeriodEnd), Outcome::Changed);
    assert!(!at_end.goes_on_after_trial(at("2026-01-12")));
    let [last] = turns_until(&mut at_end, at("2026-06-01")).try_into().unwrap();
    assert!(closes_trial(&last) && last.ends && opens(&last).is_none());
    assert_eq!(last.at, at("2026-01-15"));

    let mut at_once = subscribed("2026-01-01", 14, wanted());
    turns_until(&mut at_once, at("2026-01-01"));
    assert_eq!(cancel(&mut at_once, "2026-01-05", When::Now), Outcome::Changed);
    let [last] = turns_until(&mut at_once, at("2026-06-01")).try_into().unwrap();
    assert!(closes_trial(&last) && last.ends);
    assert_eq!(closes(&last), Some(period("2026-01-01", "2026-01-05")));
    assert_eq!(closes_full(&last), Some(period("2026-01-01", "2026-01-15")));
}

#[test]
fn what_is_canceled_before_its_start_is_never_billed() {
    for when in [When::Now, When::PeriodEnd] {
        let later = Wanted { start_at: Some(at("2026-03-01")), ..wanted() };
        let mut subscription = subscribed("2026-02-01", 14, later);
        assert_eq!(cancel(&mut subscription, "2026-02-10", when), Outcome::Changed);
        assert_eq!(subscription.status, Status::Canceled);
        assert_eq!(subscription.ended_at, Some(at("2026-02-10")));
        assert_eq!(subscription.due(at("2030-01-01")), Ok(None));
    }
}

#[test]
fn what_is_canceled_at_the_instant_of_its_start_before_its_first_turn_is_never_billed() {
    let mut subscription = subscribed("2026-01-15", 0, wanted());
    assert_eq!(cancel(&mut subscription, "2026-01-15", When::Now), Outcome::Changed);
    assert_eq!(subscription.status, Status::Canceled);
    assert_eq!(turns_until(&mut subscription, at("2030-01-01")), []);
}

#[test]
fn canceling_never_puts_off_an_end_that_was_set() {
    for when in [When::Now, When::PeriodEnd] {
        let ending = Wanted { ends_at: Some(at("2026-02-25")), ..wanted() };
        let mut late = subscribed("2026-01-15", 0, ending);
        assert_eq!(cancel(&mut late, "2026-03-01", when), Outcome::Changed);
        let turns = turns_until(&mut late, at("2026-06-01"));
        assert_eq!((turns.last().unwrap().at, late.ended_at), (at("2026-02-25"), Some(at("2026-02-25"))));
    }
}

#[test]
fn an_end_that_was_set_cuts_the_period_it_falls_into() {
    let ending = Wanted { ends_at: Some(at("2026-02-25")), ..wanted() };
    let mut subscription = subscribed("2026-01-15", 0, ending);
    let turns = turns_until(&mut subscription, at("2026-06-01"));
    let [_, second, last] = turns.try_into().unwrap();
    assert_eq!(opens(&second), Some(period("2026-02-15", "2026-02-25")));
    assert_eq!(opens_full(&second), Some(period("2026-02-15", "2026-03-15")));
    assert!(last.ends && last.at == at("2026-02-25") && closes_full(&last) == opens_full(&second));
    assert_eq!((subscription.status, subscription.cancel_reason), (Status::Canceled, None));
}
