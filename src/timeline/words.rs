//! What happened, in one sentence. What stands in it from outside is plain text.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde_json::Value;

use crate::notifications::{Email, EmailStatus};

/// How much of a text from outside is shown.
const SHOWN_MAX: usize = 200;

/// An event, as its data tells it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'a> {
    /// The object after it, as the API shows it.
    pub object: &'a Value,
    /// The changed fields as they were before, if it changed any.
    pub previous: &'a Value,
    /// Where the customer lives.
    pub zone: Tz,
}

/// Text from outside without what would change how the rest of the sentence is read: control characters, line breaks and
/// marks that turn the direction of writing.
fn plain(text: &str) -> String {
    let turns = |letter: char| matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let kept = text.chars().filter(|letter| !turns(*letter));
    let shown: String = kept.map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    match shown.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &shown[..end]),
        None => shown,
    }
}

/// `insufficient_funds` as people say it.
fn spoken(word: &str) -> String {
    plain(word).replace('_', " ")
}

impl Told<'_> {
    /// None for a type of event that there is not.
    pub fn words(self, kind: &str) -> Option<String> {
        let (object, verb) = kind.split_once('.')?;
        match object {
            "customer" => self.of_customer(verb),
            "plan" => self.of_plan(verb),
            "subscription" => self.of_subscription(verb),
            "invoice" => self.of_invoice(verb),
            "credit_note" => self.of_credit_note(verb),
            "payment" | "refund" => self.of_payment(kind),
            "dunning" => self.of_dunning(verb),
            "entitlements" | "usage" | "usage_alert" | "usage_event" => self.of_usage(kind),
            "webhook_endpoint" | "webhook" => self.of_webhooks(kind),
            _ => None,
        }
    }

    fn of_customer(self, verb: &str) -> Option<String> {
        Some(match verb {
            "created" => format!("The customer {} was made.", self.quoted("/name")),
            "updated" => format!("The customer was changed: {}.", self.changes()),
            "balance_changed" => {
                format!(
                    "The balance changed by {} to {}.",
                    self.amount("/amount"),
                    self.amount("/balance_after")
                )
            }
            "payment_method_attached" => format!("A payment method was kept: {}.", self.card("")),
            "payment_method_detached" => format!("A payment method was given up: {}.", self.card("")),
            _ => return None,
        })
    }

    fn of_plan(self, verb: &str) -> Option<String> {
        let plan = self.quoted("/name");
        Some(match verb {
            "created" => format!("The plan {plan} was made."),
            "updated" => format!("The plan {plan} was changed: {}.", self.changes()),
            "deleted" => format!("The plan {plan} was deleted."),
            _ => return None,
        })
    }

    fn of_subscription(self, verb: &str) -> Option<String> {
        let plan = self.quoted("/plan/name");
        Some(match verb {
            "created" => {
                format!("A subscription to {plan} was made; it starts on {}.", self.day("/start_at"))
            }
            "activated" => format!("The subscription to {plan} is active."),
            "trial_will_end" => format!("The trial of {plan} ends on {}.", self.day("/trial_end")),
            "changed" => self.of_changed_subscription(&plan),
            "past_due" => {
                format!("The subscription to {plan} is past due: an invoice could not be collected.")
            }
            "paused" => format!("The subscription to {plan} was paused."),
            "resumed" => format!("The subscription to {plan} goes on after a pause."),
            "canceled" => {
                let why = match self.text("/cancel_reason").as_str() {
                    "unpaid" => ", because it was not paid",
                    "requested" => ", as somebody asked for",
                    _ => "",
                };
                format!("The subscription to {plan} has ended{why}.")
            }
            _ => return None,
        })
    }

    /// The change that matters most to people.
    fn of_changed_subscription(self, plan: &str) -> String {
        let has = |field: &str| self.previous.get(field).is_some();
        if has("cancel_at") && self.is_set("/cancel_at") {
            format!("The subscription to {plan} will end on {}.", self.day("/cancel_at"))
        } else if has("cancel_at") {
            format!("The subscription to {plan} goes on: its end was taken back.")
        } else if has("plan") {
            format!("The subscription was changed to {plan}.")
        } else if has("scheduled") && self.is_set("/scheduled") {
            let [kind, day] = [self.text("/scheduled/kind"), self.day("/scheduled/at")];
            format!("The subscription to {plan} has a {kind} scheduled for {day}.")
        } else if has("quantities") {
            format!("The quantities of the subscription to {plan} were changed.")
        } else if has("trial_end") {
            format!("The trial of {plan} ends on {}.", self.day("/trial_end"))
        } else if has("access") {
            format!("Access by the subscription to {plan} is {} now.", self.text("/access"))
        } else if has("current_period") {
            let [start, end] = ["/current_period/start", "/current_period/end"].map(|at| self.day(at));
            format!("A period of the subscription to {plan} began, from {start} to {end}.")
        } else {
            format!("The subscription to {plan} was changed: {}.", self.changes())
        }
    }

    fn of_invoice(self, verb: &str) -> Option<String> {
        let invoice = format!("Invoice {}", self.text("/number"));
        Some(match verb {
            // It has no number yet.
            "created" => format!("An invoice of {} was made.", self.amount("/total")),
            "finalized" if self.is_set("/due_at") => {
                format!("{invoice} of {} was issued, due on {}.", self.amount("/total"), self.day("/due_at"))
            }
            "finalized" => format!("{invoice} of {} was issued.", self.amount("/total")),
            "paid" => format!("{invoice} of {} is paid.", self.amount("/total")),
            "voided" if self.is_set("/replaced_by") => format!("{invoice} is void; another one replaces it."),
            "voided" => format!("{invoice} is void."),
            "uncollectible" => {
                format!("{invoice} was given up: {} were not collected.", self.amount("/amount_due"))
            }
            _ => return None,
        })
    }

    fn of_credit_note(self, verb: &str) -> Option<String> {
        let note = format!("Credit note {} of {}", self.text("/number"), self.amount("/total"));
        Some(match (verb, self.text("/refund_status").as_str()) {
            ("created", _) => format!("{note} was made."),
            ("updated", status) if self.previous.get("refund_status").is_some() => {
                format!("The refund of {} is {}.", note.replacen('C', "c", 1), spoken(status))
            }
            ("updated", _) => format!("{note} can still pay {}.", self.amount("/credit_left")),
            _ => return None,
        })
    }

    fn of_payment(self, kind: &str) -> Option<String> {
        let amount = self.amount("/amount");
        let last = self.object.pointer("/attempts").and_then(Value::as_array).map_or(0, Vec::len);
        let card = match last.checked_sub(1) {
            Some(last) => format!(" by {}", self.card(&format!("/attempts/{last}"))),
            None => String::new(),
        };
        let because = |pointer| match self.text(pointer) {
            why if why.is_empty() => String::new(),
            why => format!(": {}", spoken(&why)),
        };
        Some(match kind {
            "payment.captured" => format!("{amount} were paid{card}."),
            "payment.failed" => format!("{amount} could not be collected{card}{}.", because("/decline_code")),
            "payment.requires_action" => format!("A payment of {amount} waits for the customer to act."),
            "payment.pending" => {
                format!("A payment of {amount} was accepted; what becomes of it comes later.")
            }
            "payment.canceled" => format!("A payment of {amount} was canceled: nothing is owed any more."),
            "payment.refunded" => {
                format!(
                    "Of a payment of {amount}, {} were given back in all.",
                    self.amount("/amount_refunded")
                )
            }
            "refund.failed" => format!("{amount} could not be given back{}.", because("/failure")),
            _ => return None,
        })
    }

    fn of_dunning(self, verb: &str) -> Option<String> {
        let invoice = format!("invoice {}", self.text("/invoice_number"));
        let next = if self.is_set("/next_try_at") {
            format!("; the next try is on {}", self.day("/next_try_at"))
        } else {
            String::new()
        };
        Some(match verb {
            "started" => {
                format!("The chase of {invoice} began: {} are due{next}.", self.amount("/amount_due"))
            }
            "step" => format!("Step {} of the chase of {invoice} was taken{next}.", self.text("/step")),
            "recovered" => format!("The chase of {invoice} is over: nothing is due any more."),
            "exhausted" => {
                format!("The chase of {invoice} is over: {} were not paid.", self.amount("/amount_due"))
            }
            _ => return None,
        })
    }

    fn of_usage(self, kind: &str) -> Option<String> {
        let event =
            || format!("The usage event {} ({})", self.quoted("/event_id"), self.quoted("/event_name"));
        let alert = || format!("Usage alert {}: {}", self.quoted("/name"), self.quoted("/metric"));
        Some(match kind {
            "entitlements.updated" => {
                let features =
                    self.object.get("features").and_then(Value::as_object).map_or(0, serde_json::Map::len);
                let features =
                    if features == 1 { "1 feature".to_owned() } else { format!("{features} features") };
                format!("What may be used has changed: {features}, version {}.", self.text("/version"))
            }
            "usage.unmatched" => {
                format!("{} usage events came that nothing counts or bills.", self.text("/count"))
            }
            "usage_alert.triggered" => {
                format!("{} reached {}.", alert(), self.text("/last_trigger/threshold"))
            }
            "usage_alert.recovered" => {
                format!("{} is below {} again.", alert(), self.text("/last_trigger/threshold"))
            }
            "usage_event.voided" => format!("{} was taken back.", event()),
            "usage_event.amended" => format!("{} was changed: {}.", event(), self.changes()),
            _ => return None,
        })
    }

    fn of_webhooks(self, kind: &str) -> Option<String> {
        Some(match kind {
            "webhook_endpoint.disabled" => {
                format!("The webhook endpoint {} was disabled.", self.quoted("/url"))
            }
            "webhook.test" => format!("A test was sent to the webhook endpoint {}.", self.quoted("/url")),
            _ => return None,
        })
    }

    fn is_set(self, pointer: &str) -> bool {
        self.object.pointer(pointer).is_some_and(|value| !value.is_null())
    }

    /// A text or a number; nothing if there is none.
    fn text(self, pointer: &str) -> String {
        match self.object.pointer(pointer) {
            Some(Value::String(text)) => plain(text),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        }
    }

    /// A text that somebody outside chose.
    fn quoted(self, pointer: &str) -> String {
        format!("“{}”", self.text(pointer))
    }

    fn amount(self, pointer: &str) -> String {
        format!("{} {}", self.text(pointer), self.text("/currency"))
    }

    /// The day that it is for the customer.
    fn day(self, pointer: &str) -> String {
        let text = self.text(pointer);
        let at = text.parse::<DateTime<Utc>>();
        at.map_or(text, |at| at.with_timezone(&self.zone).date_naive().to_string())
    }

    /// A payment method, below a place.
    fn card(self, under: &str) -> String {
        format!("{} ending in {}", self.text(&format!("{under}/brand")), self.text(&format!("{under}/last4")))
    }

    /// The names of the fields that changed.
    fn changes(self) -> String {
        let names: Vec<String> =
            self.previous.as_object().into_iter().flatten().map(|(name, _)| spoken(name)).collect();
        if names.is_empty() { "nothing that is shown".to_owned() } else { names.join(", ") }
    }
}

/// What kind of entry an email is.
pub(super) fn kind_of_email(email: &Email) -> String {
    let status = match email.status {
        EmailStatus::Pending => "pending",
        EmailStatus::Sent => "sent",
        EmailStatus::Failed => "failed",
    };
    format!("email.{status}")
}

/// An email and how far it is.
pub(super) fn of_email(email: &Email) -> String {
    let subject = email
        .subject
        .as_deref()
        .filter(|subject| !subject.is_empty())
        .map_or_else(String::new, |subject| format!(" “{}”", plain(subject)));
    let recipient = plain(&email.recipient);
    match email.status {
        EmailStatus::Pending => format!("An email{subject} to {recipient} is on its way."),
        EmailStatus::Sent => format!("The email{subject} was sent to {recipient}."),
        EmailStatus::Failed => {
            let error = plain(email.error.as_deref().unwrap_or("no reason was given"));
            format!("The email{subject} to {recipient} could not be sent: {error}")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::webhooks::TYPES;

    fn words(kind: &str, object: &Value, previous: &Value) -> Option<String> {
        Told { object, previous, zone: Tz::Europe__Berlin }.words(kind)
    }

    #[test]
    fn every_type_of_event_has_words_and_no_other_has() {
        for kind in TYPES {
            let words =
                words(kind, &json!({}), &Value::Null).unwrap_or_else(|| panic!("{kind} has no words"));
            assert!(words.ends_with('.'), "{words}");
        }
        for kind in
            ["invoice", "invoice.eaten", "nobody.knows", "payment.eaten", "usage.eaten", "webhook.eaten"]
        {
            assert_eq!(words(kind, &json!({}), &Value::Null), None, "{kind}");
        }
    }

    #[test]
    fn amounts_have_their_currency_and_days_are_the_customers() {
        let invoice =
            json!({"number": "INV-1", "total": "30.00", "currency": "EUR", "due_at": "2026-02-28T23:30:00Z"});
        assert_eq!(
            words("invoice.finalized", &invoice, &Value::Null).unwrap(),
            "Invoice INV-1 of 30.00 EUR was issued, due on 2026-03-01."
        );
        let payment = json!({"amount": "30.00", "currency": "EUR", "decline_code": "insufficient_funds",
            "attempts": [{"brand": "amex", "last4": "0005"}, {"brand": "visa", "last4": "4242"}]});
        assert_eq!(
            words("payment.failed", &payment, &Value::Null).unwrap(),
            "30.00 EUR could not be collected by visa ending in 4242: insufficient funds."
        );
        let bare = json!({"amount": "30.00", "currency": "EUR", "attempts": []});
        assert_eq!(
            words("payment.failed", &bare, &Value::Null).unwrap(),
            "30.00 EUR could not be collected."
        );
    }

    #[test]
    fn of_a_changed_subscription_that_is_told_which_matters_most() {
        let subscription = json!({"plan": {"name": "Pro"}, "cancel_at": "2026-03-01T00:00:00Z", "access": "grace",
            "current_period": {"start": "2026-02-01T00:00:00Z", "end": "2026-03-01T00:00:00Z"}});
        let changed = |previous: Value| words("subscription.changed", &subscription, &previous).unwrap();
        assert_eq!(
            changed(json!({"cancel_at": null, "access": "full"})),
            "The subscription to “Pro” will end on 2026-03-01."
        );
        assert_eq!(changed(json!({"access": "full"})), "Access by the subscription to “Pro” is grace now.");
        assert_eq!(
            changed(json!({"current_period": {}})),
            "A period of the subscription to “Pro” began, from 2026-02-01 to 2026-03-01."
        );
        assert_eq!(
            changed(json!({"net_terms_days": 3, "metadata": {}})),
            "The subscription to “Pro” was changed: metadata, net terms days."
        );
    }

    #[test]
    fn texts_from_outside_neither_break_the_line_nor_turn_it_round() {
        let name = "<b>Acme</b>\r\n\u{202e}x";
        let told = words("customer.created", &json!({"name": name}), &Value::Null).unwrap();
        assert_eq!(told, "The customer “<b>Acme</b>  x” was made.");
        let long = words("customer.created", &json!({"name": "é".repeat(300)}), &Value::Null).unwrap();
        assert_eq!(long.chars().filter(|letter| *letter == 'é').count(), SHOWN_MAX);
        assert!(long.contains("é…”"));
    }
}
