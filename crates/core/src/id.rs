//! Identifiers that cannot be confused with one another.

use std::sync::{
    LazyLock,
    atomic::{AtomicU32, Ordering},
};

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Why a text is not an identifier of the wanted kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an identifier that starts with `{expected}_`")]
pub struct InvalidId {
    /// The prefix that was wanted.
    pub expected: &'static str,
}

/// A `UUIDv7` of the instant `at`, later than every one this process made for the same instant before.
///
/// Below the milliseconds stand, as RFC 9562 §6.2 allows: the fraction of the millisecond (12 bits), a
/// counter (32 bits) and chance (30 bits). The counter matters because a test clock stands still, and
/// lists are sorted by identifier.
pub fn uuid_v7(at: DateTime<Utc>) -> Uuid {
    static COUNTER: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(Uuid::new_v4().as_fields().0 >> 1));

    let millis = u64::try_from(at.timestamp_millis()).unwrap_or(0);
    let fraction = u64::from(at.timestamp_subsec_nanos() % 1_000_000) * 4096 / 1_000_000;
    let count = u64::from(COUNTER.fetch_add(1, Ordering::Relaxed));
    let chance = u64::from(Uuid::new_v4().as_fields().0 >> 2);

    let high = millis << 16 | 0x7000 | fraction;
    let low = 0b10 << 62 | count << 30 | chance;
    Uuid::from_u64_pair(high, low)
}

/// The least identifier of the millisecond of `at`: those made before are less, those made from then on are not.
pub fn first_uuid_v7(at: DateTime<Utc>) -> Uuid {
    Uuid::from_u64_pair(u64::try_from(at.timestamp_millis()).unwrap_or(0) << 16, 0)
}

/// Declares an identifier. In Rust and in the database it is a `UUIDv7`; on the wire it has a prefix: `sub_0197…`.
macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, sea_orm::DeriveValueType)]
        pub struct $name(pub uuid::Uuid);

        impl $name {
            /// What the identifier starts with on the wire, before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// `at` comes from the clock: identifiers sort by the time we believe it is.
            pub fn new(at: chrono::DateTime<chrono::Utc>) -> Self {
                Self($crate::id::uuid_v7(at))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}_{}", $prefix, self.0.simple())
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.strip_prefix(concat!($prefix, "_"))
                    .filter(|hex| hex.len() == 32)
                    .and_then(|hex| uuid::Uuid::try_parse(hex).ok())
                    .map(Self)
                    .ok_or(InvalidId { expected: $prefix })
            }
        }

        impl sea_orm::TryFromU64 for $name {
            fn try_from_u64(_: u64) -> Result<Self, sea_orm::DbErr> {
                Err(sea_orm::DbErr::ConvertFromU64(stringify!($name)))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                utoipa::openapi::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::Type::String)
                    .examples([concat!($prefix, "_01979f0c6a5e7c1f8f6d2b1a9e3c4d5f")])
                    .into()
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}

typed_id!(/// Who uses our service: one account in one mode (live or test).
    TenantId, "ten");
typed_id!(/// The owner of a live and a test tenant.
    AccountId, "acc");
typed_id!(/// An API key.
    KeyId, "key");
typed_id!(/// A request, or a job's run: what log lines share.
    RequestId, "req");
typed_id!(/// An entry of the audit log.
    AuditId, "aud");
typed_id!(/// A durable piece of work in the queue.
    JobId, "job");
typed_id!(/// Something that happened, as others may see it.
    EventId, "evt");
typed_id!(/// A legal entity in whose name invoices are issued.
    IssuerId, "iss");
typed_id!(/// A picture at the head of documents. It never changes: another one has another identifier.
    LogoId, "logo");
typed_id!(CustomerId, "cus");
typed_id!(TestClockId, "clk");
typed_id!(MetricId, "met");
typed_id!(FeatureId, "ftr");
typed_id!(PlanId, "plan");
typed_id!(/// One version of a plan: its prices and features, never changed once made.
    PlanVersionId, "plv");
typed_id!(PriceId, "prc");
typed_id!(TaxId, "tax");
typed_id!(CouponId, "cpn");
typed_id!(/// A name under which customers redeem a coupon.
    PromoCodeId, "prm");
typed_id!(/// That a customer has a coupon.
    RedemptionId, "rdm");
typed_id!(SubscriptionId, "sub");
typed_id!(UsageEventId, "uev");
typed_id!(/// A name of events that nothing counts, and how many there were.
    UnmatchedUsageId, "uum");
typed_id!(/// A threshold of a customer's usage.
    UsageAlertId, "ual");
typed_id!(/// That an alert triggered in a period.
    UsageAlertTriggerId, "uat");
typed_id!(InvoiceId, "inv");
typed_id!(InvoiceLineId, "lin");
typed_id!(/// A change of what a customer has with us.
    BalanceEntryId, "bal");
typed_id!(CreditNoteId, "cn");
typed_id!(CreditNoteLineId, "cnl");
typed_id!(/// That a credit note paid a part of an invoice.
    CreditApplicationId, "cap");
typed_id!(DocumentId, "doc");
typed_id!(PaymentId, "pay");
typed_id!(PaymentAttemptId, "att");
typed_id!(PaymentMethodId, "pm");
typed_id!(RefundId, "ref");
typed_id!(/// The chase of one unpaid invoice.
    DunningId, "dun");
typed_id!(WebhookEndpointId, "we");
typed_id!(DeliveryId, "del");
typed_id!(DeliveryAttemptId, "dat");
typed_id!(EmailId, "eml");
typed_id!(LedgerAccountId, "lac");
typed_id!(LedgerTransactionId, "ltx");
typed_id!(LedgerEntryId, "len");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_survives_the_wire() {
        let id = SubscriptionId::new("2026-01-31T10:00:00Z".parse().unwrap());
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.to_string().starts_with("sub_019c"));
    }

    #[test]
    fn an_identifier_of_another_kind_is_refused() {
        let id = InvoiceId::new("2026-01-31T10:00:00Z".parse().unwrap());
        assert_eq!(id.to_string().parse::<SubscriptionId>(), Err(InvalidId { expected: "sub" }));
        assert!("sub_01979f0c-6a5e-7c1f-8f6d-2b1a9e3c4d5f".parse::<SubscriptionId>().is_err());
    }

    #[test]
    fn identifiers_of_one_instant_sort_by_the_order_they_were_made_in() {
        let at = "2026-01-31T10:00:00Z".parse().unwrap();
        let made: Vec<_> = (0..1000).map(|_| EventId::new(at)).collect();
        assert!(made.is_sorted());
        assert_eq!(made[0].0.get_version_num(), 7);
        assert_eq!(made[0].0.get_variant(), uuid::Variant::RFC4122);
    }

    #[test]
    fn identifiers_sort_by_the_time_they_were_made() {
        let earlier = EventId::new("2026-01-31T10:00:00Z".parse().unwrap());
        let later = EventId::new("2026-01-31T10:00:00.001Z".parse().unwrap());
        assert!(earlier < later);
    }
}
