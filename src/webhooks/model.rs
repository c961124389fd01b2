//! Endpoints, what they want to hear, and the life of a delivery.

use std::{fmt, str::FromStr};

use accrue_core::id::{DeliveryAttemptId, DeliveryId, EventId, TenantId, WebhookEndpointId};
use accrue_platform::check::Metadata;
use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// More of them would make every event slow to tell.
pub(super) const ENDPOINTS_MAX: u64 = 50;

/// What is waited before each attempt after the first one: 75 hours in all.
const WAITS: [TimeDelta; 9] = [
    TimeDelta::seconds(5),
    TimeDelta::minutes(5),
    TimeDelta::minutes(30),
    TimeDelta::hours(2),
    TimeDelta::hours(5),
    TimeDelta::hours(10),
    TimeDelta::hours(14),
    TimeDelta::hours(20),
    TimeDelta::hours(24),
];

/// A receiver may ask to be left alone for so long, and no longer.
const RETRY_AFTER_MAX: TimeDelta = TimeDelta::days(1);

/// An endpoint that has failed for so long, without one success, is disabled.
const FAILING_MAX: TimeDelta = TimeDelta::days(5);

/// After a rotation the old secret signs too, so that the receiver can change over in peace.
pub(super) const ROTATION: TimeDelta = TimeDelta::hours(24);

/// Where a tenant wants to hear of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub tenant_id: TenantId,
    pub id: WebhookEndpointId,
    pub url: String,
    pub filters: Vec<Filter>,
    pub secret_sealed: String,
    /// The secret before the last rotation, and until when it signs too.
    pub previous_secret: Option<(String, DateTime<Utc>)>,
    pub disabled: Option<DisabledReason>,
    /// Since when no attempt has succeeded, by the wall clock: the server that fails lives by it, whatever
    /// test clock the events hang on.
    pub failing_since_at: Option<DateTime<Utc>>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
    /// Deleted endpoints stay for the sake of their deliveries; nobody finds them.
    pub deleted_at: Option<DateTime<Utc>>,
}

/// Why an endpoint hears nothing.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub(super) enum DisabledReason {
    /// Its owner turned it off.
    Requested,
    /// It answered 410.
    Gone,
    /// It answered nothing but failures for five days.
    Failing,
}

/// Which events an endpoint hears: `*`, `invoice.*`, or `payment.failed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) enum Filter {
    All,
    /// Of one kind of object: `invoice`.
    Of(String),
    /// One type of event.
    Just(String),
}

/// Why a text names no events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is neither `*` nor an event type like `invoice.paid` or `invoice.*`")]
pub(super) struct InvalidFilter;

/// One event on its way to one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    pub tenant_id: TenantId,
    pub id: DeliveryId,
    pub endpoint_id: WebhookEndpointId,
    pub event_id: EventId,
    pub event_type: String,
    pub status: DeliveryStatus,
    /// How many attempts have been made.
    pub attempts: i32,
    /// By the clock of the event's customer; only while it is pending.
    pub next_attempt_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
}

/// Where a delivery is in its life.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub(super) enum DeliveryStatus {
    /// An attempt is due, now or later.
    Pending,
    /// The endpoint answered 2xx.
    Succeeded,
    /// Every attempt failed.
    Exhausted,
    /// The endpoint was disabled or deleted, or is gone.
    Canceled,
}

/// What can happen to a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter)]
pub(super) enum Happening {
    Delivered,
    /// And more attempts are left.
    Failed,
    FailedForTheLastTime,
    EndpointOff,
    /// Somebody asks for one more attempt.
    Retried,
}

/// A delivery in this state cannot do that.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a delivery that is {from:?} takes no {by:?}")]
pub(super) struct IllegalTransition {
    pub from: DeliveryStatus,
    pub by: Happening,
}

/// One attempt, as it went. Attempts are made in the real world: their times are the wall clock's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    pub id: DeliveryAttemptId,
    pub answered: Option<Answered>,
    /// Why there was no answer, in words for the tenant.
    pub error: Option<String>,
    pub duration_ms: i64,
    pub created_at: DateTime<Utc>,
}

/// What the endpoint said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    pub status: u16,
    /// Its beginning.
    pub body: String,
    /// How long the endpoint asks to be left alone.
    pub retry_after: Option<TimeDelta>,
}

/// What an attempt means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Success,
    Failure,
    /// The endpoint does not want to hear anything any more.
    Gone,
}

impl Attempt {
    /// 2xx is success; a redirect is a failure, since nobody checked where it leads.
    pub fn verdict(&self) -> Verdict {
        match self.answered.as_ref().map(|answered| answered.status) {
            Some(200..=299) => Verdict::Success,
            Some(410) => Verdict::Gone,
            _ => Verdict::Failure,
        }
    }
}

impl Endpoint {
    pub fn is_enabled(&self) -> bool {
        self.disabled.is_none() && self.deleted_at.is_none()
    }

    pub fn hears(&self, event_type: &str) -> bool {
        self.filters.iter().any(|filter| filter.matches(event_type))
    }

    /// Turned on, it starts with a clean record.
    pub fn set_enabled(&mut self, enabled: bool) {
        if enabled {
            self.disabled = None;
            self.failing_since_at = None;
        } else {
            self.disabled = self.disabled.or(Some(DisabledReason::Requested));
        }
    }

    /// Notes how an attempt went; `now` is the wall clock's. `true` if this is what disables the endpoint.
    pub fn note(&mut self, verdict: Verdict, now: DateTime<Utc>) -> bool {
        let failing_since = match verdict {
            Verdict::Success => {
                self.failing_since_at = None;
                return false;
            }
            Verdict::Failure | Verdict::Gone => *self.failing_since_at.get_or_insert(now),
        };
        let reason = match verdict {
            Verdict::Gone => DisabledReason::Gone,
            _ if now - failing_since >= FAILING_MAX => DisabledReason::Failing,
            _ => return false,
        };
        let was_enabled = self.is_enabled();
        self.disabled = self.disabled.or(Some(reason));
        was_enabled
    }
}

impl DeliveryStatus {
    /// The whole life of a delivery. Every arrow is in the snapshot below.
    pub fn on(self, happening: Happening) -> Result<Self, IllegalTransition> {
        use DeliveryStatus::*;

        match (self, happening) {
            (Pending, Happening::Delivered) => Ok(Succeeded),
            (Pending, Happening::FailedForTheLastTime) => Ok(Exhausted),
            (Pending, Happening::EndpointOff) => Ok(Canceled),
            (Pending, Happening::Failed)
            | (Pending | Succeeded | Exhausted | Canceled, Happening::Retried) => Ok(Pending),
            (from, by) => Err(IllegalTransition { from, by }),
        }
    }
}

impl Delivery {
    /// The number that the next attempt will have; the first has 1.
    pub fn next_position(&self) -> i32 {
        self.attempts + 1
    }

    /// Counts an attempt and decides what follows. `now` is the customer's.
    pub fn attempted(&mut self, attempt: &Attempt, now: DateTime<Utc>) -> Result<(), IllegalTransition> {
        self.attempts += 1;
        let wait = wait_after(self.id, self.attempts);
        let happening = match (attempt.verdict(), wait) {
            (Verdict::Success, _) => Happening::Delivered,
            (Verdict::Gone, _) => Happening::EndpointOff,
            (Verdict::Failure, Some(_)) => Happening::Failed,
            (Verdict::Failure, None) => Happening::FailedForTheLastTime,
        };
        self.status = self.status.on(happening)?;
        let asked = attempt.answered.as_ref().and_then(|answered| answered.retry_after);
        self.next_attempt_at =
            wait.filter(|_| self.status == DeliveryStatus::Pending).map(|wait| now + at_least(wait, asked));
        Ok(())
    }

    /// Nothing more is sent.
    pub fn cancel(&mut self) -> Result<(), IllegalTransition> {
        self.status = self.status.on(Happening::EndpointOff)?;
        self.next_attempt_at = None;
        Ok(())
    }

    /// One more attempt, now: also of what was delivered already.
    pub fn retry(&mut self, now: DateTime<Utc>) -> Result<(), IllegalTransition> {
        self.status = self.status.on(Happening::Retried)?;
        self.next_attempt_at = Some(now);
        Ok(())
    }
}

/// The longer of our wait and what the endpoint asked for within bounds.
fn at_least(wait: TimeDelta, asked: Option<TimeDelta>) -> TimeDelta {
    asked.map_or(wait, |asked| wait.max(asked.min(RETRY_AFTER_MAX)))
}

/// What is waited after so many failed attempts, give or take 20 %; `None` after the last.
///
/// The deliveries that failed together do not come back together; one delivery's waits never change.
fn wait_after(delivery: DeliveryId, attempts: i32) -> Option<TimeDelta> {
    let step = usize::try_from(attempts - 1).ok()?;
    let wait = WAITS.get(step)?;
    let digest = Sha256::new().chain_update(delivery.0).chain_update(attempts.to_be_bytes()).finalize();
    let chance = i64::from(u16::from_be_bytes([digest[0], digest[1]]));
    let per_mille = 800 + chance * 400 / i64::from(u16::MAX);
    Some(TimeDelta::milliseconds(wait.num_milliseconds() * per_mille / 1000))
}

impl Filter {
    fn matches(&self, event_type: &str) -> bool {
        match self {
            Self::All => true,
            Self::Of(object) => {
                event_type.strip_prefix(object.as_str()).is_some_and(|rest| rest.starts_with('.'))
            }
            Self::Just(wanted) => event_type == wanted,
        }
    }
}

impl FromStr for Filter {
    type Err = InvalidFilter;

    fn from_str(text: &str) -> Result<Self, InvalidFilter> {
        let is_word = |word: &str| {
            (1..=40).contains(&word.len())
                && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        if text == "*" {
            return Ok(Self::All);
        }
        match text.split_once('.') {
            Some((object, "*")) if is_word(object) => Ok(Self::Of(object.to_owned())),
            Some((object, verb)) if is_word(object) && is_word(verb) => Ok(Self::Just(text.to_owned())),
            _ => Err(InvalidFilter),
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Of(object) => write!(f, "{object}.*"),
            Self::Just(wanted) => f.write_str(wanted),
        }
    }
}

impl TryFrom<String> for Filter {
    type Error = InvalidFilter;

    fn try_from(text: String) -> Result<Self, InvalidFilter> {
        text.parse()
    }
}

impl From<Filter> for String {
    fn from(filter: Filter) -> Self {
        filter.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;
    use sea_orm::Iterable;

    use super::*;

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
        Attempt {
            id: DeliveryAttemptId::new(now()),
            answered,
            error: None,
            duration_ms: 1,
            created_at: now(),
        }
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
        let waits: std::collections::BTreeSet<_> = (0..1000_u128)
            .map(|seed| wait_after(DeliveryId(uuid::Uuid::from_u128(seed)), 9).unwrap())
            .collect();
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
        (delivery.status, delivery.attempts, delivery.next_attempt_at) =
            (DeliveryStatus::Exhausted, 10, None);
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
        assert!(
            some.hears("invoice.paid") && some.hears("invoice.finalized") && some.hears("payment.failed")
        );
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
        for text in
            ["", "invoice", "*.paid", "invoice.", ".paid", "Invoice.paid", "invoice.paid.x", "invoice.**"]
        {
            assert_eq!(text.parse::<Filter>(), Err(InvalidFilter), "{text}");
        }
    }
}
