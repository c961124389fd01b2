//! The life of a subscription, told by its turns.

use accrue_core::{
    calendar::{CalendarError, Unit},
    id::PriceId,
    invalid::Invalid,
    price::Model,
};
use chrono::{Months, TimeDelta};
use proptest::prelude::*;
use rust_decimal::Decimal;

use super::*;
use crate::{
    auth::{Tenant, TenantSettings},
    catalog::{PlanVersion, Price, PriceKind, Timing},
    customers::{Address, Customer},
};

fn at(text: &str) -> DateTime<Utc> {
    let text = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    text.parse().unwrap()
}

fn period(start: &str, end: &str) -> Period {
    Period::try_new(at(start), at(end)).unwrap()
}

fn tenant(now: DateTime<Utc>) -> Tenant {
    Tenant {
        id: TenantId::new(now),
        account_id: accrue_core::id::AccountId::new(now),
        livemode: false,
        name: "Seller".to_owned(),
        timezone: "Europe/Berlin".to_owned(),
        settings: TenantSettings { net_terms_days: 14, ..TenantSettings::default() },
        created_at: now,
    }
}

fn customer(now: DateTime<Utc>, timezone: Option<&str>) -> Customer {
    Customer {
        tenant_id: TenantId::new(now),
        id: CustomerId::new(now),
        external_id: None,
        name: "Buyer".to_owned(),
        email: None,
        currency: None,
        timezone: timezone.map(str::to_owned),
        locale: None,
        address: Address::default(),
        tax_number: None,
        test_clock_id: None,
        default_payment_method_id: None,
        metadata: Metadata::new(),
        created_at: now,
    }
}

/// A monthly plan with the seat prices `seats` and `guests` and a base fee.
fn plan(trial_days: u16) -> PlanVersion {
    let now = at("2020-01-01");
    let price = |code: &str, kind| Price {
        id: PriceId::new(now),
        code: code.to_owned(),
        name: code.to_owned(),
        kind,
        timing: Timing::Advance,
        metric_id: None,
        model: Model::PerUnit { unit_price: Number(Decimal::ONE) },
    };
    PlanVersion {
        tenant_id: TenantId::new(now),
        plan_id: PlanId::new(now),
        id: PlanVersionId::new(now),
        code: "pro".to_owned(),
        name: "Pro".to_owned(),
        version: 1,
        currency: "EUR".parse().unwrap(),
        interval: Interval::every(Unit::Month),
        trial_days,
        prices: vec![
            price("base", PriceKind::Fixed),
            price("seats", PriceKind::Seat),
            price("guests", PriceKind::Seat),
        ],
        features: Vec::new(),
        metadata: Metadata::new(),
        created_at: now,
    }
}

fn wanted() -> Wanted {
    Wanted {
        external_id: None,
        quantities: BTreeMap::new(),
        start_at: None,
        trial_end: None,
        ends_at: None,
        timezone: Some(Tz::UTC),
        alignment: Alignment::Anniversary,
        collection: Collection::Automatic,
        net_terms_days: None,
        metadata: Metadata::new(),
    }
}

fn try_new(now: &str, plan: &PlanVersion, wanted: Wanted) -> Result<Subscription, Vec<Invalid>> {
    let now = at(now);
    Subscription::try_new(now, &tenant(now), &customer(now, None), plan, wanted, false)
}

fn subscribed(now: &str, trial_days: u16, wanted: Wanted) -> Subscription {
    try_new(now, &plan(trial_days), wanted).unwrap()
}

/// Bills everything that is due.
fn turns_until(subscription: &mut Subscription, now: DateTime<Utc>) -> Vec<Turn> {
    let mut turns = Vec::new();
    while let Some(turn) = subscription.due(now).unwrap() {
        subscription.apply(turn);
        turns.push(turn);
    }
    turns
}

fn cancel(subscription: &mut Subscription, now: &str, when: CancelWhen) -> Outcome {
    subscription.cancel(at(now), when, CancelReason::Requested).unwrap()
}

#[test]
fn a_month_from_31_january_is_clamped_and_comes_back_to_the_31st() {
    let mut subscription = subscribed("2024-01-31T10:00:00Z", 0, wanted());
    assert_eq!(subscription.status, Status::Active);

    let turns = turns_until(&mut subscription, at("2025-03-01"));
    let dates: Vec<_> = turns.iter().map(|turn| turn.at.date_naive().to_string()).collect();
    assert_eq!(
        dates,
        [
            "2024-01-31",
            "2024-02-29",
            "2024-03-31",
            "2024-04-30",
            "2024-05-31",
            "2024-06-30",
            "2024-07-31",
            "2024-08-31",
            "2024-09-30",
            "2024-10-31",
            "2024-11-30",
            "2024-12-31",
            "2025-01-31",
            "2025-02-28",
        ]
    );
    assert_eq!(turns[0].closes, None);
    assert_eq!(turns[1].closes, Some(period("2024-01-31T10:00:00Z", "2024-02-29T10:00:00Z")));
    assert_eq!(turns[1].opens, Some(period("2024-02-29T10:00:00Z", "2024-03-31T10:00:00Z")));
    assert_eq!(turns[1].opens_full, turns[1].opens);
    assert_eq!(subscription.next_due_at, Some(at("2025-03-31T10:00:00Z")));
}

#[test]
fn on_the_calendar_the_first_period_is_short_and_prorated_by_the_whole_month() {
    let aligned = Wanted { alignment: Alignment::Calendar, ..wanted() };
    let mut subscription = subscribed("2026-01-20T09:30:00Z", 0, aligned);

    let [first, second] = turns_until(&mut subscription, at("2026-02-01")).try_into().unwrap();
    assert_eq!(first.opens, Some(period("2026-01-20T09:30:00Z", "2026-02-01")));
    assert_eq!(first.opens_full, Some(period("2026-01-01", "2026-02-01")));
    assert_eq!((second.closes, second.closes_full), (first.opens, first.opens_full));
    assert_eq!(second.opens, Some(period("2026-02-01", "2026-03-01")));
    assert_eq!(second.opens_full, second.opens);
}

#[test]
fn a_trial_comes_first_and_paid_periods_count_from_its_end() {
    let mut subscription = subscribed("2026-01-17T08:00:00Z", 14, wanted());
    assert_eq!(subscription.status, Status::Trialing);
    assert_eq!(subscription.trial_end_at, Some(at("2026-01-31T08:00:00Z")));
    assert_eq!(subscription.anchor_at, at("2026-01-31T08:00:00Z"));

    let [start] = turns_until(&mut subscription, at("2026-01-31T07:59:59Z")).try_into().unwrap();
    assert!(start.opens_trial && !start.closes_trial && start.closes.is_none());
    assert_eq!(subscription.status, Status::Trialing);

    let [trial_end] = turns_until(&mut subscription, at("2026-01-31T08:00:00Z")).try_into().unwrap();
    assert_eq!(trial_end.closes, Some(period("2026-01-17T08:00:00Z", "2026-01-31T08:00:00Z")));
    assert_eq!(trial_end.closes_full, trial_end.closes);
    assert_eq!(trial_end.opens, Some(period("2026-01-31T08:00:00Z", "2026-02-28T08:00:00Z")));
    assert!(trial_end.closes_trial && !trial_end.opens_trial);
    assert_eq!(subscription.status, Status::Active);

    let renewals = turns_until(&mut subscription, at("2026-04-01"));
    assert_eq!(renewals.len(), 2);
    assert!(renewals.iter().all(|turn| !turn.closes_trial && !turn.opens_trial && !turn.ends));
    assert_eq!(subscription.next_due_at, Some(at("2026-04-30T08:00:00Z")));
}

#[test]
fn a_trial_of_14_days_ends_at_the_same_local_time_when_the_clocks_change() {
    let zone = Wanted { timezone: Some(Tz::Europe__Berlin), ..wanted() };
    let subscription = subscribed("2026-03-20T09:00:00Z", 14, zone); // 10:00 in Berlin
    assert_eq!(subscription.trial_end_at, Some(at("2026-04-03T08:00:00Z")));
}

#[test]
fn after_a_trial_the_calendar_starts_with_a_short_period() {
    let aligned = Wanted { alignment: Alignment::DayOfMonth(5), ..wanted() };
    let mut subscription = subscribed("2026-01-10T12:00:00Z", 14, aligned);
    let [_, trial_end] = turns_until(&mut subscription, at("2026-01-25")).try_into().unwrap();
    assert_eq!(trial_end.opens, Some(period("2026-01-24T12:00:00Z", "2026-02-05")));
    assert_eq!(trial_end.opens_full, Some(period("2026-01-05", "2026-02-05")));
}

#[test]
fn what_starts_in_the_future_is_not_due_before_and_active_from_then_on() {
    let later = Wanted { start_at: Some(at("2026-03-01")), ..wanted() };
    let mut subscription = subscribed("2026-02-01", 0, later);
    assert_eq!(subscription.status, Status::Pending);
    assert_eq!(subscription.due(at("2026-02-28T23:59:59Z")), Ok(None));

    let turns = turns_until(&mut subscription, at("2026-03-01"));
    assert_eq!(turns.len(), 1);
    assert_eq!(subscription.status, Status::Active);

    let later = Wanted { start_at: Some(at("2026-03-01")), ..wanted() };
    let mut on_trial = subscribed("2026-02-01", 7, later);
    assert_eq!(on_trial.status, Status::Pending);
    turns_until(&mut on_trial, at("2026-03-01"));
    assert_eq!(on_trial.status, Status::Trialing);
}

#[test]
fn what_started_three_periods_ago_has_three_turns_in_order_and_the_running_one() {
    let back = Wanted { start_at: Some(at("2026-01-15")), ..wanted() };
    let mut subscription = subscribed("2026-04-14", 0, back);

    let turns = turns_until(&mut subscription, at("2026-04-14"));
    let opened: Vec<_> = turns.iter().filter_map(|turn| turn.opens).collect();
    assert_eq!(
        opened,
        [
            period("2026-01-15", "2026-02-15"),
            period("2026-02-15", "2026-03-15"),
            period("2026-03-15", "2026-04-15"),
        ]
    );
    assert!(turns.is_sorted_by_key(|turn| turn.at));
    assert_eq!(subscription.period, opened[2]);
}

#[test]
fn in_new_york_periods_begin_at_local_midnight_on_both_sides_of_the_clock_change() {
    let zone = Wanted {
        timezone: Some(Tz::America__New_York),
        alignment: Alignment::Calendar,
        start_at: Some(at("2026-02-01T05:00:00Z")),
        ..wanted()
    };
    let mut subscription = subscribed("2026-04-02", 0, zone);
    let turns = turns_until(&mut subscription, at("2026-04-02"));
    let [february, march, _] = turns.try_into().unwrap();
    assert_eq!(february.opens, Some(period("2026-02-01T05:00:00Z", "2026-03-01T05:00:00Z")));
    let opens = march.opens.unwrap();
    assert_eq!(opens, period("2026-03-01T05:00:00Z", "2026-04-01T04:00:00Z"));
    assert_eq!(((opens.end - opens.start).num_hours(), opens.days(subscription.timezone)), (743, 31));
}

#[test]
fn canceled_for_the_end_of_its_period_it_goes_on_until_then_and_closes_it() {
    let mut subscription = subscribed("2026-01-15", 0, wanted());
    turns_until(&mut subscription, at("2026-01-15"));

    assert_eq!(cancel(&mut subscription, "2026-01-20", CancelWhen::PeriodEnd), Outcome::Changed);
    let once = subscription.clone();
    assert_eq!(cancel(&mut subscription, "2026-01-25", CancelWhen::PeriodEnd), Outcome::AlreadyDone);
    assert_eq!(subscription, once);
    assert_eq!(subscription.status, Status::Active);
    assert_eq!(
        (subscription.cancel_at, subscription.canceled_at),
        (Some(at("2026-02-15")), Some(at("2026-01-20")))
    );

    let [last] = turns_until(&mut subscription, at("2026-06-01")).try_into().unwrap();
    assert!(last.ends && last.opens.is_none());
    assert_eq!(last.closes, Some(period("2026-01-15", "2026-02-15")));
    assert_eq!(subscription.status, Status::Canceled);
    assert_eq!((subscription.ended_at, subscription.next_due_at), (Some(at("2026-02-15")), None));
}

#[test]
fn canceled_now_it_is_canceled_at_once_and_billed_by_a_last_turn() {
    let mut subscription = subscribed("2026-01-15", 0, wanted());
    turns_until(&mut subscription, at("2026-01-15"));

    assert_eq!(cancel(&mut subscription, "2026-01-20T12:00:00Z", CancelWhen::Now), Outcome::Changed);
    let once = subscription.clone();
    for when in [CancelWhen::Now, CancelWhen::PeriodEnd] {
        assert_eq!(cancel(&mut subscription, "2026-01-25", when), Outcome::AlreadyDone);
    }
    assert_eq!(subscription, once);
    assert_eq!(subscription.status, Status::Canceled);
    assert_eq!(subscription.ended_at, Some(at("2026-01-20T12:00:00Z")));

    let [last] = turns_until(&mut subscription, at("2026-06-01")).try_into().unwrap();
    assert_eq!(last.at, at("2026-01-20T12:00:00Z"));
    assert_eq!(last.closes, Some(period("2026-01-15", "2026-01-20T12:00:00Z")));
    assert_eq!(last.closes_full, Some(period("2026-01-15", "2026-02-15")));
    assert!(last.ends && last.opens.is_none());
    assert_eq!(subscription.next_due_at, None);
}

#[test]
fn what_is_canceled_for_the_end_of_its_period_can_still_be_canceled_now() {
    let mut subscription = subscribed("2026-01-15", 0, wanted());
    turns_until(&mut subscription, at("2026-01-15"));
    assert_eq!(cancel(&mut subscription, "2026-01-20", CancelWhen::PeriodEnd), Outcome::Changed);
    assert_eq!(cancel(&mut subscription, "2026-01-22", CancelWhen::Now), Outcome::Changed);
    assert_eq!(subscription.ended_at, Some(at("2026-01-22")));
    assert_eq!(subscription.canceled_at, Some(at("2026-01-20")));
}

#[test]
fn canceled_on_the_boundary_it_ends_there_and_opens_nothing_that_was_not_opened() {
    let boundary = "2026-02-15";
    let mut not_renewed = subscribed("2026-01-15", 0, wanted());
    turns_until(&mut not_renewed, at("2026-01-15"));
    assert_eq!(cancel(&mut not_renewed, boundary, CancelWhen::Now), Outcome::Changed);
    let [last] = turns_until(&mut not_renewed, at("2026-06-01")).try_into().unwrap();
    assert_eq!((last.closes, last.opens), (Some(period("2026-01-15", boundary)), None));

    // Renewed at that instant already: nothing is left to bill.
    let mut renewed = subscribed("2026-01-15", 0, wanted());
    turns_until(&mut renewed, at(boundary));
    assert_eq!(cancel(&mut renewed, boundary, CancelWhen::Now), Outcome::Changed);
    assert_eq!((renewed.next_due_at, renewed.ended_at), (None, Some(at(boundary))));

    // The boundary instant belongs to the new period.
    let mut at_period_end = subscribed("2026-01-15", 0, wanted());
    turns_until(&mut at_period_end, at("2026-01-15"));
    assert_eq!(cancel(&mut at_period_end, boundary, CancelWhen::PeriodEnd), Outcome::Changed);
    assert_eq!(at_period_end.cancel_at, Some(at("2026-03-15")));
}

#[test]
fn a_trial_that_is_canceled_ends_without_a_paid_period() {
    let mut at_end = subscribed("2026-01-01", 14, wanted());
    turns_until(&mut at_end, at("2026-01-01"));
    assert!(at_end.goes_on_after_trial(at("2026-01-12")));
    assert_eq!(cancel(&mut at_end, "2026-01-05", CancelWhen::PeriodEnd), Outcome::Changed);
    assert!(!at_end.goes_on_after_trial(at("2026-01-12")));
    let [last] = turns_until(&mut at_end, at("2026-06-01")).try_into().unwrap();
    assert!(last.closes_trial && last.ends && last.opens.is_none());
    assert_eq!(last.at, at("2026-01-15"));

    let mut at_once = subscribed("2026-01-01", 14, wanted());
    turns_until(&mut at_once, at("2026-01-01"));
    assert_eq!(cancel(&mut at_once, "2026-01-05", CancelWhen::Now), Outcome::Changed);
    let [last] = turns_until(&mut at_once, at("2026-06-01")).try_into().unwrap();
    assert!(last.closes_trial && last.ends);
    assert_eq!(last.closes, Some(period("2026-01-01", "2026-01-05")));
    assert_eq!(last.closes_full, Some(period("2026-01-01", "2026-01-15")));
}

#[test]
fn what_is_canceled_before_its_start_is_never_billed() {
    for when in [CancelWhen::Now, CancelWhen::PeriodEnd] {
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
    assert_eq!(cancel(&mut subscription, "2026-01-15", CancelWhen::Now), Outcome::Changed);
    assert_eq!(subscription.status, Status::Canceled);
    assert_eq!(turns_until(&mut subscription, at("2030-01-01")), []);
}

#[test]
fn canceling_never_puts_off_an_end_that_was_set() {
    for when in [CancelWhen::Now, CancelWhen::PeriodEnd] {
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
    assert_eq!(second.opens, Some(period("2026-02-15", "2026-02-25")));
    assert_eq!(second.opens_full, Some(period("2026-02-15", "2026-03-15")));
    assert!(last.ends && last.at == at("2026-02-25") && last.closes_full == second.opens_full);
    assert_eq!((subscription.status, subscription.cancel_reason), (Status::Canceled, None));
}

#[test]
fn how_late_turns_are_billed_does_not_change_what_they_bill() {
    let mut in_time = subscribed("2026-01-15", 0, wanted());
    let mut billed = turns_until(&mut in_time, at("2026-03-20"));
    assert_eq!(cancel(&mut in_time, "2026-03-20", CancelWhen::Now), Outcome::Changed);
    billed.extend(turns_until(&mut in_time, at("2026-04-01")));

    let mut late = subscribed("2026-01-15", 0, wanted());
    assert_eq!(cancel(&mut late, "2026-03-20", CancelWhen::Now), Outcome::Changed);
    assert_eq!(late.status, Status::Canceled);
    assert_eq!(turns_until(&mut late, at("2026-04-01")), billed);
    assert_eq!((late.period, late.ended_at), (in_time.period, in_time.ended_at));

    let mut late = subscribed("2026-01-15", 0, wanted());
    assert_eq!(cancel(&mut late, "2026-03-20", CancelWhen::PeriodEnd), Outcome::Changed);
    assert_eq!(late.cancel_at, Some(at("2026-04-15")));
}

#[test]
#[should_panic(expected = "a turn is applied once")]
fn a_turn_cannot_be_applied_twice() {
    let mut subscription = subscribed("2026-01-15", 0, wanted());
    let turn = subscription.due(at("2026-01-15")).unwrap().unwrap();
    subscription.apply(turn);
    subscription.apply(turn);
}

#[test]
fn failed_payments_make_it_past_due_until_access_is_full_again() {
    let mut subscription = subscribed("2026-01-15", 0, wanted());
    turns_until(&mut subscription, at("2026-01-15"));
    for access in [Access::Grace, Access::Grace, Access::Restricted] {
        subscription.set_access(access);
        assert_eq!((subscription.status, subscription.access), (Status::PastDue, access));
    }
    turns_until(&mut subscription, at("2026-02-15"));
    assert_eq!(subscription.status, Status::PastDue, "a renewal pays nothing");
    subscription.set_access(Access::Full);
    assert_eq!(subscription.status, Status::Active);

    assert_eq!(cancel(&mut subscription, "2026-02-20", CancelWhen::Now), Outcome::Changed);
    subscription.set_access(Access::Restricted);
    assert_eq!((subscription.status, subscription.access), (Status::Canceled, Access::Restricted));
}

#[test]
fn a_seat_price_that_is_left_out_has_quantity_one() {
    let five = BTreeMap::from([("seats".to_owned(), Number(5.into()))]);
    let subscription = subscribed("2026-01-15", 0, Wanted { quantities: five, ..wanted() });
    let written = serde_json::to_string(&subscription.quantities).unwrap();
    assert_eq!(written, r#"{"guests":"1","seats":"5"}"#);
}

#[test]
fn quantities_name_seat_prices_and_are_not_negative() {
    let quantities = BTreeMap::from([
        ("base".to_owned(), Number(Decimal::ONE)),
        ("guests".to_owned(), Number((-1).into())),
        ("seats".to_owned(), Number(Decimal::ZERO)),
    ]);
    let mistakes = try_new("2026-01-15", &plan(0), Wanted { quantities, ..wanted() }).unwrap_err();
    let found: Vec<_> = mistakes.iter().map(|mistake| (mistake.pointer.as_str(), mistake.code)).collect();
    assert_eq!(found, [("/quantities/guests", "out_of_range"), ("/quantities/base", "unknown")]);
}

#[test]
fn dates_that_make_no_sense_are_refused_with_their_place() {
    let refused = |wanted: Wanted| {
        let mistakes = try_new("2026-01-15", &plan(14), wanted).unwrap_err();
        (mistakes[0].pointer.clone(), mistakes[0].code)
    };
    let on = |text: &str| Some(at(text));
    let out_of_range = |pointer: &str| (pointer.to_owned(), "out_of_range");
    assert_eq!(refused(Wanted { start_at: on("2016-01-14"), ..wanted() }), out_of_range("/start_at"));
    assert_eq!(refused(Wanted { start_at: on("2036-01-16"), ..wanted() }), out_of_range("/start_at"));
    assert_eq!(refused(Wanted { trial_end: on("2026-01-14"), ..wanted() }), out_of_range("/trial_end"));
    assert_eq!(refused(Wanted { ends_at: on("2026-01-15"), ..wanted() }), out_of_range("/ends_at"));

    let weekly = PlanVersion { interval: Interval::every(Unit::Week), ..plan(14) };
    let aligned = Wanted { alignment: Alignment::DayOfMonth(5), ..wanted() };
    let mistakes = try_new("2026-01-15", &weekly, aligned).unwrap_err();
    assert_eq!(mistakes[0].pointer, "/alignment");
    assert_eq!(mistakes[0].detail, CalendarError::DayOfMonthNeedsMonths.to_string());
}

#[test]
fn a_customer_gets_one_trial_of_a_plan() {
    let now = at("2026-01-15");
    let again =
        |wanted| Subscription::try_new(now, &tenant(now), &customer(now, None), &plan(14), wanted, true);
    let without = again(wanted()).unwrap();
    assert_eq!((without.trial_end_at, without.status), (None, Status::Active));

    let asked = again(Wanted { trial_end: Some(at("2026-02-01")), ..wanted() }).unwrap_err();
    assert_eq!((asked[0].pointer.as_str(), asked[0].code), ("/trial_end", "already_used"));
}

#[test]
fn a_trial_that_ends_at_the_start_is_none() {
    let none = Wanted { start_at: Some(at("2026-01-15")), trial_end: Some(at("2026-01-15")), ..wanted() };
    let subscription = subscribed("2026-01-15", 14, none);
    assert_eq!((subscription.trial_end_at, subscription.status), (None, Status::Active));
}

#[test]
fn zone_and_net_terms_come_from_the_customer_and_the_tenant() {
    let now = at("2026-01-15");
    let made = |timezone: Option<&str>| {
        let wanted = Wanted { timezone: None, ..wanted() };
        Subscription::try_new(now, &tenant(now), &customer(now, timezone), &plan(0), wanted, false).unwrap()
    };
    assert_eq!(made(Some("Asia/Tokyo")).timezone, Tz::Asia__Tokyo);
    assert_eq!(made(None).timezone, Tz::Europe__Berlin);
    assert_eq!(made(None).net_terms_days, 14);
}

#[test]
fn a_trial_is_announced_three_days_before_its_end_or_at_its_start() {
    let notice = |trial_days| {
        let subscription = subscribed("2026-01-15", trial_days, wanted());
        subscription.trial_notice_at(at("2026-01-15"))
    };
    assert_eq!(notice(14), Some(at("2026-01-26")));
    assert_eq!(notice(2), Some(at("2026-01-15")));
    assert_eq!(notice(0), None);

    let long_over = Wanted { start_at: Some(at("2025-01-15")), ..wanted() };
    let subscription = subscribed("2026-01-15", 14, long_over);
    assert_eq!(subscription.trial_notice_at(at("2026-01-15")), None);
}

fn cycles() -> impl Strategy<Value = (Interval, Alignment)> {
    let count = 1_u32..4;
    let short = (count.clone(), prop_oneof![Just(Unit::Day), Just(Unit::Week)]);
    let long = (count, prop_oneof![Just(Unit::Month), Just(Unit::Quarter), Just(Unit::Year)]);
    let interval = |(count, unit)| Interval { unit, count: std::num::NonZeroU32::new(count).unwrap() };
    let anywhere = prop_oneof![Just(Alignment::Anniversary), Just(Alignment::Calendar)];
    let monthly = prop_oneof![anywhere.clone(), (1_u8..=31).prop_map(Alignment::DayOfMonth)];
    prop_oneof![(short.prop_map(interval), anywhere), (long.prop_map(interval), monthly),]
}

proptest! {
    /// RULES 2 and 7: from the start to the end, or to where nothing is due, what turns close and open tiles
    /// time, however late they are billed; short periods lie within the full ones they are prorated by.
    #[test]
    fn turns_tile_time(
        start in 1_400_000_000_i64..1_900_000_000,
        lead_days in -400_i64..400,
        (interval, alignment) in cycles(),
        zone in 0..chrono_tz::TZ_VARIANTS.len(),
        trial_days in prop_oneof![Just(0_u16), 1_u16..60],
        ends_after in prop::option::of(1_i64..70_000_000),
        canceled_after in prop::option::of((-5_000_000_i64..70_000_000, any::<bool>(), any::<bool>())),
        steps in prop::collection::vec(1_i64..20_000_000, 1..8),
    ) {
        let start = DateTime::from_timestamp(start, 0).unwrap();
        let now = start - TimeDelta::days(lead_days);
        let plan = PlanVersion { interval, trial_days, ..plan(0) };
        let wanted = Wanted {
            start_at: Some(start),
            ends_at: ends_after.map(|seconds| start + TimeDelta::seconds(seconds)),
            timezone: Some(chrono_tz::TZ_VARIANTS[zone]),
            alignment,
            ..wanted()
        };
        let mut subscription =
            Subscription::try_new(now, &tenant(now), &customer(now, None), &plan, wanted, false).unwrap();

        let mut turns = Vec::new();
        let mut clock = now;
        for step in &steps {
            clock += TimeDelta::seconds(*step);
            turns.extend(turns_until(&mut subscription, clock));
        }
        if let Some((after, at_once, bill_first)) = canceled_after {
            clock = clock.max(start + TimeDelta::seconds(after));
            if bill_first {
                turns.extend(turns_until(&mut subscription, clock));
            }
            let when = if at_once { CancelWhen::Now } else { CancelWhen::PeriodEnd };
            let _ = subscription.cancel(clock, when, CancelReason::Requested).unwrap();
            prop_assert!(!at_once || subscription.status == Status::Canceled);
        }
        let horizon = clock.max(start) + Months::new(72);
        turns.extend(turns_until(&mut subscription, horizon));

        let Some(first) = turns.first() else {
            prop_assert!(subscription.ended_at.is_some_and(|ended_at| ended_at <= start));
            return Ok(());
        };
        prop_assert!(first.at == start && first.closes.is_none());
        for turn in &turns {
            prop_assert_eq!(turn.ends, turn.opens.is_none());
            prop_assert!(turn.closes.is_none_or(|closes| closes.end == turn.at));
            prop_assert!(turn.opens.is_none_or(|opens| opens.start == turn.at && opens.start < opens.end));
            for (period, full) in [(turn.closes, turn.closes_full), (turn.opens, turn.opens_full)] {
                prop_assert_eq!(period.is_some(), full.is_some());
                let whole = period.zip(full);
                prop_assert!(whole.is_none_or(|(part, full)| full.start <= part.start && part.end <= full.end));
            }
        }
        for pair in turns.windows(2) {
            let (opened, closed) = (pair[0].opens.unwrap(), pair[1].closes.unwrap());
            prop_assert_eq!(opened.start, closed.start);
            prop_assert_eq!(pair[0].opens_full, pair[1].closes_full);
            prop_assert_eq!(pair[0].opens_trial, pair[1].closes_trial);
            // Only canceling at once cuts a period that was open.
            let cut = subscription.ended_at == Some(closed.end) && closed.end < opened.end;
            prop_assert!(opened.end == closed.end || (cut && pair[1].ends));
        }
        let stopped = ends_after.is_some() || canceled_after.is_some();
        prop_assert_eq!(stopped, subscription.next_due_at.is_none());
        prop_assert_eq!(stopped, subscription.status == Status::Canceled);
        prop_assert!(subscription.next_due_at.is_none_or(|next| horizon < next));
    }
}
