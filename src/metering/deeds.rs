//! Who sent usage events, for the audit log.

use std::collections::BTreeMap;

use accrue_core::id::TenantId;
use accrue_platform::bulk::Insert;
use chrono::{DateTime, Utc};

use super::{model::Ingested, taking::Sent};
use crate::auth::{self, service::SharedDeed};

/// A key, or the command line, and what it did.
#[derive(Clone, Debug)]
pub(super) struct SentBy {
    pub actor: String,
    pub action: &'static str,
    pub request_id: String,
}

/// Who sent what was taken: what a key sent in several requests is one deed (decision 0036).
pub(super) fn notes(now: DateTime<Utc>, sent: &[Sent], outcomes: &[Ingested]) -> Insert {
    let mut deeds = BTreeMap::<(TenantId, &str, &'static str), (&str, usize, usize)>::new();
    for (Sent { tenant, by, .. }, outcome) in sent.iter().zip(outcomes) {
        let Some(SentBy { actor, action, request_id }) = by else { continue };
        let (_, requests, events) =
            deeds.entry((*tenant, actor.as_str(), *action)).or_insert((request_id, 0, 0));
        *requests += 1;
        *events += outcome.accepted;
    }
    let deed = |(sender, (request_id, requests, events)): (_, (&str, usize, usize))| {
        let (tenant, actor, action): (_, &str, _) = sender;
        let object_id = match requests {
            1 => format!("{events} usage events"),
            more => format!("{events} usage events of {more} requests"),
        };
        let (actor, request_id) = (actor.to_owned(), request_id.to_owned());
        SharedDeed { tenant, actor, action, object_id, request_id }
    };
    auth::service::notes(now, deeds.into_iter().map(deed).collect())
}
