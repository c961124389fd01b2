//! What a customer may use, as the API and the events show it.

use std::collections::BTreeMap;

use accrue_core::{decimal::Number, id::CustomerId};
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::model::{Entitlement, Grant, Reason, Source, Verdict};
use crate::catalog::FeatureValue;

/// Everything that a customer may use.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct EntitlementsBody {
    #[schema(example = "entitlements")]
    pub object: &'static str,
    pub livemode: bool,
    pub customer: CustomerId,
    /// Grows by one whenever what is granted changes; drop what is older than what you have. 0 before
    /// anything was ever granted.
    #[schema(example = 17)]
    pub version: i64,
    /// The time of the answer, by which usage was counted.
    pub as_of: DateTime<Utc>,
    /// By the features' codes.
    pub features: BTreeMap<String, EntitlementBody>,
}

/// What a customer may use of one feature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EntitlementBody {
    /// On or off.
    Switch { value: bool, source: Source },
    /// A number that your product enforces.
    Limit { value: FeatureValue, source: Source },
    /// An amount of usage for each period.
    Metered {
        limit: Number,
        /// In the running period.
        used: Number,
        remaining: Number,
        /// The end of the running period, from which on nothing is used.
        resets_at: DateTime<Utc>,
        /// Is anything left?
        has_access: bool,
        source: Source,
    },
    /// Settings that your product reads.
    Config {
        /// Any JSON, as the plan says it; null while it is not paid for.
        value: Option<FeatureValue>,
        source: Source,
    },
}

impl From<Entitlement> for EntitlementBody {
    fn from(entitlement: Entitlement) -> Self {
        let remaining = entitlement.remaining().unwrap_or_default();
        match entitlement.grant {
            Grant::Switch { value, source } => Self::Switch { value, source },
            Grant::Limit { value, source } => Self::Limit { value: FeatureValue::amount(value), source },
            Grant::Metered { limit, source, period, metric: _ } => Self::Metered {
                limit,
                used: Number(entitlement.used),
                remaining: Number(remaining),
                resets_at: period.end,
                has_access: !remaining.is_zero(),
                source,
            },
            Grant::Config { value, source } => Self::Config { value, source },
        }
    }
}

/// One feature of a customer.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub(super) struct FeatureEntitlementBody {
    #[schema(example = "entitlement")]
    pub object: &'static str,
    pub livemode: bool,
    pub customer: CustomerId,
    /// The feature's code.
    #[schema(example = "tokens")]
    pub feature: String,
    /// Of all entitlements of the customer.
    pub version: i64,
    pub as_of: DateTime<Utc>,
    #[serde(flatten)]
    pub entitlement: EntitlementBody,
}

/// May it be used?
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub(super) struct VerdictBody {
    #[schema(example = "entitlement_check")]
    pub object: &'static str,
    pub allowed: bool,
    /// Of a metered feature: what is left before the asked quantity is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining: Option<Number>,
    pub reason: Reason,
}

impl From<Verdict> for VerdictBody {
    fn from(verdict: Verdict) -> Self {
        let Verdict { allowed, remaining, reason } = verdict;
        Self { object: "entitlement_check", allowed, remaining: remaining.map(Number), reason }
    }
}

#[cfg(test)]
mod tests {
    use accrue_core::{calendar::Period, id::MetricId};
    use serde_json::json;

    use super::*;

    #[test]
    fn each_kind_has_its_own_shape() {
        let shown = |grant, used: &str| {
            let used = used.parse().unwrap();
            serde_json::to_value(EntitlementBody::from(Entitlement { grant, used })).unwrap()
        };
        let number = |text: &str| Number(text.parse().unwrap());
        let (start, end): (DateTime<Utc>, DateTime<Utc>) =
            ("2026-01-01T00:00:00Z".parse().unwrap(), "2026-02-01T00:00:00Z".parse().unwrap());

        assert_eq!(
            shown(Grant::Switch { value: true, source: Source::Plan }, "0"),
            json!({"kind": "switch", "value": true, "source": "plan"})
        );
        assert_eq!(
            shown(Grant::Limit { value: number("10"), source: Source::Grace }, "0"),
            json!({"kind": "limit", "value": 10, "source": "grace"})
        );
        let metered = Grant::Metered {
            limit: number("1000000"),
            source: Source::Plan,
            metric: MetricId::new(start),
            period: Period::try_new(start, end).unwrap(),
        };
        assert_eq!(
            shown(metered.clone(), "1234"),
            json!({"kind": "metered", "limit": "1000000", "used": "1234", "remaining": "998766",
                "resets_at": "2026-02-01T00:00:00Z", "has_access": true, "source": "plan"})
        );
        assert_eq!(shown(metered, "1000000")["has_access"], false);
        let value = serde_json::from_str(r#"{"retention_days":90}"#).unwrap();
        assert_eq!(
            shown(Grant::Config { value, source: Source::Plan }, "0"),
            json!({"kind": "config", "value": {"retention_days": 90}, "source": "plan"})
        );
        assert_eq!(
            shown(Grant::Config { value: None, source: Source::Restricted }, "0"),
            json!({"kind": "config", "value": null, "source": "restricted"})
        );
    }
}
