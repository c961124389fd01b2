//! Worked examples of burning credits, and the properties that hold for all of it.

use chrono::TimeDelta;
use proptest::prelude::*;

use super::*;
use crate::calendar::Unit;

fn at(day: i64) -> DateTime<Utc> {
    "2026-01-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::days(day)
}

fn grant(id: &str, amount: i64, from: i64) -> Grant {
    Grant {
        id: id.into(),
        amount: amount.into(),
        priority: 1,
        effective_at: at(from),
        expires_at: None,
        voided_at: None,
        created_at: None,
        recurrence: None,
        rollover: None,
    }
}

fn used(day: i64, amount: i64) -> Usage {
    Usage { at: at(day), amount: amount.into() }
}

fn state(account: &Account, day: i64) -> Snapshot {
    account.advance(&account.opening(at(0)).unwrap(), at(day)).unwrap().0
}

fn balances(account: &Account, day: i64) -> Vec<String> {
    state(account, day).balances.values().map(ToString::to_string).collect()
}

fn account(grants: Vec<Grant>, usage: Vec<Usage>) -> Account {
    Account { grants, usage, ..Account::default() }
}

#[test]
fn usage_burns_what_was_granted() {
    let account = account(vec![grant("g1", 100, 0)], vec![used(1, 30), used(2, 20)]);
    assert_eq!(balances(&account, 10), ["50"]);
    assert_eq!(state(&account, 10).usage_in_period, Decimal::from(50));
    // Usage at the instant of the question is not in it yet.
    assert_eq!(balances(&account, 2), ["70"]);
}

#[test]
fn a_lower_priority_number_burns_first_then_the_earliest_expiry_then_creation_then_the_identifier() {
    let ids = |grants: Vec<Grant>| {
        let account = account(grants, vec![used(1, 1)]);
        let from = account.opening(at(0)).unwrap();
        account.advance(&from, at(2)).unwrap().1[0].grant.clone()
    };
    let low = Grant { priority: 0, ..grant("z", 5, 0) };
    let soon = Grant { expires_at: Some(at(9)), ..grant("y", 5, 0) };
    let old = Grant { created_at: Some(at(-9)), ..grant("x", 5, 0) };
    let young = Grant { created_at: Some(at(-1)), ..grant("a", 5, 0) };
    let never = grant("b", 5, 0);
    assert_eq!(ids(vec![soon.clone(), low]), "z");
    assert_eq!(ids(vec![never.clone(), soon]), "y");
    assert_eq!(ids(vec![young, old]), "x");
    assert_eq!(ids(vec![never, grant("a", 5, 0)]), "a");
}

#[test]
fn a_grant_lives_from_its_start_up_to_but_not_including_its_end() {
    let expiring = Grant { expires_at: Some(at(5)), ..grant("g1", 10, 2) };
    let account = account(vec![expiring.clone()], vec![used(2, 1), used(5, 1)]);
    assert_eq!(balances(&account, 1), ["0"]);
    assert_eq!(balances(&account, 4), ["9"]);
    assert_eq!(balances(&account, 5), ["0"]);
    assert_eq!(state(&account, 6).overage, Decimal::ONE);

    let voided = Grant { voided_at: Some(at(3)), ..expiring };
    assert_eq!(balances(&self::account(vec![voided], Vec::new()), 4), ["0"]);
}

#[test]
fn the_next_grant_pays_an_overage_at_once() {
    let account = account(vec![grant("g1", 10, 0), grant("g2", 100, 5)], vec![used(1, 30)]);
    assert_eq!(state(&account, 4).overage, Decimal::from(20));
    assert_eq!(balances(&account, 5), ["0", "80"]);
    assert_eq!(state(&account, 5).overage, Decimal::ZERO);
}

#[test]
fn at_a_reset_a_grant_keeps_what_its_rollover_allows() {
    let rolled = |min: i64, max: i64, usage: i64| {
        let rollover = Some(Rollover { min: min.into(), max: max.into() });
        let grant = Grant { rollover, ..grant("g1", 100, 0) };
        let resets = vec![at(5)];
        balances(&Account { resets, ..account(vec![grant], vec![used(1, usage)]) }, 6).remove(0)
    };
    assert_eq!(rolled(0, 50, 20), "50");
    assert_eq!(rolled(0, 50, 70), "30");
    assert_eq!(rolled(10, 50, 95), "10");
    let without = Account { resets: vec![at(5)], ..account(vec![grant("g1", 100, 0)], Vec::new()) };
    assert_eq!(balances(&without, 5), ["0"]);
}

#[test]
fn a_reset_drops_an_overage_unless_it_is_preserved_and_paid_from_what_rolled_over() {
    let rollover = Some(Rollover { min: 15.into(), max: 15.into() });
    let dropped = Account {
        resets: vec![at(5)],
        ..account(vec![Grant { rollover, ..grant("g1", 10, 0) }], vec![used(1, 20)])
    };
    assert_eq!((balances(&dropped, 6).remove(0), state(&dropped, 6).overage), ("15".into(), Decimal::ZERO));
    let preserved = Account { preserve_overage: true, ..dropped };
    assert_eq!(
        (balances(&preserved, 6).remove(0), state(&preserved, 6).overage),
        ("5".into(), Decimal::ZERO)
    );
}

#[test]
fn at_one_instant_come_expiries_resets_grants_and_usage() {
    let expiring = Grant { expires_at: Some(at(5)), ..grant("g1", 100, 0) };
    let account = Account {
        resets: vec![at(5)],
        ..account(vec![expiring, grant("g2", 50, 5)], vec![used(5, 20), used(1, 120)])
    };
    let after = state(&account, 6);
    assert_eq!(balances(&account, 6), ["0", "30"]); // the debt was dropped before the grant could pay it
    assert_eq!((after.overage, after.usage_in_period), (Decimal::ZERO, Decimal::from(20)));
}

#[test]
fn a_recurrence_refills_its_grant_to_its_amount_while_it_is_alive() {
    let interval = Interval::every(Unit::Week);
    let recurrence = Some(Recurrence { interval, anchor: at(-3) });
    let weekly = Grant { recurrence, expires_at: Some(at(18)), ..grant("g1", 10, 0) };
    let account = account(vec![weekly], vec![used(1, 4), used(5, 25)]);
    assert_eq!(balances(&account, 3), ["6"]);
    assert_eq!(balances(&account, 4), ["10"]); // refilled on day 4
    assert_eq!(state(&account, 10).overage, Decimal::from(15));
    assert_eq!(state(&account, 11).overage, Decimal::from(5)); // the refill pays the debt
    assert_eq!(balances(&account, 18), ["0"]); // a refill at the end is none
}

#[test]
fn an_endless_recurrence_is_an_error_and_not_endless_work() {
    let recurrence = Some(Recurrence { interval: Interval::every(Unit::Day), anchor: at(0) });
    let account = account(vec![Grant { recurrence, ..grant("g1", 10, 0) }], Vec::new());
    let opening = account.opening(at(0)).unwrap();
    assert_eq!(account.advance(&opening, at(20_000)), Err(CreditError::TooManyRefills));
}

fn accounts() -> impl Strategy<Value = Account> {
    let days = -5_i64..40;
    let grant = (
        0_i64..200,
        0_i64..3,
        days.clone(),
        prop::option::of(days.clone()),
        prop::option::of(days.clone()),
        prop::option::of((1_u32..10, days.clone())),
        prop::option::of((0_i64..50, 0_i64..100)),
    );
    let grants = prop::collection::vec(grant, 0..6).prop_map(|grants| {
        let grant = |(id, (amount, priority, from, expires, voided, recurs, rollover))| Grant {
            amount: i64::into(amount),
            priority,
            expires_at: Option::map(expires, at),
            voided_at: Option::map(voided, at),
            recurrence: Option::map(recurs, |(count, anchor): (u32, i64)| Recurrence {
                interval: Interval { unit: Unit::Day, count: count.try_into().unwrap() },
                anchor: at(anchor),
            }),
            rollover: Option::map(rollover, |(min, max): (i64, i64)| Rollover {
                min: min.into(),
                max: max.into(),
            }),
            ..self::grant(&format!("g{id}"), 0, from)
        };
        (0_u32..).zip(grants).map(grant).collect()
    });
    let usage = prop::collection::vec((0_i64..40, 0_i64..100), 0..20);
    let resets = prop::collection::vec(0_i64..40, 0..4);
    (grants, usage, resets, any::<bool>()).prop_map(|(grants, usage, resets, preserve_overage)| Account {
        grants,
        usage: usage.into_iter().map(|(day, amount)| used(day, amount)).collect(),
        resets: resets.into_iter().map(at).collect(),
        preserve_overage,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::long::cases(256)))]

    /// RULES 40: a stored snapshot is only a cache.
    #[test]
    fn going_on_from_a_snapshot_gives_the_same_as_starting_over(
        account in accounts(),
        stops in prop::collection::vec(0_i64..40, 0..6),
    ) {
        let opening = account.opening(at(0)).unwrap();
        let (whole, movements) = account.advance(&opening, at(40)).unwrap();

        let mut stops = stops;
        stops.sort_unstable();
        let (mut cached, mut moved) = (opening, Vec::new());
        for stop in stops.into_iter().chain([40]) {
            let (snapshot, more) = account.advance(&cached, at(stop)).unwrap();
            cached = snapshot;
            moved.extend(more);
        }
        prop_assert_eq!(cached, whole);
        prop_assert_eq!(moved, movements);
    }

    #[test]
    fn no_balance_is_negative_and_no_credit_is_left_beside_a_debt(account in accounts(), day in 0_i64..40) {
        let state = state(&account, day);
        prop_assert!(state.balances.values().all(|balance| *balance >= Decimal::ZERO));
        prop_assert!(state.overage.is_zero() || state.balance().unwrap().is_zero());
    }

    #[test]
    fn movements_explain_every_balance_and_pay_no_more_than_was_used(account in accounts()) {
        let opening = account.opening(at(0)).unwrap();
        let (end, movements) = account.advance(&opening, at(40)).unwrap();
        let mut balances = opening.balances.clone();
        let mut paid = Decimal::ZERO;
        for movement in &movements {
            *balances.get_mut(&movement.grant).unwrap() += movement.change;
            if matches!(movement.cause, Cause::Used | Cause::PaidOverage) {
                paid -= movement.change;
            }
        }
        let usage: Decimal = account.usage.iter().map(|usage| usage.amount).sum();
        prop_assert_eq!(balances, end.balances);
        prop_assert!(paid <= usage);
    }
}
