//! Turns of the cycle, to the cent: what each bills, and what the invoice comes to.

use accrue_core::{
    calendar::{Alignment, Grid, Interval, Period, Unit},
    decimal::Number,
    exact::Exact,
    id::{CustomerId, PlanId, PlanVersionId, PriceId, SubscriptionId, TenantId},
    invoice::TaxRounding,
    money::{Currency, Money},
    price::Model,
};
use accrue_platform::check::Metadata;
use uuid::Uuid;

use super::*;
use crate::{
    catalog::TaxTable,
    customers::Exemption,
    invoices::{
        draft::{Basis as Of, draft},
        model::{Invoice, Letterhead, PartyCopy, Reason, TaxCopy},
        samples::{at, period},
    },
    subscriptions::{Access, Collection, Part as TurnPart, Status},
};

fn price(at: u128, name: &str, kind: PriceKind, timing: Timing, model: &str) -> Price {
    Price {
        id: PriceId(Uuid::from_u128(at)),
        code: name.to_lowercase(),
        name: name.to_owned(),
        kind,
        timing,
        metric_id: None,
        model: serde_json::from_str(model).unwrap(),
        filters: vec![],
        group_by: vec![],
        minimum_amount: None,
        maximum_amount: None,
        free_quantity: Decimal::ZERO,
        prorate: kind != PriceKind::Usage,
        tax_code: None,
    }
}

fn fee(amount: &str, timing: Timing) -> Price {
    let model = format!(r#"{{"type":"flat","amount":"{amount}"}}"#);
    price(1, "Platform fee", PriceKind::Fixed, timing, &model)
}

fn seats(unit_price: &str) -> Price {
    let model = format!(r#"{{"type":"per_unit","unit_price":"{unit_price}"}}"#);
    price(2, "Seats", PriceKind::Seat, Timing::Advance, &model)
}

/// The first 1,000 for nothing, the next 9,000 at 0.004 and 5 to enter, the rest at 0.0025.
fn calls() -> Price {
    let model = r#"{"type":"graduated","tiers":[
        {"up_to":"1000","unit_price":"0","flat_fee":"0"},
        {"up_to":"10000","unit_price":"0.004","flat_fee":"5"},
        {"up_to":null,"unit_price":"0.0025","flat_fee":"0"}]}"#;
    price(3, "API calls", PriceKind::Usage, Timing::Arrears, model)
}

fn plan(currency: Currency, prices: Vec<Price>) -> PlanVersion {
    PlanVersion {
        tenant_id: TenantId(Uuid::nil()),
        plan_id: PlanId(Uuid::nil()),
        id: PlanVersionId(Uuid::nil()),
        code: "team".into(),
        name: "Team plan".into(),
        version: 1,
        currency,
        interval: Interval::every(Unit::Month),
        trial_days: 0,
        prices,
        commitment: None,
        features: vec![],
        metadata: Metadata::new(),
        created_at: at("2026-01-01T00:00:00Z"),
        archived_at: None,
    }
}

fn subscription(currency: Currency, seats: &str) -> Subscription {
    let start = at("2026-01-01T00:00:00Z");
    Subscription {
        tenant_id: TenantId(Uuid::nil()),
        id: SubscriptionId(Uuid::nil()),
        customer_id: CustomerId(Uuid::nil()),
        test_clock_id: None,
        external_id: None,
        plan_id: PlanId(Uuid::nil()),
        plan_version_id: PlanVersionId(Uuid::nil()),
        status: Status::Active,
        currency,
        timezone: Tz::UTC,
        alignment: Alignment::Anniversary,
        interval: Interval::every(Unit::Month),
        anchor_at: start,
        start_at: start,
        trial_end_at: None,
        period: period("2026-01-01", "2026-02-01"),
        opened: true,
        phase_from: start,
        fees_from: start,
        fees_until: start,
        fees_basis: Basis::Day,
        changes: 0,
        scheduled: None,
        usage_in_pause: None,
        access: Access::Full,
        quantities: [("seats".to_owned(), Number(seats.parse().unwrap()))].into(),
        collection: Collection::Automatic,
        net_terms_days: 30,
        progressive_billing_threshold: None,
        ends_at: None,
        cancel_at: None,
        canceled_at: None,
        cancel_reason: None,
        ended_at: None,
        next_due_at: None,
        metadata: Metadata::new(),
        created_at: start,
    }
}

fn turn(closes: Option<Period>, opens: Option<Period>) -> Turn {
    let part = |period| TurnPart {
        plan_version_id: PlanVersionId(Uuid::nil()),
        period,
        full: period,
        fees: Some(period),
        usage: Some(period),
        basis: Basis::Day,
        before: None,
        has_no_minimum: false,
        is_trial: false,
        only_prorated: false,
    };
    Turn {
        at: opens.map_or_else(|| closes.unwrap().end, |period| period.start),
        closes: closes.map(part),
        opens: opens.map(part),
        unused: None,
        change: 0,
        ends: opens.is_none(),
    }
}

/// The same around another nominal period.
fn within(part: Option<TurnPart>, full: Period) -> Option<TurnPart> {
    part.map(|part| TurnPart { full, ..part })
}

/// The same as a trial: it costs nothing but usage.
fn on_trial(part: Option<TurnPart>) -> Option<TurnPart> {
    part.map(|part| TurnPart { fees: None, has_no_minimum: true, is_trial: true, ..part })
}

fn january() -> Period {
    period("2026-01-01", "2026-02-01")
}

fn february() -> Period {
    period("2026-02-01", "2026-03-01")
}

fn vat() -> TaxCopy {
    crate::invoices::samples::vat(Money::zero(Currency::USD), Money::zero(Currency::USD)).tax
}

/// The invoice of a turn in which `used` was measured; each line has this tax.
fn bill(
    plan: &PlanVersion,
    subscription: &Subscription,
    turn: &Turn,
    used: &str,
    tax: Option<TaxCopy>,
) -> Option<Invoice> {
    let used = [used_of(None, &[], used)];
    let taxes_of_lines: Vec<TaxCopy> = tax.into_iter().collect();
    let charges = due((plan, plan), turn)
        .into_iter()
        .flat_map(|due| match agreed_quantity(due.price, subscription) {
            Some(quantity) => vec![charge(due, quantity, subscription.timezone).unwrap()],
            None => usage_charges(due, &used, subscription.currency).unwrap(),
        })
        .map(|charge| Charge { taxes: Some(taxes_of_lines.clone()), ..charge })
        .collect();
    let (issuer, customer) = (PartyCopy::default(), PartyCopy::default());
    let (period, reason) = (turn.opens.or(turn.closes).unwrap().period, Reason::of(turn));
    let exemption = Exemption::None;
    let of = Of {
        subscription,
        plans: vec![plan],
        period,
        reason,
        change: 0,
        taxes: TaxTable::default(),
        tax_rounding: TaxRounding::Rate,
        exemption,
        payer: subscription.customer_id,
        made_for: None,
        issuer_id: None,
        issuer,
        customer,
        letterhead: Letterhead::default(),
    };
    draft(of, charges, turn.at).unwrap()
}

/// What a bucket holds.
fn used_of(filter: Option<usize>, group: &[Option<&str>], quantity: &str) -> BucketUsage {
    let group = group.iter().map(|value| value.map(str::to_owned)).collect();
    let quantity = Exact::from(quantity.parse::<Decimal>().unwrap());
    BucketUsage { key: BucketKey { filter, group }, measured: Measured::Units(quantity.clone()), quantity }
}

/// Each line's description and amount.
fn lines(invoice: &Invoice) -> Vec<(&str, String)> {
    invoice.lines.iter().map(|line| (line.description.as_str(), line.amount.to_string())).collect()
}

#[test]
fn the_first_turn_bills_the_fees_in_advance_and_no_usage() {
    let plan = plan(Currency::EUR, vec![fee("99.00", Timing::Advance), seats("12.50"), calls()]);
    let invoice =
        bill(&plan, &subscription(Currency::EUR, "5"), &turn(None, Some(january())), "9999", Some(vat()))
            .unwrap();

    assert_eq!(invoice.reason, Reason::Create);
    assert_eq!(
        lines(&invoice),
        [("Team plan – Platform fee", "99.00".into()), ("Team plan – Seats", "62.50".into())]
    );
    assert_eq!(invoice.lines[1].quantity, 5.into());
    assert_eq!(invoice.lines[1].unit_price, Some("12.5".parse().unwrap()));
    // 19 % of 161.50 is 30.685: rounded once, away from zero.
    let sums = [invoice.subtotal, invoice.tax_total, invoice.total].map(|sum| sum.to_string());
    assert_eq!(sums, ["161.50", "30.69", "192.19"]);
    assert_eq!(invoice.taxes[0].base_minor, 16_150);
}

#[test]
fn a_renewal_bills_the_usage_of_the_closed_period_and_the_fees_of_the_opened_one() {
    let plan = plan(Currency::EUR, vec![fee("99.00", Timing::Advance), calls()]);
    let turn = turn(Some(january()), Some(february()));
    let invoice = bill(&plan, &subscription(Currency::EUR, "0"), &turn, "12345", None).unwrap();

    // 9,000 × 0.004 + 5 + 2,345 × 0.0025 = 46.8625
    assert_eq!(
        lines(&invoice),
        [("Team plan – Platform fee", "99.00".into()), ("Team plan – API calls", "46.86".into())]
    );
    let [fee, usage] = invoice.lines.as_slice() else { panic!("two lines") };
    assert_eq!((fee.period, usage.period), (february(), january()));
    assert_eq!(usage.exact_amount, "46.8625".parse().unwrap());
    assert_eq!(usage.unit_price, None);
    let tiers: Vec<_> = usage.tiers.iter().map(|tier| tier.amount.to_string()).collect();
    assert_eq!(tiers, ["0", "41", "5.8625"]);
    assert_eq!((invoice.reason, invoice.period), (Reason::Cycle, february()));
}

#[test]
fn the_last_turn_bills_what_is_left_of_the_closed_period() {
    let plan = plan(Currency::EUR, vec![fee("99.00", Timing::Advance), calls()]);
    let turn = turn(Some(january()), None);
    let invoice = bill(&plan, &subscription(Currency::EUR, "0"), &turn, "2000", None).unwrap();
    assert_eq!(lines(&invoice), [("Team plan – API calls", "9.00".into())]);
    assert_eq!((invoice.reason, invoice.period), (Reason::Cancel, january()));
}

#[test]
fn a_short_first_period_is_prorated_by_its_days() {
    // From 10 March on, aligned to the 1st: 22 days of 31, the first one included.
    let start = at("2026-03-10T09:00:00Z");
    let grid =
        Grid::try_new(start, Interval::every(Unit::Month), Alignment::Calendar, Tz::Europe__Berlin).unwrap();
    let (first, full) = (grid.first_period(start).unwrap(), grid.containing(start).unwrap());
    let plan = plan(Currency::EUR, vec![fee("99.00", Timing::Advance), seats("12.50")]);
    let opening = turn(None, Some(first));
    let turn = Turn { opens: within(opening.opens, full), ..opening };
    let berlin = Subscription { timezone: Tz::Europe__Berlin, ..subscription(Currency::EUR, "3") };
    let invoice = bill(&plan, &berlin, &turn, "0", None).unwrap();

    // 99 × 22/31 = 70.258…, 37.50 × 22/31 = 26.612…
    assert_eq!(
        lines(&invoice),
        [("Team plan – Platform fee", "70.26".into()), ("Team plan – Seats", "26.61".into())]
    );
    let part = Some(Fraction { numerator: 22, denominator: 31 });
    assert!(invoice.lines.iter().all(|line| line.proration == part));
    assert_eq!(invoice.lines[1].quantity, 3.into());
    assert_eq!(invoice.lines[1].tiers[0].amount.to_string(), "37.5");
}

#[test]
fn fees_in_arrears_of_a_period_cut_short_are_prorated_and_usage_is_not() {
    let plan = plan(Currency::EUR, vec![fee("31.00", Timing::Arrears), calls()]);
    // Canceled on the 16th, which is not paid any more: 15 days of 31.
    let cut = Period { start: january().start, end: at("2026-01-16T18:00:00Z") };
    let closing = turn(Some(cut), None);
    let turn = Turn { closes: within(closing.closes, january()), ..closing };
    let invoice = bill(&plan, &subscription(Currency::EUR, "0"), &turn, "2000", None).unwrap();
    assert_eq!(
        lines(&invoice),
        [("Team plan – Platform fee", "15.00".into()), ("Team plan – API calls", "9.00".into())]
    );
    assert_eq!(invoice.lines[0].proration, Some(Fraction { numerator: 15, denominator: 31 }));
    assert_eq!(invoice.lines[1].proration, None);
}

#[test]
fn a_whole_period_is_not_prorated() {
    let plan = plan(Currency::EUR, vec![fee("99.00", Timing::Advance)]);
    let invoice =
        bill(&plan, &subscription(Currency::EUR, "0"), &turn(None, Some(january())), "0", None).unwrap();
    assert_eq!(invoice.lines[0].proration, None);
    assert_eq!(invoice.lines[0].unit_price, Some(99.into()));
}

#[test]
fn a_trial_costs_its_usage_and_nothing_else() {
    let plan = plan(
        Currency::EUR,
        vec![fee("99.00", Timing::Advance), fee("7.00", Timing::Arrears), seats("12.50"), calls()],
    );
    let subscription = subscription(Currency::EUR, "5");
    let begins = turn(None, Some(january()));
    let begins = Turn { opens: on_trial(begins.opens), ..begins };
    assert_eq!(bill(&plan, &subscription, &begins, "0", None), None);

    let ends = turn(Some(january()), Some(february()));
    let ends = Turn { closes: on_trial(ends.closes), ..ends };
    let invoice = bill(&plan, &subscription, &ends, "2000", None).unwrap();
    assert_eq!(
        lines(&invoice),
        [
            ("Team plan – Platform fee", "99.00".into()),
            ("Team plan – Seats", "62.50".into()),
            ("Team plan – API calls", "9.00".into()),
        ]
    );
}

#[test]
fn what_is_paid_once_is_paid_when_the_subscription_begins_to_cost_something() {
    let setup = price(5, "Setup", PriceKind::OneTime, Timing::Advance, r#"{"type":"flat","amount":"31.00"}"#);
    let plan = plan(Currency::EUR, vec![Price { prorate: false, ..setup }]);
    let subscription = subscription(Currency::EUR, "0");
    // A short first period costs no less.
    let short = Period { start: at("2026-01-16T00:00:00Z"), ..january() };
    let begins = turn(None, Some(short));
    let begins = Turn { opens: within(begins.opens, january()), ..begins };
    let invoice = bill(&plan, &subscription, &begins, "0", None).unwrap();
    assert_eq!(lines(&invoice), [("Team plan – Setup", "31.00".into())]);
    assert_eq!((invoice.lines[0].kind.as_str(), invoice.lines[0].period), ("one_time", short));
    assert_eq!(bill(&plan, &subscription, &turn(Some(january()), Some(february())), "0", None), None);
    assert_eq!(bill(&plan, &subscription, &turn(Some(january()), None), "0", None), None);

    let trial_begins = Turn { opens: on_trial(begins.opens), ..begins };
    assert_eq!(bill(&plan, &subscription, &trial_begins, "0", None), None);
    let goes_on = turn(Some(january()), Some(february()));
    let trial_ends = Turn { closes: on_trial(goes_on.closes), ..goes_on };
    assert_eq!(lines(&bill(&plan, &subscription, &trial_ends, "0", None).unwrap()).len(), 1);
    let canceled = turn(Some(january()), None);
    let canceled_on_trial = Turn { closes: on_trial(canceled.closes), ..canceled };
    assert_eq!(bill(&plan, &subscription, &canceled_on_trial, "0", None), None);
    // A change is no beginning, not even one that begins a period or splits a trial.
    for closes in [goes_on.closes, trial_ends.closes, None] {
        let changed = Turn { closes, change: 1, ..goes_on };
        assert_eq!(bill(&plan, &subscription, &changed, "0", None), None);
    }
}

#[test]
fn a_period_is_topped_up_to_its_part_of_the_commitment() {
    let least =
        price(6, "Minimum", PriceKind::Commitment, Timing::Arrears, r#"{"type":"flat","amount":"310"}"#);
    let cut = Period { end: at("2026-01-16T18:00:00Z"), ..january() };
    let due = Due {
        price: &least,
        period: cut,
        full: january(),
        has_no_minimum: false,
        basis: Basis::Day,
        before: None,
    };
    let topped_up = |due, spent: &str| {
        let charge = commitment(due, Money::parse(spent, Currency::EUR).unwrap(), Tz::UTC).unwrap();
        charge.exact_amount.to_string()
    };
    // 15 days of 31.
    assert_eq!(topped_up(due, "49.99"), "100.01");
    assert_eq!(topped_up(due, "150.00"), "0");
    assert_eq!(topped_up(due, "1000.00"), "0");
    assert_eq!(topped_up(Due { period: january(), ..due }, "-10.00"), "320.00");
    assert_eq!(topped_up(Due { has_no_minimum: true, ..due }, "0.00"), "0");
}

#[test]
fn yen_have_no_cents() {
    let per_unit = r#"{"type":"per_unit","unit_price":"0.05"}"#;
    let requests = price(4, "Requests", PriceKind::Usage, Timing::Arrears, per_unit);
    let plan = plan(Currency::JPY, vec![requests]);
    let turn = turn(Some(january()), None);
    let yen = subscription(Currency::JPY, "0");
    let invoice = bill(&plan, &yen, &turn, "1250", Some(vat())).unwrap();
    // 62.5 is 63; 19 % of that is 11.97.
    assert_eq!(lines(&invoice), [("Team plan – Requests", "63".into())]);
    assert_eq!((invoice.tax_total.to_string(), invoice.total.to_string()), ("12".into(), "75".into()));
}

#[test]
fn where_nothing_was_used_and_nothing_is_owed_there_is_no_line_and_no_invoice() {
    let plan = plan(Currency::EUR, vec![seats("12.50"), calls()]);
    let turn = turn(Some(january()), Some(february()));
    assert_eq!(bill(&plan, &subscription(Currency::EUR, "0"), &turn, "0", None), None);
    // A negative total bills as 0.
    assert_eq!(bill(&plan, &subscription(Currency::EUR, "0"), &turn, "-5", None), None);
}

#[test]
fn usage_that_costs_nothing_is_still_shown() {
    let plan = plan(Currency::EUR, vec![calls()]);
    let turn = turn(Some(january()), Some(february()));
    let invoice = bill(&plan, &subscription(Currency::EUR, "0"), &turn, "1000", None).unwrap();
    assert_eq!(lines(&invoice), [("Team plan – API calls", "0.00".into())]);
    assert_eq!(invoice.total, Money::zero(Currency::EUR));
}

#[test]
fn a_price_with_the_plans_own_name_is_not_named_twice() {
    let mut plan = plan(Currency::EUR, vec![fee("99.00", Timing::Advance)]);
    plan.prices[0].name = plan.name.clone();
    let invoice =
        bill(&plan, &subscription(Currency::EUR, "0"), &turn(None, Some(january())), "0", None).unwrap();
    assert_eq!(lines(&invoice), [("Team plan", "99.00".into())]);
}

#[test]
fn what_is_too_large_to_count_is_an_error_and_no_invoice() {
    let due = Due {
        price: &calls(),
        period: january(),
        full: january(),
        has_no_minimum: false,
        basis: Basis::Day,
        before: None,
    };
    let used = [used_of(None, &[], &"9".repeat(28))];
    assert!(matches!(
        usage_charges(due, &used, Currency::EUR),
        Err(ChargeError::Rating(RatingError::Money(_)))
    ));
    let dear = Price { model: Model::PerUnit { unit_price: Number(1000.into()) }, ..calls() };
    let due = Due { price: &dear, ..due };
    assert!(matches!(usage_charges(due, &used, Currency::EUR), Err(ChargeError::Rating(_))));
}
