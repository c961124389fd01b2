//! What emails need of other capabilities' events, as their bodies show it, and which event causes which email.

use accrue_core::{
    calendar::Period,
    decimal::Number,
    money::{Currency, Money, MoneyError},
};
use accrue_platform::outbox::Event;
use chrono::{DateTime, Utc};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::render::Kind;

/// The `data` of an event.
#[derive(Debug, Deserialize)]
pub(super) struct Told<T> {
    pub object: T,
    /// What the changed fields were before.
    #[serde(default)]
    pub previous: Map<String, Value>,
}

impl<T: DeserializeOwned> Told<T> {
    pub fn by(event: &Event) -> serde_json::Result<Self> {
        serde_json::from_str(&event.data)
    }
}

/// Amounts stand beside their currency.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct AmountText(String);

impl AmountText {
    pub fn in_currency(&self, currency: Currency) -> Result<Money, MoneyError> {
        Money::parse(&self.0, currency)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct ToldInvoice {
    pub number: Option<String>,
    pub collection: String,
    pub currency: Currency,
    pub lines: Vec<ToldLine>,
    pub subtotal: AmountText,
    pub discount_total: AmountText,
    pub exemption_note: Option<String>,
    pub taxes: Vec<ToldTax>,
    pub total: AmountText,
    pub amount_due: AmountText,
    pub due_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ToldTax {
    pub name: String,
    pub rate: Number,
    pub inclusive: bool,
    pub jurisdiction: Option<String>,
    pub amount: AmountText,
}

#[derive(Debug, Deserialize)]
pub(super) struct ToldLine {
    pub description: String,
    pub period: Period,
    pub quantity: Number,
    pub unit_price: Option<Number>,
    pub amount: AmountText,
}

#[derive(Debug, Deserialize)]
pub(super) struct ToldPayment {
    pub currency: Currency,
    pub amount: AmountText,
    pub attempts: Vec<ToldAttempt>,
}

impl ToldPayment {
    /// Did we get it by trying again? Then the end of the chase is the receipt. Who pays by hand gets one.
    fn was_chased(&self) -> bool {
        let declined = |attempt: &ToldAttempt| attempt.automatic && attempt.status == "declined";
        self.attempts.last().is_some_and(|last| last.automatic) && self.attempts.iter().any(declined)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct ToldAttempt {
    pub status: String,
    pub automatic: bool,
    pub brand: String,
    pub last4: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct ToldDunning {
    pub invoice_number: Option<String>,
    pub currency: Currency,
    pub amount_due: AmountText,
    pub attempts: u32,
    pub next_try_at: Option<DateTime<Utc>>,
    pub access_ends_at: Option<DateTime<Utc>>,
    pub decline_code: Option<String>,
    pub decline_class: Option<String>,
    pub brand: Option<String>,
    pub last4: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ToldSubscription {
    pub plan: ToldPlan,
    pub status: String,
    pub access: String,
    pub trial_end: Option<DateTime<Utc>>,
    pub cancel_at: Option<DateTime<Utc>>,
    pub canceled_at: Option<DateTime<Utc>>,
    pub cancel_reason: Option<String>,
    pub ended_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ToldPlan {
    pub name: String,
}

/// Which email an event causes, if any.
pub(super) fn kind_of(event: &Event) -> serde_json::Result<Option<Kind>> {
    Ok(match event.kind.as_str() {
        "invoice.finalized" => {
            let invoice = Told::<ToldInvoice>::by(event)?.object;
            let owes = invoice.total.in_currency(invoice.currency).is_ok_and(|total| !total.is_zero());
            owes.then_some(Kind::InvoiceIssued)
        }
        "payment.captured" => {
            let payment = Told::<ToldPayment>::by(event)?.object;
            (!payment.was_chased()).then_some(Kind::PaymentReceipt)
        }
        "payment.requires_action" => Some(Kind::ActionRequired),
        "dunning.started" => {
            // The customer was asked to act when the bank asked for it.
            (!needs_action(event)?).then_some(Kind::PaymentFailed)
        }
        "dunning.step" if needs_action(event)? => Some(Kind::ActionRequired),
        "dunning.step" => Some(Kind::PaymentFailed),
        "dunning.recovered" => Some(Kind::PaymentRecovered),
        "subscription.trial_will_end" => Some(Kind::TrialWillEnd),
        "subscription.canceled" | "subscription.changed" | "subscription.past_due" => {
            of_subscription(&Told::by(event)?)
        }
        _ => None,
    })
}

fn needs_action(event: &Event) -> serde_json::Result<bool> {
    let dunning = Told::<ToldDunning>::by(event)?.object;
    Ok(dunning.decline_class.as_deref() == Some("needs_action"))
}

fn of_subscription(told: &Told<ToldSubscription>) -> Option<Kind> {
    let Told { object: subscription, previous } = told;
    let changed = |field: &str| previous.contains_key(field);
    if subscription.status == "canceled" {
        // What ends as it was announced is not announced again, and what reaches the end that it was given
        // was canceled by nobody.
        let as_announced = !changed("canceled_at") && subscription.ended_at >= subscription.cancel_at;
        let news = subscription.cancel_reason.is_some() && !as_announced;
        return news.then_some(Kind::SubscriptionCanceled);
    }
    if changed("canceled_at") && subscription.canceled_at.is_some() {
        return Some(Kind::SubscriptionCanceled);
    }
    let restricted = changed("access") && subscription.access == "restricted";
    restricted.then_some(Kind::AccessRestricted)
}

#[cfg(test)]
mod tests {
    use accrue_core::id::{EventId, TenantId};
    use serde_json::json;

    use super::*;

    fn event(kind: &str, data: &Value) -> Event {
        let at = "2026-01-31T10:00:00Z".parse().unwrap();
        Event {
            tenant_id: TenantId::new(at),
            id: EventId::new(at),
            kind: kind.to_owned(),
            object_id: String::new(),
            customer_id: None,
            test_clock_id: None,
            data: data.to_string(),
            cause: String::new(),
            sequence: Some(1),
            created_at: at,
        }
    }

    fn subscription(fields: &Value) -> Value {
        let mut object = json!({
            "plan": {"name": "Pro"}, "status": "active", "access": "full", "trial_end": null, "cancel_at": null,
            "canceled_at": null, "cancel_reason": null, "ended_at": null,
        });
        for (name, value) in fields.as_object().unwrap() {
            object[name] = value.clone();
        }
        object
    }

    fn kind(of: &str, object: &Value, previous: &Value) -> Option<Kind> {
        kind_of(&event(of, &json!({"object": object, "previous": previous}))).unwrap()
    }

    #[test]
    fn an_end_is_announced_once() {
        let (asked, end) = ("2026-01-10T00:00:00Z", "2026-01-31T00:00:00Z");
        let scheduled =
            subscription(&json!({"cancel_at": end, "canceled_at": asked, "cancel_reason": "requested"}));
        let ended = |ended_at| {
            subscription(&json!({
                "status": "canceled", "cancel_at": end, "canceled_at": asked, "cancel_reason": "requested",
                "ended_at": ended_at,
            }))
        };
        let announced = json!({"cancel_at": null, "canceled_at": null, "cancel_reason": null});
        let over = json!({"status": "active", "ended_at": null});
        let canceled = Some(Kind::SubscriptionCanceled);
        assert_eq!(kind("subscription.changed", &scheduled, &announced), canceled);
        assert_eq!(kind("subscription.canceled", &ended(end), &over), None);
        assert_eq!(kind("subscription.canceled", &ended("2026-01-20T00:00:00Z"), &over), canceled);
        assert_eq!(kind("subscription.canceled", &ended(asked), &announced), canceled);
    }

    #[test]
    fn who_just_reaches_the_end_of_a_term_canceled_nothing() {
        let end = "2026-01-31T00:00:00Z";
        let ended = subscription(&json!({"status": "canceled", "cancel_at": end, "ended_at": end}));
        assert_eq!(
            kind("subscription.canceled", &ended, &json!({"status": "active", "ended_at": null})),
            None
        );
    }

    #[test]
    fn access_is_mentioned_when_it_becomes_restricted() {
        let restricted = subscription(&json!({"status": "past_due", "access": "restricted"}));
        let of = |previous| kind("subscription.changed", &restricted, &previous);
        assert_eq!(of(json!({"access": "grace"})), Some(Kind::AccessRestricted));
        assert_eq!(of(json!({"metadata": {}})), None);
        let grace = subscription(&json!({"status": "past_due", "access": "grace"}));
        assert_eq!(kind("subscription.past_due", &grace, &json!({"access": "full"})), None);
    }

    #[test]
    fn who_must_act_is_asked_to_and_not_told_that_the_card_failed() {
        let dunning = |class: &str| {
            json!({
                "invoice_number": "INV-1", "currency": "USD",
                "amount_due": "1.00", "attempts": 1, "next_try_at": null, "access_ends_at": null,
                "decline_code": null, "decline_class": class, "brand": null, "last4": null,
            })
        };
        let of = |event, class| kind(event, &dunning(class), &json!({}));
        assert_eq!(of("dunning.started", "soft"), Some(Kind::PaymentFailed));
        assert_eq!(of("dunning.started", "needs_action"), None);
        assert_eq!(of("dunning.step", "hard"), Some(Kind::PaymentFailed));
        assert_eq!(of("dunning.step", "needs_action"), Some(Kind::ActionRequired));
    }

    #[test]
    fn a_chased_payment_gets_no_receipt_beside_the_end_of_the_chase() {
        let of = |attempts: &[(&str, bool)]| {
            let attempts: Vec<_> = attempts
                .iter()
                .map(|(status, automatic)| {
                    json!({"status": status, "automatic": automatic, "brand": "visa", "last4": "4242"})
                })
                .collect();
            let payment = json!({"currency": "USD", "amount": "1.00", "attempts": attempts});
            kind("payment.captured", &payment, &json!({}))
        };
        let receipt = Some(Kind::PaymentReceipt);
        assert_eq!(of(&[("succeeded", true)]), receipt);
        assert_eq!(of(&[("error", true), ("succeeded", true)]), receipt);
        assert_eq!(of(&[("declined", true), ("succeeded", true)]), None);
        assert_eq!(
            of(&[("declined", false), ("succeeded", true)]),
            receipt,
            "only our own tries are a chase"
        );
        assert_eq!(of(&[("declined", true), ("succeeded", false)]), receipt, "paid by hand");
    }

    #[test]
    fn most_events_are_no_reason_for_an_email() {
        for name in ["customer.created", "invoice.created", "invoice.paid", "payment.failed", "plan.created"]
        {
            assert_eq!(kind(name, &json!({}), &json!({})), None, "{name}");
        }
    }
}
