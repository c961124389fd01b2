//! Where to read more of what happened.

use accrue_core::id::EventId;
use serde::Serialize;
use serde_json::Value;
use url::form_urlencoded::byte_serialize;

use crate::notifications::Email;

/// An address of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(super) struct Link {
    /// What is there.
    #[schema(example = "invoice")]
    pub rel: &'static str,
    #[schema(example = "/v1/invoices/inv_01979f0c6a5e7c1f8f6d2b1a9e3c4d5f")]
    pub href: String,
}

/// Objects that events are about, and the lists in which they are found by their identifiers.
const LISTS: &[(&str, &str)] = &[
    ("customer", "customers"),
    ("payment_method", "payment_methods"),
    ("plan", "plans"),
    ("subscription", "subscriptions"),
    ("invoice", "invoices"),
    ("credit_note", "credit_notes"),
    ("payment", "payments"),
    ("refund", "refunds"),
    ("dunning", "dunnings"),
    ("usage_event", "usage_events"),
    ("webhook_endpoint", "webhook_endpoints"),
];

/// Fields of an object that name another one, by what that one is.
const NAMED: &[(&str, &str, &str)] = &[
    ("/plan/id", "plan", "plans"),
    ("/subscription", "subscription", "subscriptions"),
    ("/last_trigger/subscription", "subscription", "subscriptions"),
    ("/invoice", "invoice", "invoices"),
    ("/replaces", "replaces", "invoices"),
    ("/replaced_by", "replaced_by", "invoices"),
    ("/payment", "payment", "payments"),
    ("/credit_note", "credit_note", "credit_notes"),
];

fn link(rel: &'static str, list: &str, id: &str) -> Link {
    let id: String = byte_serialize(id.as_bytes()).collect();
    Link { rel, href: format!("/v1/{list}/{id}") }
}

/// The event itself, what it was about, and what that names.
pub(super) fn of_event(event: EventId, kind: &str, object: &Value) -> Vec<Link> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let mut links = vec![link("event", "events", &event.to_string())];
    let is = text("/object").unwrap_or_default();
    // What is deleted is found nowhere any more.
    let list = LISTS.iter().find(|(object, _)| *object == is && !kind.ends_with(".deleted"));
    if let (Some((rel, list)), Some(id)) = (list, text("/id")) {
        links.push(link(rel, list, id));
    }
    links.extend(of_no_object_of_its_own(is, text("/customer")));
    links.extend(NAMED.iter().filter_map(|(pointer, rel, list)| Some(link(rel, list, text(pointer)?))));
    links
}

/// What is not found by an identifier, or may be deleted: the list where it stands, or stood.
fn of_no_object_of_its_own(is: &str, customer: Option<&str>) -> Option<Link> {
    let (rel, href) = match (is, customer) {
        ("entitlements", Some(customer)) => {
            ("entitlements", format!("/v1/customers/{customer}/entitlements"))
        }
        ("balance_entry", Some(customer)) => {
            ("balance_entries", format!("/v1/customers/{customer}/balance_entries"))
        }
        ("usage_alert", Some(customer)) => ("usage_alerts", format!("/v1/usage_alerts?customer={customer}")),
        ("usage_alert", None) => ("usage_alerts", "/v1/usage_alerts".to_owned()),
        ("unmatched_usage_report", _) => ("unmatched_usage", "/v1/usage_events/unmatched".to_owned()),
        _ => return None,
    };
    Some(Link { rel, href })
}

pub(super) fn of_email(email: &Email) -> Vec<Link> {
    vec![link("email", "emails", &email.id.to_string()), link("event", "events", &email.event_id.to_string())]
}
