//! The life of a subscription, told by its turns.

mod ends;
mod tiling;

use accrue_core::{
    calendar::{CalendarError, Unit},
    id::PriceId,
    invalid::Invalid,
    price::Model,
};
use chrono::{Months, TimeDelta};
use rust_decimal::Decimal;

use super::*;
use crate::{
    auth::{Tenant, TenantSettings},
    catalog::{PlanVersion, Price, PriceKind, Timing},
    customers::{Address, Customer, Exemption},
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
        parent_id: None,
        issuer_id: None,
        name: "Buyer".to_owned(),
        email: None,
        invoice_contacts: Vec::new(),
        currency: None,
        timezone: timezone.map(str::to_owned),
        locale: None,
        net_terms_days: None,
        address: Address::default(),
        tax_ids: Vec::new(),
        exemption: Exemption::None,
        test_clock_id: None,
        default_payment_method_id: None,
        balance_minor: 0,
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
        filters: vec![],
        group_by: vec![],
        minimum_amount: None,
        maximum_amount: None,
        free_quantity: Decimal::ZERO,
        prorate: true,
        tax_code: None,
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
        commitment: None,
        features: Vec::new(),
        metadata: Metadata::new(),
        created_at: now,
        archived_at: None,
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
        progressive_billing_threshold: None,
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
        if let Some(opens) = opens(&turn) {
            // It is known before it is billed.
            for at in [opens.start, opens.end - TimeDelta::microseconds(1)] {
                assert_eq!(subscription.period_at(at), Ok(opens));
            }
        }
        subscription.apply(turn).unwrap();
        turns.push(turn);
    }
    turns
}

fn opens(turn: &Turn) -> Option<Period> {
    turn.opens.map(|part| part.period)
}

fn closes(turn: &Turn) -> Option<Period> {
    turn.closes.map(|part| part.period)
}

fn opens_full(turn: &Turn) -> Option<Period> {
    turn.opens.map(|part| part.full)
}

fn closes_full(turn: &Turn) -> Option<Period> {
    turn.closes.map(|part| part.full)
}

fn opens_trial(turn: &Turn) -> bool {
    turn.opens.is_some_and(|part| part.has_no_minimum)
}

fn closes_trial(turn: &Turn) -> bool {
    turn.closes.is_some_and(|part| part.has_no_minimum)
}

fn cancel(subscription: &mut Subscription, now: &str, when: When) -> Outcome {
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
    assert_eq!(closes(&turns[1]), Some(period("2024-01-31T10:00:00Z", "2024-02-29T10:00:00Z")));
    assert_eq!(opens(&turns[1]), Some(period("2024-02-29T10:00:00Z", "2024-03-31T10:00:00Z")));
    assert_eq!(opens_full(&turns[1]), opens(&turns[1]));
    assert_eq!(subscription.next_due_at, Some(at("2025-03-31T10:00:00Z")));
}

#[test]
fn on_the_calendar_the_first_period_is_short_and_prorated_by_the_whole_month() {
    let aligned = Wanted { alignment: Alignment::Calendar, ..wanted() };
    let mut subscription = subscribed("2026-01-20T09:30:00Z", 0, aligned);

    let [first, second] = turns_until(&mut subscription, at("2026-02-01")).try_into().unwrap();
    assert_eq!(opens(&first), Some(period("2026-01-20T09:30:00Z", "2026-02-01")));
    assert_eq!(opens_full(&first), Some(period("2026-01-01", "2026-02-01")));
    assert_eq!((closes(&second), closes_full(&second)), (opens(&first), opens_full(&first)));
    assert_eq!(opens(&second), Some(period("2026-02-01", "2026-03-01")));
    assert_eq!(opens_full(&second), opens(&second));
}

#[test]
fn a_trial_comes_first_and_paid_periods_count_from_its_end() {
    let mut subscription = subscribed("2026-01-17T08:00:00Z", 14, wanted());
    assert_eq!(subscription.status, Status::Trialing);
    assert_eq!(subscription.trial_end_at, Some(at("2026-01-31T08:00:00Z")));
    assert_eq!(subscription.anchor_at, at("2026-01-31T08:00:00Z"));

    let [start] = turns_until(&mut subscription, at("2026-01-31T07:59:59Z")).try_into().unwrap();
    assert!(opens_trial(&start) && !closes_trial(&start) && closes(&start).is_none());
    assert_eq!(subscription.status, Status::Trialing);

    let [trial_end] = turns_until(&mut subscription, at("2026-01-31T08:00:00Z")).try_into().unwrap();
    assert_eq!(closes(&trial_end), Some(period("2026-01-17T08:00:00Z", "2026-01-31T08:00:00Z")));
    assert_eq!(closes_full(&trial_end), closes(&trial_end));
    assert_eq!(opens(&trial_end), Some(period("2026-01-31T08:00:00Z", "2026-02-28T08:00:00Z")));
    assert!(closes_trial(&trial_end) && !opens_trial(&trial_end));
    assert_eq!(subscription.status, Status::Active);

    let renewals = turns_until(&mut subscription, at("2026-04-01"));
    assert_eq!(renewals.len(), 2);
    assert!(renewals.iter().all(|turn| !closes_trial(turn) && !opens_trial(turn) && !turn.ends));
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
    assert_eq!(opens(&trial_end), Some(period("2026-01-24T12:00:00Z", "2026-02-05")));
    assert_eq!(opens_full(&trial_end), Some(period("2026-01-05", "2026-02-05")));
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
    let opened: Vec<_> = turns.iter().filter_map(opens).collect();
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
    assert_eq!(opens(&february), Some(period("2026-02-01T05:00:00Z", "2026-03-01T05:00:00Z")));
    let opens = opens(&march).unwrap();
    assert_eq!(opens, period("2026-03-01T05:00:00Z", "2026-04-01T04:00:00Z"));
    assert_eq!(((opens.end - opens.start).num_hours(), opens.days(subscription.timezone)), (743, 31));
}

#[test]
fn how_late_turns_are_billed_does_not_change_what_they_bill() {
    let plan = plan(0);
    let subscribed = || try_new("2026-01-15", &plan, wanted()).unwrap();
    let mut in_time = subscribed();
    let mut billed = turns_until(&mut in_time, at("2026-03-20"));
    assert_eq!(cancel(&mut in_time, "2026-03-20", When::Now), Outcome::Changed);
    billed.extend(turns_until(&mut in_time, at("2026-04-01")));

    let mut late = subscribed();
    assert_eq!(cancel(&mut late, "2026-03-20", When::Now), Outcome::Changed);
    assert_eq!(late.status, Status::Canceled);
    assert_eq!(turns_until(&mut late, at("2026-04-01")), billed);
    assert_eq!((late.period, late.ended_at), (in_time.period, in_time.ended_at));

    let mut late = subscribed();
    assert_eq!(cancel(&mut late, "2026-03-20", When::PeriodEnd), Outcome::Changed);
    assert_eq!(late.cancel_at, Some(at("2026-04-15")));
}

#[test]
#[should_panic(expected = "a turn is applied once")]
fn a_turn_cannot_be_applied_twice() {
    let mut subscription = subscribed("2026-01-15", 0, wanted());
    let turn = subscription.due(at("2026-01-15")).unwrap().unwrap();
    subscription.apply(turn).unwrap();
    subscription.apply(turn).unwrap();
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

    assert_eq!(cancel(&mut subscription, "2026-02-20", When::Now), Outcome::Changed);
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
