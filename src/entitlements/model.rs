//! What plans grant together, and what that allows.

use std::collections::BTreeMap;

use accrue_core::{
    calendar::Period,
    decimal::Number,
    id::{CustomerId, MetricId, TenantId},
};
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::{
    catalog::{Feature, FeatureKind, FeatureValue, PlanFeature},
    subscriptions::{Access, Status},
};

/// What a customer was granted, and how often that has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub tenant_id: TenantId,
    pub customer_id: CustomerId,
    /// Grows by one with every change; 0 as long as nothing was ever granted.
    pub version: i64,
    pub grants: Grants,
    /// When it became so.
    pub as_of: DateTime<Utc>,
}

/// What is granted of each feature, by its code.
pub type Grants = BTreeMap<String, Grant>;

/// What is granted of a feature. Stored as it is: names are never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    Switch {
        value: bool,
        source: Source,
    },
    Limit {
        value: Number,
        source: Source,
    },
    Metered {
        limit: Number,
        source: Source,
        metric: MetricId,
        /// In which usage counts against the limit: the running one of the subscription that grants it, the
        /// oldest of several.
        period: Period,
    },
    Config {
        /// None while it is not paid for.
        value: Option<FeatureValue>,
        source: Source,
    },
}

/// Why a feature is granted, or why not; a later one in this list outranks the ones before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// It would be granted, had its subscription been paid.
    Restricted,
    /// It is granted although payment failed.
    Grace,
    Plan,
}

/// A subscription, as far as its grants depend on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grantor<'a> {
    pub status: Status,
    pub access: Access,
    /// The running one.
    pub period: Period,
    pub features: &'a [PlanFeature],
}

impl Grantor<'_> {
    fn source(&self) -> Option<Source> {
        match (self.status, self.access) {
            (Status::Pending | Status::Paused | Status::Canceled, _) => None,
            (Status::Trialing | Status::Active | Status::PastDue, Access::Full) => Some(Source::Plan),
            (Status::Trialing | Status::Active | Status::PastDue, Access::Grace) => Some(Source::Grace),
            (Status::Trialing | Status::Active | Status::PastDue, Access::Restricted) => {
                Some(Source::Restricted)
            }
        }
    }
}

/// What the subscriptions grant together, the oldest first: switches by or, numbers by sum. Settings cannot be added up: one
/// grant of them counts, that of the better source, of equal ones that of the oldest subscription.
pub(super) fn merge(grantors: &[Grantor], features: &[Feature]) -> Grants {
    let mut grants = Grants::new();
    for grantor in grantors {
        let Some(source) = grantor.source() else { continue };
        for granted in grantor.features {
            let Some(feature) = features.iter().find(|feature| feature.code == granted.feature) else {
                continue;
            };
            let Some(grant) = Grant::of(feature, &granted.value, source, grantor.period) else { continue };
            let grant = match grants.remove(&feature.code) {
                Some(before) => before.with(grant),
                None => grant,
            };
            grants.insert(feature.code.clone(), grant);
        }
    }
    grants
}

impl Grant {
    /// `None` for a value that does not fit the feature, which the catalogue refuses.
    fn of(feature: &Feature, value: &FeatureValue, source: Source, period: Period) -> Option<Self> {
        let restricted = source == Source::Restricted;
        let amount = || Some(if restricted { Number::default() } else { value.as_amount()? });
        Some(match feature.kind {
            FeatureKind::Switch => Self::Switch { value: value.as_switch()? && !restricted, source },
            FeatureKind::Limit => Self::Limit { value: amount()?, source },
            FeatureKind::Metered => {
                Self::Metered { limit: amount()?, source, metric: feature.metric_id?, period }
            }
            FeatureKind::Config => Self::Config { value: (!restricted).then(|| value.clone()), source },
        })
    }

    /// The same feature granted by one more subscription. The better source is named, and its period counts.
    fn with(self, other: Self) -> Self {
        let (best, other) = if other.source() > self.source() { (other, self) } else { (self, other) };
        let sum = |a: Number, b: Number| Number(a.0.checked_add(b.0).unwrap_or(Decimal::MAX));
        match (best, other) {
            (Self::Switch { value: a, source }, Self::Switch { value: b, .. }) => {
                Self::Switch { value: a || b, source }
            }
            (Self::Limit { value: a, source }, Self::Limit { value: b, .. }) => {
                Self::Limit { value: sum(a, b), source }
            }
            (Self::Metered { limit: a, source, metric, period }, Self::Metered { limit: b, .. }) => {
                Self::Metered { limit: sum(a, b), source, metric, period }
            }
            // A config; a feature has one kind.
            (best, _) => best,
        }
    }

    pub fn source(&self) -> Source {
        match self {
            Self::Switch { source, .. }
            | Self::Limit { source, .. }
            | Self::Metered { source, .. }
            | Self::Config { source, .. } => *source,
        }
    }
}

impl Snapshot {
    /// Before anything was granted.
    pub(super) fn nothing(tenant_id: TenantId, customer_id: CustomerId, as_of: DateTime<Utc>) -> Self {
        Self { tenant_id, customer_id, version: 0, grants: Grants::new(), as_of }
    }

    /// The next version, if what is granted now is not what was granted before (RULES 42).
    pub(super) fn next(&self, grants: Grants, now: DateTime<Utc>) -> Option<Self> {
        (grants != self.grants).then(|| Self { version: self.version + 1, grants, as_of: now, ..*self })
    }
}

/// A grant, and how much of it was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entitlement {
    pub grant: Grant,
    /// Of a metered feature, in its period; else 0. Never negative.
    pub used: Decimal,
}

/// May it be used?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub allowed: bool,
    /// Of a metered feature: what is left before the asked quantity is used.
    pub remaining: Option<Decimal>,
    pub reason: Reason,
}

/// Why something may be used, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = EntitlementReason)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    Granted,
    /// No running plan has the feature.
    NotGranted,
    /// The plan turns it off.
    SwitchedOff,
    /// It is more than the limit, or than what is left of it.
    LimitExceeded,
    /// The subscription was not paid.
    Restricted,
}

impl Verdict {
    pub const NOT_GRANTED: Self = Self { allowed: false, remaining: None, reason: Reason::NotGranted };
}

impl Entitlement {
    /// What is left of a metered feature; never negative.
    pub fn remaining(&self) -> Option<Decimal> {
        match self.grant {
            Grant::Metered { limit, .. } => Some((limit.0 - self.used).max(Decimal::ZERO)),
            Grant::Switch { .. } | Grant::Limit { .. } | Grant::Config { .. } => None,
        }
    }

    /// May so much be used: of a metered feature more than before, of a limit in all?
    pub fn check(&self, quantity: Decimal) -> Verdict {
        let remaining = self.remaining();
        let (allowed, otherwise) = match self.grant {
            Grant::Switch { value, .. } => (value, Reason::SwitchedOff),
            Grant::Limit { value, .. } => (quantity <= value.0, Reason::LimitExceeded),
            Grant::Metered { limit, .. } => {
                (quantity <= limit.0.saturating_sub(self.used), Reason::LimitExceeded)
            }
            // Whoever has it may read it.
            Grant::Config { .. } => (true, Reason::NotGranted),
        };
        let reason = match (allowed, self.grant.source()) {
            (_, Source::Restricted) => Reason::Restricted,
            (true, Source::Grace | Source::Plan) => Reason::Granted,
            (false, Source::Grace | Source::Plan) => otherwise,
        };
        Verdict { allowed: reason == Reason::Granted, remaining, reason }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use accrue_core::id::FeatureId;

    use super::*;

    const ON: bool = true;
    const OFF: bool = false;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn period(month: u32) -> Period {
        let start = at(&format!("2026-{month:02}-01T00:00:00Z"));
        Period::try_new(start, at(&format!("2026-{:02}-01T00:00:00Z", month + 1))).unwrap()
    }

    fn number(text: &str) -> Number {
        Number(text.parse().unwrap())
    }

    fn amount(text: &str) -> FeatureValue {
        FeatureValue::amount(number(text))
    }

    fn features() -> Vec<Feature> {
        let now = at("2026-01-01T00:00:00Z");
        let feature = |code: &str, kind, metric_id| Feature {
            tenant_id: TenantId::new(now),
            id: FeatureId::new(now),
            code: code.into(),
            name: code.into(),
            kind,
            metric_id,
            metadata: accrue_platform::check::Metadata::new(),
            created_at: now,
            archived_at: None,
        };
        vec![
            feature("sso", FeatureKind::Switch, None),
            feature("seats", FeatureKind::Limit, None),
            feature("tokens", FeatureKind::Metered, Some(MetricId::new(now))),
            feature("theme", FeatureKind::Config, None),
        ]
    }

    fn plan(sso: bool, seats: &str, tokens: &str) -> Vec<PlanFeature> {
        let sso = FeatureValue::switch(sso);
        let granted = [("sso", sso), ("seats", amount(seats)), ("tokens", amount(tokens))];
        granted.map(|(feature, value)| PlanFeature { feature: feature.into(), value }).into()
    }

    fn grantor(status: Status, access: Access, month: u32, features: &[PlanFeature]) -> Grantor<'_> {
        Grantor { status, access, period: period(month), features }
    }

    fn summary(grants: &Grants) -> Vec<String> {
        let line = |(code, grant): (&String, &Grant)| match grant {
            Grant::Switch { value, source } => format!("{code} {value} {source:?}"),
            Grant::Limit { value, source } => format!("{code} {} {source:?}", value.0),
            Grant::Metered { limit, source, period, .. } => {
                format!("{code} {} {source:?} until {}", limit.0, period.end.date_naive())
            }
            Grant::Config { value, source } => {
                let value = value.as_ref().map_or("nothing", FeatureValue::as_json);
                format!("{code} {value} {source:?}")
            }
        };
        grants.iter().map(line).collect()
    }

    #[test]
    fn a_plan_grants_from_start_to_end_as_far_as_payment_allows() {
        let plan = plan(ON, "10", "1000");
        let mut table = String::new();
        for status in [Status::Pending, Status::Trialing, Status::Active, Status::PastDue, Status::Canceled] {
            for access in [Access::Full, Access::Grace, Access::Restricted] {
                let grants = merge(&[grantor(status, access, 1, &plan)], &features());
                let granted = if grants.is_empty() { "nothing".into() } else { summary(&grants).join(", ") };
                writeln!(table, "{status:?} {access:?}: {granted}").unwrap();
            }
        }
        insta::assert_snapshot!(table, @"
        Pending Full: nothing
        Pending Grace: nothing
        Pending Restricted: nothing
        Trialing Full: seats 10 Plan, sso true Plan, tokens 1000 Plan until 2026-02-01
        Trialing Grace: seats 10 Grace, sso true Grace, tokens 1000 Grace until 2026-02-01
        Trialing Restricted: seats 0 Restricted, sso false Restricted, tokens 0 Restricted until 2026-02-01
        Active Full: seats 10 Plan, sso true Plan, tokens 1000 Plan until 2026-02-01
        Active Grace: seats 10 Grace, sso true Grace, tokens 1000 Grace until 2026-02-01
        Active Restricted: seats 0 Restricted, sso false Restricted, tokens 0 Restricted until 2026-02-01
        PastDue Full: seats 10 Plan, sso true Plan, tokens 1000 Plan until 2026-02-01
        PastDue Grace: seats 10 Grace, sso true Grace, tokens 1000 Grace until 2026-02-01
        PastDue Restricted: seats 0 Restricted, sso false Restricted, tokens 0 Restricted until 2026-02-01
        Canceled Full: nothing
        Canceled Grace: nothing
        Canceled Restricted: nothing
        ");
    }

    #[test]
    fn several_subscriptions_grant_together_what_each_grants() {
        let (small, large) = (plan(OFF, "10", "1000"), plan(ON, "5", "0.5"));
        let both = [
            grantor(Status::Active, Access::Full, 1, &small),
            grantor(Status::PastDue, Access::Grace, 2, &large),
        ];
        assert_eq!(
            summary(&merge(&both, &features())),
            ["seats 15 Plan", "sso true Plan", "tokens 1000.5 Plan until 2026-02-01"]
        );
    }

    #[test]
    fn what_is_not_paid_takes_nothing_from_what_is() {
        let (unpaid, paid) = (plan(ON, "100", "9999"), plan(OFF, "5", "50"));
        let both = [
            grantor(Status::PastDue, Access::Restricted, 1, &unpaid),
            grantor(Status::Active, Access::Full, 2, &paid),
        ];
        assert_eq!(
            summary(&merge(&both, &features())),
            ["seats 5 Plan", "sso false Plan", "tokens 50 Plan until 2026-03-01"]
        );
    }

    fn config(json: &str) -> Vec<PlanFeature> {
        vec![serde_json::from_str(&format!(r#"{{"feature":"theme","value":{json}}}"#)).unwrap()]
    }

    #[test]
    fn of_several_configs_the_best_source_counts_and_then_the_oldest_subscription() {
        let (old, new) = (config(r#"{"color":"red"}"#), config("\"10\""));
        let both = |of_old, of_new| {
            let both = [grantor(Status::Active, of_old, 1, &old), grantor(Status::Active, of_new, 2, &new)];
            summary(&merge(&both, &features())).join(", ")
        };
        assert_eq!(both(Access::Full, Access::Full), r#"theme {"color":"red"} Plan"#);
        assert_eq!(both(Access::Grace, Access::Full), r#"theme "10" Plan"#);
        assert_eq!(both(Access::Restricted, Access::Grace), r#"theme "10" Grace"#);
        assert_eq!(both(Access::Restricted, Access::Restricted), "theme nothing Restricted");
    }

    #[test]
    fn whoever_has_a_config_may_read_it_unless_it_is_not_paid_for() {
        let check = |access| {
            let theme = config("1");
            let grants = merge(&[grantor(Status::Active, access, 1, &theme)], &features());
            let granted = Entitlement { grant: grants["theme"].clone(), used: Decimal::ZERO };
            granted.check(Decimal::ONE_HUNDRED).reason
        };
        assert_eq!(check(Access::Grace), Reason::Granted);
        assert_eq!(check(Access::Restricted), Reason::Restricted);
    }

    #[test]
    fn grants_survive_the_database_exactly() {
        let mut plan = plan(ON, "12345678901234567890.5", "0.1");
        plan.extend(config(r#"{"rate":0.10,"name":"a \"b\""}"#));
        let grants = merge(&[grantor(Status::Active, Access::Full, 1, &plan)], &features());
        let stored = serde_json::to_string(&grants).unwrap();
        assert_eq!(serde_json::from_str::<Grants>(&stored).unwrap(), grants);
    }

    #[test]
    fn a_version_grows_only_if_something_changed() {
        let now = at("2026-01-15T00:00:00Z");
        let nothing = Snapshot::nothing(TenantId::new(now), CustomerId::new(now), now);
        assert_eq!(nothing.next(Grants::new(), now), None);

        let grants = merge(&[grantor(Status::Active, Access::Full, 1, &plan(ON, "1", "1"))], &features());
        let first = nothing.next(grants.clone(), now).unwrap();
        assert_eq!((first.version, first.as_of), (1, now));
        assert_eq!(first.next(grants, at("2026-01-16T00:00:00Z")), None);
        assert_eq!(first.next(Grants::new(), now).unwrap().version, 2);
    }

    fn metered(limit: &str, source: Source, used: &str) -> Entitlement {
        let metric = MetricId::new(at("2026-01-01T00:00:00Z"));
        let grant = Grant::Metered { limit: number(limit), source, metric, period: period(1) };
        Entitlement { grant, used: used.parse().unwrap() }
    }

    #[test]
    fn a_metered_feature_may_be_used_up_to_its_limit() {
        let granted = metered("100", Source::Plan, "90.5");
        let left = Some("9.5".parse().unwrap());
        assert_eq!(
            granted.check("9.5".parse().unwrap()),
            Verdict { allowed: true, remaining: left, reason: Reason::Granted }
        );
        assert_eq!(
            granted.check("9.51".parse().unwrap()),
            Verdict { allowed: false, remaining: left, reason: Reason::LimitExceeded }
        );
        let over = metered("100", Source::Grace, "120");
        assert_eq!(over.remaining(), Some(Decimal::ZERO));
        assert_eq!(over.check(Decimal::ZERO).reason, Reason::LimitExceeded);
    }

    #[test]
    fn what_is_restricted_may_not_be_used_at_all() {
        let nothing = metered("0", Source::Restricted, "0");
        assert_eq!(nothing.check(Decimal::ZERO).reason, Reason::Restricted);
        assert!(!nothing.check(Decimal::ZERO).allowed);
    }

    #[test]
    fn a_limit_is_compared_with_the_whole_and_a_switch_with_nothing() {
        let limit = Grant::Limit { value: number("10"), source: Source::Plan };
        let limit = Entitlement { grant: limit, used: Decimal::ZERO };
        assert!(limit.check(Decimal::TEN).allowed);
        assert_eq!(limit.check(Decimal::from(11)).reason, Reason::LimitExceeded);

        let switch = |value| Entitlement {
            grant: Grant::Switch { value, source: Source::Grace },
            used: Decimal::ZERO,
        };
        assert!(switch(true).check(Decimal::ONE_HUNDRED).allowed);
        assert_eq!(switch(false).check(Decimal::ONE).reason, Reason::SwitchedOff);
    }
}
