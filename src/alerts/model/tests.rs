use proptest::prelude::*;

use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn number(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn month(month: u32) -> Period {
    let start = |month| at(&format!("2026-{month:02}-01T00:00:00Z"));
    Period::try_new(start(month), start(month + 1)).unwrap()
}

fn alert(kind: Kind, threshold: &str) -> Alert {
    let now = at("2026-01-01T00:00:00Z");
    Alert {
        tenant_id: TenantId::new(now),
        id: UsageAlertId::new(now),
        customer_id: Some(CustomerId::new(now)),
        template_id: None,
        test_clock_id: None,
        metric_id: MetricId::new(now),
        name: "A".into(),
        kind,
        threshold: number(threshold),
        currency: None,
        is_active: true,
        is_triggered: false,
        last_trigger: None,
        review_at: None,
        metadata: Metadata::new(),
        created_at: now,
    }
}

fn used(quantity: &str, period: Period) -> Reading {
    Reading { subscription: None, period, measured: Measured::Quantity(number(quantity)) }
}

/// Lets an alert have a reading, as the database would, and says what is told.
fn told(alert: &mut Alert, reading: &Reading) -> &'static str {
    let now = reading.period.start;
    match alert.step(Some(reading), now) {
        Step::Nothing => "nothing",
        Step::Triggers(trigger) => {
            alert.trigger(trigger);
            "triggered"
        }
        Step::Recovers => {
            alert.recover(Some(reading), now);
            "recovered"
        }
    }
}

#[test]
fn it_triggers_at_the_threshold_once_in_a_period_and_recovers_below_it() {
    let mut alert = alert(Kind::Quantity, "100");
    let (january, february) = (month(1), month(2));
    let mut steps = |readings: &[(&str, Period)]| -> Vec<&str> {
        readings.iter().map(|(quantity, period)| told(&mut alert, &used(quantity, *period))).collect()
    };
    assert_eq!(
        steps(&[("99.999999999999999999", january), ("100", january), ("101", january)]),
        ["nothing", "triggered", "nothing"]
    );
    assert_eq!(
        steps(&[("99", january), ("98", january), ("150", january)]),
        ["recovered", "nothing", "nothing"]
    );
    assert_eq!(
        steps(&[("150", february), ("0", month(3)), ("-5", month(3))]),
        ["triggered", "recovered", "nothing"]
    );
    assert_eq!(alert.status(), Status::Ok);
}

#[test]
fn what_is_over_the_threshold_from_the_start_triggers_in_each_period_and_does_not_recover_between() {
    let mut alert = alert(Kind::Quantity, "10");
    let steps: Vec<_> = (1..4).map(|of| told(&mut alert, &used("10", month(of)))).collect();
    assert_eq!(steps, ["triggered", "triggered", "triggered"]);
}

#[test]
fn another_threshold_may_trigger_in_the_same_period() {
    let mut alert = alert(Kind::Quantity, "10");
    assert_eq!(told(&mut alert, &used("15", month(1))), "triggered");
    alert.threshold = number("20");
    assert_eq!(told(&mut alert, &used("15", month(1))), "recovered");
    assert_eq!(told(&mut alert, &used("20", month(1))), "triggered");
}

#[test]
fn what_is_granted_no_more_has_recovered() {
    let mut alert = alert(Kind::PercentOfLimit, "80");
    assert_eq!(alert.step(None, at("2026-01-02T00:00:00Z")), Step::Nothing);
    alert.is_triggered = true;
    assert_eq!(alert.step(None, at("2026-01-02T00:00:00Z")), Step::Recovers);
}

#[test]
fn a_part_of_a_limit_is_compared_without_dividing() {
    let reaches = |used: &str, limit: &str, threshold: &str| {
        Measured::OfLimit { used: number(used), limit: number(limit) }.reaches(number(threshold))
    };
    assert!(reaches("1", "3", "33.333333333333333333") && !reaches("1", "3", "33.333333333333333334"));
    assert!(reaches("8", "10", "80") && !reaches("7.9999999999999999999999999", "10", "80"));
    assert!(reaches("25", "10", "250"));
    let most = "9999999999999999999999999999";
    assert!(reaches(most, most, "100") && !reaches(most, most, "100.01"));
    assert!(reaches("0.1", "0", "500") && !reaches("0", "0", "0.1"));
    let shown = |used: &str, limit: &str| {
        Measured::OfLimit { used: number(used), limit: number(limit) }
            .value()
            .map(|value| value.0.to_string())
    };
    assert_eq!(shown("1", "8").as_deref(), Some("12.5"));
    assert_eq!(shown("1", "0"), None);
}

#[test]
fn an_amount_has_the_customers_currency_and_its_digits() {
    let usd: Currency = "USD".parse().unwrap();
    assert_eq!(Kind::Amount.currency_of(number("12.34"), Some(usd)), Ok(Some(usd)));
    assert!(matches!(Kind::Amount.currency_of(number("1.234"), Some(usd)), Err(ThresholdError::Amount(_))));
    assert_eq!(Kind::Amount.currency_of(number("1"), None), Err(ThresholdError::NoCurrency));
    assert_eq!(Kind::Quantity.currency_of(number("1.234"), None), Ok(None));
    assert_eq!(Kind::Quantity.currency_of(number("0"), None), Err(ThresholdError::NotPositive));
    let priced = Alert { currency: Some(usd), ..alert(Kind::Amount, "5") };
    assert_eq!(priced.written(Number(number("5"))), "5.00");
}

proptest! {
    /// However usage goes up and down: in each period it is told once at most, a recovery only after it, and what
    /// was told last says whether usage is over the threshold, unless it has recovered in that period.
    #[test]
    fn what_is_told_alternates_and_triggers_once_in_each_period(
        readings in prop::collection::vec((1_u32..6, 0_i64..20), 1..60),
        threshold in 1_i64..20,
    ) {
        let mut alert = alert(Kind::Quantity, &threshold.to_string());
        let mut readings = readings;
        readings.sort_by_key(|(month, _)| *month);
        let (mut triggered_in, mut over) = (Vec::new(), false);
        for (of, quantity) in readings {
            match told(&mut alert, &used(&quantity.to_string(), month(of))) {
                "triggered" => {
                    prop_assert!(quantity >= threshold && !triggered_in.contains(&of));
                    triggered_in.push(of);
                    over = true;
                }
                "recovered" => {
                    prop_assert!(over && quantity < threshold);
                    over = false;
                }
                _ => prop_assert!(over == (quantity >= threshold) || triggered_in.contains(&of)),
            }
            prop_assert_eq!(alert.is_triggered, over);
        }
    }
}
