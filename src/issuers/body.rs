//! An issuer as the API shows it, and what it, the account and the customer say together.

use accrue_core::{
    id::{IssuerId, LogoId},
    money::Currency,
    tax_id::TaxId,
};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::model::{Issuer, Removed};
use crate::auth::{Tenant, TenantSettings};

/// Who said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    Customer,
    /// Whoever pays for the customer.
    Parent,
    Issuer,
    Account,
    /// What holds for every account that says nothing else.
    Default,
}

/// A setting as it is in force, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Resolved<T> {
    pub value: T,
    pub from: Origin,
}

impl<T: PartialEq> Resolved<T> {
    fn of(issuer: Option<T>, account: T, default: &T) -> Self {
        match issuer {
            Some(value) => Self { value, from: Origin::Issuer },
            None if account == *default => Self { value: account, from: Origin::Default },
            None => Self { value: account, from: Origin::Account },
        }
    }

    /// What the customer says counts before all others.
    #[must_use]
    pub fn unless_customer(self, says: Option<T>) -> Self {
        says.map_or(self, |value| Self { value, from: Origin::Customer })
    }

    /// What says who pays for the customer counts before issuer and account.
    #[must_use]
    pub fn unless_parent(self, says: Option<T>) -> Self {
        says.map_or(self, |value| Self { value, from: Origin::Parent })
    }
}

/// The settings in force, each with where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = ResolvedSettings)]
pub struct SettingsBody {
    pub timezone: Resolved<String>,
    /// Null if nobody names one: then the first subscription does.
    pub currency: Resolved<Option<String>>,
    /// Of subscriptions that are made from now on.
    pub net_terms_days: Resolved<u16>,
    pub invoice_prefix: Resolved<String>,
    pub credit_note_prefix: Resolved<String>,
    pub invoice_footer: Resolved<Option<String>>,
    pub brand_color: Resolved<String>,
    pub logo: Resolved<Option<String>>,
}

impl SettingsBody {
    /// What an issuer bills by, or the account itself.
    pub fn of(tenant: &Tenant, issuer: Option<&Issuer>) -> Self {
        let (own, default) = (&tenant.settings, TenantSettings::default());
        let text = |said: fn(&Issuer) -> Option<String>, own: &str, default: &str| {
            Resolved::of(issuer.and_then(said), own.to_owned(), &default.to_owned())
        };
        let shown = |logo: Option<LogoId>| logo.map(|id| id.to_string());
        let currency = issuer.and_then(|issuer| issuer.currency);
        let footer = issuer.and_then(|issuer| issuer.invoice_footer.clone());
        Self {
            timezone: text(|issuer| issuer.timezone.clone(), &tenant.timezone, "UTC"),
            currency: Resolved::of(currency.map(|currency| Some(currency.code().to_owned())), None, &None),
            net_terms_days: Resolved::of(
                issuer.and_then(|issuer| issuer.net_terms_days),
                own.net_terms_days,
                &default.net_terms_days,
            ),
            invoice_prefix: text(
                |issuer| Some(issuer.invoice_prefix.clone()),
                &own.invoice_prefix,
                &default.invoice_prefix,
            ),
            credit_note_prefix: text(
                |issuer| Some(issuer.credit_note_prefix.clone()),
                &own.credit_note_prefix,
                &default.credit_note_prefix,
            ),
            invoice_footer: Resolved::of(footer.map(Some), own.invoice_footer.clone(), &None),
            brand_color: text(|issuer| issuer.brand_color.clone(), &own.brand_color, &default.brand_color),
            logo: Resolved::of(issuer.map(|issuer| shown(issuer.logo_id)), shown(own.logo), &None),
        }
    }
}

/// A legal entity in whose name invoices are issued.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = IssuerEntity)]
pub(super) struct IssuerBody {
    pub id: IssuerId,
    #[schema(example = "issuer")]
    pub object: &'static str,
    pub livemode: bool,
    #[schema(example = "de")]
    pub code: String,
    /// The legal name.
    #[schema(example = "Acme Cloud GmbH")]
    pub name: String,
    /// As on an envelope.
    pub address: Vec<String>,
    pub tax_ids: Vec<TaxId>,
    pub email: Option<String>,
    #[schema(example = "Europe/Berlin")]
    pub timezone: Option<String>,
    pub currency: Option<Currency>,
    #[schema(example = "DE")]
    pub invoice_prefix: String,
    #[schema(example = "DECN")]
    pub credit_note_prefix: String,
    pub net_terms_days: Option<u16>,
    pub invoice_footer: Option<String>,
    pub brand_color: Option<String>,
    pub logo: Option<LogoId>,
    /// What it bills by, with what it leaves to the account.
    pub settings: SettingsBody,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
    /// Since then no other customer can be given to it. It goes on billing those that it has.
    pub archived_at: Option<DateTime<Utc>>,
}

impl IssuerBody {
    pub fn of(issuer: Issuer, tenant: &Tenant) -> Self {
        let settings = SettingsBody::of(tenant, Some(&issuer));
        let Issuer {
            tenant_id: _,
            id,
            code,
            name,
            address,
            tax_ids,
            email,
            timezone,
            currency,
            invoice_prefix,
            credit_note_prefix,
            net_terms_days,
            invoice_footer,
            brand_color,
            logo_id,
            metadata,
            created_at,
            archived_at,
        } = issuer;
        Self {
            id,
            object: "issuer",
            livemode: tenant.livemode,
            code,
            name,
            address,
            tax_ids,
            email,
            timezone,
            currency,
            invoice_prefix,
            credit_note_prefix,
            net_terms_days,
            invoice_footer,
            brand_color,
            logo: logo_id,
            settings,
            metadata,
            created_at,
            archived_at,
        }
    }
}

/// What became of an issuer that was to be deleted.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = RemovedIssuer)]
pub(super) struct RemovedBody {
    pub id: IssuerId,
    #[schema(example = "issuer")]
    pub object: &'static str,
    pub livemode: bool,
    #[schema(example = "de")]
    pub code: String,
    /// Is it gone? Else it is used, and archived instead.
    pub deleted: bool,
    /// Since when it is archived, if it is not gone.
    pub archived_at: Option<DateTime<Utc>>,
}

impl RemovedBody {
    pub fn of(removed: Removed, livemode: bool) -> Self {
        let Removed { id, code, archived_at } = removed;
        Self { id, object: "issuer", livemode, code, deleted: archived_at.is_none(), archived_at }
    }
}

/// The picture at the head of documents.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Logo)]
pub(super) struct LogoBody {
    /// Null if there is none.
    pub id: Option<LogoId>,
    #[schema(example = "logo")]
    pub object: &'static str,
    pub livemode: bool,
}

#[cfg(test)]
mod tests {
    use super::{
        super::model::tests::{issuer, tenant},
        *,
    };

    fn said(settings: &SettingsBody) -> Vec<(String, Origin)> {
        vec![
            (settings.timezone.value.clone(), settings.timezone.from),
            (settings.net_terms_days.value.to_string(), settings.net_terms_days.from),
            (settings.invoice_prefix.value.clone(), settings.invoice_prefix.from),
            (settings.invoice_footer.value.clone().unwrap_or_default(), settings.invoice_footer.from),
            (settings.brand_color.value.clone(), settings.brand_color.from),
        ]
    }

    #[test]
    fn a_setting_comes_from_the_first_that_has_it() {
        let mut tenant = tenant();
        let issuer = Issuer {
            timezone: Some("Europe/Berlin".to_owned()),
            currency: Some(Currency::EUR),
            ..issuer(&tenant)
        };
        let of_issuer = SettingsBody::of(&tenant, Some(&issuer));
        let expected = [
            ("Europe/Berlin", Origin::Issuer),
            ("14", Origin::Account),
            ("DE", Origin::Issuer),
            ("Thank you", Origin::Account),
            ("#1f4fd8", Origin::Default),
        ];
        assert_eq!(said(&of_issuer), expected.map(|(value, from)| (value.to_owned(), from)));
        assert_eq!(of_issuer.currency, Resolved { value: Some("EUR".to_owned()), from: Origin::Issuer });
        assert_eq!(of_issuer.logo, Resolved { value: None, from: Origin::Issuer });

        let of_account = SettingsBody::of(&tenant, None);
        assert_eq!(of_account.timezone.from, Origin::Account);
        assert_eq!(of_account.currency, Resolved { value: None, from: Origin::Default });
        assert_eq!(of_account.logo.from, Origin::Account);
        tenant.timezone = "UTC".to_owned();
        assert_eq!(SettingsBody::of(&tenant, None).timezone.from, Origin::Default);

        let own = of_issuer.timezone.clone().unless_customer(Some("Asia/Tokyo".to_owned()));
        assert_eq!(own, Resolved { value: "Asia/Tokyo".to_owned(), from: Origin::Customer });
        assert_eq!(of_issuer.timezone.clone().unless_customer(None), of_issuer.timezone);
    }
}
