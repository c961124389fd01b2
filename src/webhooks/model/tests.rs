use std::fmt::Write;

use accrue_core::id::{DeliveryAttemptId, DeliveryId, EventId};
use proptest::prelude::*;
use sea_orm::Iterable;

use super::{
    delivery::{Happening, WAITS, wait_after},
    filter::InvalidFilter,
    *,
};

fn instant(rfc3339: &str) -> DateTime<Utc> {
    rfc3339.parse().unwrap()
}

fn now() -> DateTime<Utc> {
    instant("2026-03-01T00:00:00Z")
}

fn delivery() -> Delivery {
    Delivery {
        tenant_id: TenantId::new(now()),
        id: DeliveryId::new(now()),
        endpoint_id: WebhookEndpointId::new(now()),
        event_id: EventId::new(now()),
        event_type: "invoice.paid".to_owned(),
        status: DeliveryStatus::Pending,
        attempts: 0,
        next_attempt_at: Some(now()),
        created_at: now(),
    }
}

fn endpoint(filters: &[&str]) -> Endpoint {
    Endpoint {
        tenant_id: TenantId::new(now()),
        id: WebhookEndpointId::new(now()),
        url: "https://example.com".to_owned(),
        filters: filters.iter().map(|filter| filter.parse().unwrap()).collect(),
        secret_sealed: String::new(),
        previous_secret: None,
        disabled: None,
        failing_since_at: None,
        metadata: Metadata::new(),
        created_at: now(),
        deleted_at: None,
    }
}

fn answer(status: u16, retry_after: Option<TimeDelta>) -> Attempt {
    let answered = Some(Answered { status, body: String::new(), retry_after });
    Attempt { id: DeliveryAttemptId::new(now()), answered, error: None, duration_ms: 1, created_at: now() }
}

#[test]
fn transition_table() {
    let mut table = String::new();
    for from in DeliveryStatus::iter() {
        for by in Happening::iter() {
            if let Ok(to) = from.on(by) {
                writeln!(table, "{from:?} --{by:?}--> {to:?}").unwrap();
            }
        }
    }
    insta::assert_snapshot!(table, @"
    Pending --Delivered--> Succeeded
    Pending --Failed--> Pending
    Pending --FailedForTheLastTime--> Exhausted
    Pending --EndpointOff--> Canceled
    Pending --Retried--> Pending
    Succeeded --Retried--> Pending
    Exhausted --Retried--> Pending
    Canceled --Retried--> Pending
    ");
}

#[test]
fn a_delivery_that_always_fails_is_tried_ten_times_over_about_75_hours() {
    let (mut delivery, mut at, mut tries) = (delivery(), now(), 0);
    while let Some(next) = delivery.next_attempt_at {
        assert_eq!(delivery.status, DeliveryStatus::Pending);
        at = next;
        tries += 1;
        delivery.attempted(&answer(500, None), at).unwrap();
    }
    assert_eq!((delivery.status, delivery.attempts, tries), (DeliveryStatus::Exhausted, 10, 10));
    let hours = (at - now()).num_hours();
    assert!((60..=91).contains(&hours), "{hours}");
}

proptest! {
    #[test]
    fn every_wait_is_within_a_fifth_of_its_step_and_stays_what_it_is(seed in any::<u128>(), attempts in 1..10_i32) {
        let id = DeliveryId(uuid::Uuid::from_u128(seed));
        let wait = wait_after(id, attempts).unwrap();
        let step = WAITS[usize::try_from(attempts - 1).unwrap()];
        prop_assert!(wait * 10 >= step * 8 && wait * 10 <= step * 12, "{wait}");
        prop_assert_eq!(wait_after(id, attempts), Some(wait));
    }
}

#[test]
fn the_waits_of_many_deliveries_are_spread() {
    let waits: std::collections::BTreeSet<_> =
        (0..1000_u128).map(|seed| wait_after(DeliveryId(uuid::Uuid::from_u128(seed)), 9).unwrap()).collect();
    let spread = *waits.last().unwrap() - *waits.first().unwrap();
    assert!(spread > TimeDelta::hours(9), "{spread}");
}

#[test]
fn only_2xx_is_success_and_410_ends_it() {
    let after = |status| {
        let mut delivery = delivery();
        delivery.attempted(&answer(status, None), now()).unwrap();
        delivery.status
    };
    assert_eq!(after(200), DeliveryStatus::Succeeded);
    assert_eq!(after(299), DeliveryStatus::Succeeded);
    for failed in [100, 199, 300, 301, 308, 400, 404, 429, 500] {
        assert_eq!(after(failed), DeliveryStatus::Pending, "{failed}");
    }
    assert_eq!(after(410), DeliveryStatus::Canceled);
}

#[test]
fn retry_after_makes_the_wait_longer_up_to_a_day_and_never_shorter() {
    let next = |seconds| {
        let mut delivery = delivery();
        delivery.attempted(&answer(503, Some(TimeDelta::seconds(seconds))), now()).unwrap();
        (delivery.next_attempt_at.unwrap() - now()).num_seconds()
    };
    assert_eq!(next(3600), 3600);
    assert_eq!(next(10 * 86_400), 86_400);
    assert!((4..=6).contains(&next(0)) && (4..=6).contains(&next(-5)));
}

#[test]
fn a_retry_after_the_end_is_one_more_attempt() {
    let mut delivery = delivery();
    (delivery.status, delivery.attempts, delivery.next_attempt_at) = (DeliveryStatus::Exhausted, 10, None);
    delivery.retry(now()).unwrap();
    assert_eq!((delivery.next_attempt_at, delivery.next_position()), (Some(now()), 11));
    delivery.attempted(&answer(500, None), now()).unwrap();
    assert_eq!((delivery.status, delivery.next_attempt_at), (DeliveryStatus::Exhausted, None));
}

#[test]
fn an_endpoint_is_disabled_by_410_or_by_five_days_of_nothing_but_failures() {
    let mut gone = endpoint(&["*"]);
    assert!(gone.note(Verdict::Gone, now()));
    assert_eq!(gone.disabled, Some(DisabledReason::Gone));
    assert!(!gone.note(Verdict::Gone, now()), "it is told once");

    let mut failing = endpoint(&["*"]);
    let instant = TimeDelta::microseconds(1);
    assert!(!failing.note(Verdict::Failure, now()));
    assert!(!failing.note(Verdict::Failure, now() + FAILING_MAX - instant));
    assert!(failing.note(Verdict::Failure, now() + FAILING_MAX));
    assert_eq!(failing.disabled, Some(DisabledReason::Failing));

    let mut limping = endpoint(&["*"]);
    limping.note(Verdict::Failure, now());
    limping.note(Verdict::Success, now() + TimeDelta::days(4));
    assert!(!limping.note(Verdict::Failure, now() + TimeDelta::days(8)));
    assert!(limping.is_enabled());
}

#[test]
fn an_endpoint_that_is_turned_on_again_starts_with_a_clean_record() {
    let mut endpoint = endpoint(&["*"]);
    endpoint.note(Verdict::Failure, now());
    endpoint.note(Verdict::Failure, now() + FAILING_MAX);
    endpoint.set_enabled(false);
    assert_eq!(endpoint.disabled, Some(DisabledReason::Failing), "the first reason stays");
    endpoint.set_enabled(true);
    assert!(endpoint.is_enabled() && endpoint.failing_since_at.is_none());
}

#[test]
fn an_endpoint_hears_what_its_filters_name() {
    assert!(endpoint(&["*"]).hears("invoice.paid"));
    let some = endpoint(&["invoice.*", "payment.failed"]);
    assert!(some.hears("invoice.paid") && some.hears("invoice.finalized") && some.hears("payment.failed"));
    for other in ["invoice_line.made", "payment.captured", "invoices.paid", "invoice"] {
        assert!(!some.hears(other), "{other}");
    }
    assert!(!endpoint(&[]).hears("invoice.paid"));
}

#[test]
fn a_filter_survives_the_wire_and_what_is_none_is_refused() {
    for text in ["*", "invoice.*", "subscription.trial_will_end"] {
        assert_eq!(text.parse::<Filter>().unwrap().to_string(), text);
    }
    for text in ["", "invoice", "*.paid", "invoice.", ".paid", "Invoice.paid", "invoice.paid.x", "invoice.**"]
    {
        assert_eq!(text.parse::<Filter>(), Err(InvalidFilter), "{text}");
    }
}
