//! The types of events there are, for whoever subscribes to one that there is not.

/// Every type that is told. A test keeps it equal to what is told and to `docs/webhooks.md`.
pub const TYPES: &[&str] = &[
    "customer.created",
    "customer.updated",
    "customer.balance_changed",
    "customer.payment_method_attached",
    "customer.payment_method_detached",
    "plan.created",
    "plan.updated",
    "plan.deleted",
    "subscription.created",
    "subscription.activated",
    "subscription.trial_will_end",
    "subscription.changed",
    "subscription.past_due",
    "subscription.paused",
    "subscription.resumed",
    "subscription.canceled",
    "invoice.created",
    "invoice.finalized",
    "invoice.paid",
    "invoice.voided",
    "invoice.uncollectible",
    "credit_note.created",
    "credit_note.updated",
    "payment.captured",
    "payment.failed",
    "payment.requires_action",
    "payment.pending",
    "payment.canceled",
    "payment.refunded",
    "refund.failed",
    "dunning.started",
    "dunning.step",
    "dunning.recovered",
    "dunning.exhausted",
    "entitlements.updated",
    "usage.unmatched",
    "usage_alert.triggered",
    "usage_alert.recovered",
    "usage_event.voided",
    "usage_event.amended",
    "webhook_endpoint.disabled",
    "webhook.test",
];

/// Why nothing will ever be told to a filter of this form, with what is nearest; `None` if something will.
pub(super) fn never_told(filter: &str) -> Option<String> {
    let object = |kind: &str| kind.split('.').next().unwrap_or_default().to_owned();
    let wanted = object(filter);
    let of_it: Vec<&str> = TYPES.iter().copied().filter(|kind| object(kind) == wanted).collect();
    if filter == "*" || TYPES.contains(&filter) || (filter.ends_with(".*") && !of_it.is_empty()) {
        return None;
    }
    if !of_it.is_empty() {
        return Some(format!("is told by nobody; there are {wanted}.*, {}", of_it.join(", ")));
    }
    let mut objects: Vec<String> = TYPES.iter().map(|kind| format!("{}.*", object(kind))).collect();
    objects.dedup();
    Some(format!("is told by nobody; there are *, {}", objects.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    /// Texts like `invoice.paid` between these marks.
    fn types_in(text: &str, mark: char) -> BTreeSet<String> {
        let is_type = |word: &&str| {
            word.split_once('.').is_some_and(|(object, verb)| {
                let is_word = |word: &str| {
                    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
                };
                is_word(object) && is_word(verb)
            })
        };
        text.split(mark).filter(is_type).map(str::to_owned).collect()
    }

    fn events_files(folder: &Path, found: &mut String) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                events_files(&path, found);
            } else if path.ends_with("events.rs") && !path.ends_with("http/events.rs") {
                found.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }

    #[test]
    fn the_types_are_those_that_are_told_and_those_that_are_documented() {
        let known: BTreeSet<String> = TYPES.iter().map(ToString::to_string).collect();
        let documented = include_str!("../../docs/webhooks.md").split("## Types").nth(1).unwrap();
        assert_eq!(types_in(documented, '`'), known);
        let mut told = String::new();
        events_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut told);
        let mut told = types_in(&told, '"');
        told.insert("webhook.test".to_owned());
        assert_eq!(told, known);
    }

    #[test]
    fn an_unknown_type_comes_with_those_of_its_object_or_with_the_objects() {
        assert!(["*", "invoice.*", "invoice.paid"].iter().all(|filter| never_told(filter).is_none()));
        let near = never_told("invoice.payed").unwrap();
        assert!(near.contains("invoice.*, invoice.created") && near.contains("invoice.paid"), "{near}");
        let far = never_told("invoices.*").unwrap();
        assert!(far.contains("*, customer.*, plan.*") && !far.contains("invoice.paid"), "{far}");
    }
}
