//! What is left of a customer's credits?

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{Check, failed, too_large};
use crate::{
    calendar::Interval,
    credits::{Account, CreditError, Grant, Recurrence, Rollover, Usage},
    decimal::Number,
    invalid::Invalid,
    read,
};

const GRANTS_MAX: usize = 200;
const USAGE_MAX: usize = 10_000;
const RESETS_MAX: usize = 500;

/// Grants, what used them, and the instant of the question.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreditsQuestion {
    /// Where counting starts: older grants have their whole amount then.
    pub start: DateTime<Utc>,
    /// The instant of the question; usage counts up to it.
    pub at: DateTime<Utc>,
    #[serde(deserialize_with = "read::list::<_, _, GRANTS_MAX>")]
    #[schema(max_items = 200)]
    pub grants: Vec<GrantQuestion>,
    #[serde(default, deserialize_with = "read::list_or_empty::<_, _, USAGE_MAX>")]
    #[schema(max_items = 10_000)]
    pub usage: Vec<UsedQuestion>,
    #[serde(default, deserialize_with = "read::list_or_empty::<_, _, RESETS_MAX>")]
    #[schema(max_items = 500)]
    pub resets: Vec<DateTime<Utc>>,
    /// Whether a debt outlives a reset.
    #[serde(default, deserialize_with = "read::or_default")]
    pub preserve_overage: bool,
    /// Whether there is access without a balance.
    #[serde(default, deserialize_with = "read::or_default")]
    pub soft_limit: bool,
}

/// Credit that was given, alive on [`effective_at`, `expires_at`).
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantQuestion {
    pub id: String,
    pub amount: Number,
    /// A lower number burns first.
    #[serde(default, deserialize_with = "read::or_default")]
    pub priority: i64,
    pub effective_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub voided_at: Option<DateTime<Utc>>,
    /// Breaks ties of priority and expiry, before the id.
    pub created_at: Option<DateTime<Utc>>,
    /// Refills it to its amount.
    pub recurrence: Option<RecurrenceQuestion>,
    /// What it keeps at a reset; nothing without.
    pub rollover: Option<RolloverQuestion>,
}

/// When a grant is refilled.
#[derive(Clone, Copy, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecurrenceQuestion {
    pub interval: Interval,
    pub anchor: DateTime<Utc>,
}

/// The bounds of what survives a reset.
#[derive(Clone, Copy, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RolloverQuestion {
    /// Default 0.
    pub min: Option<Number>,
    pub max: Number,
}

/// Something that used credit.
#[derive(Clone, Copy, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UsedQuestion {
    pub timestamp: DateTime<Utc>,
    pub amount: Number,
}

/// What is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct CreditsAnswer {
    /// By grant; 0 for those that are not alive.
    #[schema(value_type = BTreeMap<String, String>)]
    pub balances: BTreeMap<String, Number>,
    /// Usage that no grant paid.
    pub overage: Number,
    pub has_access: bool,
    /// Usage since the last reset.
    pub usage_in_period: Number,
}

/// Burns credits as an entitlement would.
pub fn credits(question: &CreditsQuestion) -> Result<CreditsAnswer, Vec<Invalid>> {
    let mut check = Check::default();
    let account = account(question, &mut check);
    check.finish()?;
    let opening = account.opening(question.start).map_err(mistake)?;
    let (left, _) = account.advance(&opening, question.at).map_err(mistake)?;
    let balance = left.balance().map_err(|error| too_large("/grants", error))?;
    Ok(CreditsAnswer {
        balances: left.balances.into_iter().map(|(id, balance)| (id, Number(balance))).collect(),
        overage: Number(left.overage),
        has_access: balance > Decimal::ZERO || question.soft_limit,
        usage_in_period: Number(left.usage_in_period),
    })
}

fn account(question: &CreditsQuestion, check: &mut Check) -> Account {
    check.instant("/start", question.start);
    check.instant("/at", question.at);
    if question.at < question.start {
        check.report("/at", "before_start", "must not be before the start");
    }
    check.at_most("/grants", question.grants.len(), GRANTS_MAX);
    check.at_most("/usage", question.usage.len(), USAGE_MAX);
    check.at_most("/resets", question.resets.len(), RESETS_MAX);
    let mut ids = HashSet::new();
    let mut grants = Vec::with_capacity(question.grants.len());
    for (index, raw) in question.grants.iter().enumerate() {
        let under = format!("/grants/{index}");
        if !ids.insert(&raw.id) {
            check.report(&format!("{under}/id"), "duplicate", "another grant has this id");
        }
        grants.push(grant(raw, &under, check));
    }
    for (index, reset) in question.resets.iter().enumerate() {
        check.instant(&format!("/resets/{index}"), *reset);
    }
    Account {
        usage: usage(question, check),
        grants,
        resets: question.resets.clone(),
        preserve_overage: question.preserve_overage,
    }
}

fn usage(question: &CreditsQuestion, check: &mut Check) -> Vec<Usage> {
    let mut usage = Vec::with_capacity(question.usage.len());
    for (index, raw) in question.usage.iter().enumerate() {
        check.instant(&format!("/usage/{index}/timestamp"), raw.timestamp);
        let amount = check.not_negative(&format!("/usage/{index}/amount"), Some(raw.amount));
        usage.push(Usage { at: raw.timestamp, amount });
    }
    usage
}

fn grant(raw: &GrantQuestion, under: &str, check: &mut Check) -> Grant {
    let rollover = raw.rollover.map(|rollover| Rollover {
        min: check.not_negative(&format!("{under}/rollover/min"), rollover.min),
        max: check.not_negative(&format!("{under}/rollover/max"), Some(rollover.max)),
    });
    if rollover.is_some_and(|rollover| rollover.min > rollover.max) {
        check.report(&format!("{under}/rollover/max"), "below_minimum", "must not be below min");
    }
    if let Some(recurrence) = raw.recurrence {
        check.instant(&format!("{under}/recurrence/anchor"), recurrence.anchor);
    }
    check.instant(&format!("{under}/effective_at"), raw.effective_at);
    check.optional_instant(&format!("{under}/expires_at"), raw.expires_at);
    check.optional_instant(&format!("{under}/voided_at"), raw.voided_at);
    check.optional_instant(&format!("{under}/created_at"), raw.created_at);
    Grant {
        id: raw.id.clone(),
        amount: check.not_negative(&format!("{under}/amount"), Some(raw.amount)),
        priority: raw.priority,
        effective_at: raw.effective_at,
        expires_at: raw.expires_at,
        voided_at: raw.voided_at,
        created_at: raw.created_at,
        recurrence: raw
            .recurrence
            .map(|recurrence| Recurrence { interval: recurrence.interval, anchor: recurrence.anchor }),
        rollover,
    }
}

fn mistake(error: CreditError) -> Vec<Invalid> {
    match error {
        CreditError::TooManyRefills => failed("/grants", "too_many", error),
        CreditError::Calendar(_) => failed("/grants", "out_of_range", error),
        CreditError::Overflow(_) => too_large("/usage", error),
    }
}
