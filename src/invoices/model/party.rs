//! Who issued an invoice and who got it.

use accrue_core::{id::LogoId, tax_id::TaxId};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::{
    auth::Tenant,
    customers::{Address, Customer},
};

/// Who issued or got the invoice, as it was then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PartyCopy {
    pub name: String,
    pub address: Vec<String>,
    pub tax_ids: Vec<TaxId>,
    pub email: Option<String>,
    /// IANA. Of the issuer, the zone of the invoice's dates; of the customer, the zone of its periods.
    pub timezone: Option<String>,
    pub locale: Option<String>,
}

/// What documents have of their issuer beside its name and address, as it was then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Letterhead {
    pub footer: Option<String>,
    /// Like `#1f4fd8`.
    pub color: Option<String>,
    pub logo: Option<LogoId>,
}

impl Letterhead {
    /// Of a tenant, as it bills the customer.
    pub(in crate::invoices) fn of(tenant: &Tenant) -> Self {
        Self {
            footer: tenant.settings.invoice_footer.clone(),
            color: Some(tenant.settings.brand_color.clone()),
            logo: tenant.settings.logo,
        }
    }
}

impl PartyCopy {
    /// Who issues a tenant's invoices: the tenant, as it bills the customer.
    pub(in crate::invoices) fn issuer(tenant: &Tenant) -> Self {
        let issuer = tenant.settings.issuer.clone();
        Self {
            name: issuer.name.unwrap_or_else(|| tenant.name.clone()),
            address: issuer.address,
            tax_ids: issuer.tax_ids,
            email: issuer.email,
            timezone: Some(tenant.timezone.clone()),
            locale: None,
        }
    }

    /// Who is billed. `zone` is the one in which the periods begin and end.
    pub(in crate::invoices) fn customer(customer: &Customer, zone: Tz) -> Self {
        let Address { line1, line2, postal_code, city, region, country } = customer.address.clone();
        // As envelopes have it there: `New York, NY 10118`.
        let region_first = matches!(country.as_deref(), Some("US" | "CA" | "AU"));
        let (town, region) = if region_first {
            let state = join([region, postal_code], " ");
            (join([city, Some(state).filter(|state| !state.is_empty())], ", "), None)
        } else {
            (join([postal_code, city], " "), region)
        };
        let lines = [line1, line2, Some(town), region, country].into_iter().flatten();
        Self {
            name: customer.name.clone(),
            address: lines.filter(|line| !line.is_empty()).collect(),
            tax_ids: customer.tax_ids.clone(),
            email: customer.email.clone(),
            timezone: Some(zone.name().to_owned()),
            locale: customer.locale.clone(),
        }
    }

    /// The zone of its dates, or of its periods.
    pub(in crate::invoices) fn zone(&self) -> Tz {
        self.timezone.as_deref().and_then(|zone| zone.parse().ok()).unwrap_or(Tz::UTC)
    }

    /// `de` of `de-AT`; empty if there is none.
    pub(in crate::invoices) fn language(&self) -> String {
        let locale = self.locale.as_deref().unwrap_or_default();
        locale.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase()
    }
}

fn join(parts: [Option<String>; 2], between: &str) -> String {
    parts.into_iter().flatten().collect::<Vec<_>>().join(between)
}

#[cfg(test)]
mod tests {
    use accrue_core::id::{CustomerId, TenantId};
    use accrue_platform::check::Metadata;
    use chrono::{DateTime, Utc};

    use super::*;
    use crate::customers::Exemption;

    #[test]
    fn an_address_is_written_as_envelopes_have_it_where_it_is() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let lines = |city: &str, region: Option<&str>, code: &str, country: &str| {
            let address = Address {
                line1: Some("1 Street".into()),
                line2: None,
                postal_code: Some(code.into()),
                city: Some(city.into()),
                region: region.map(Into::into),
                country: Some(country.into()),
            };
            PartyCopy::customer(&customer_at(address, now), Tz::UTC).address.join(" / ")
        };
        assert_eq!(lines("New York", Some("NY"), "10118", "US"), "1 Street / New York, NY 10118 / US");
        assert_eq!(lines("Boston", None, "02110", "US"), "1 Street / Boston, 02110 / US");
        assert_eq!(lines("Berlin", None, "10115", "DE"), "1 Street / 10115 Berlin / DE");
    }

    #[test]
    fn the_language_of_a_locale_is_its_first_part() {
        let language = |locale: Option<&str>| {
            PartyCopy { locale: locale.map(str::to_owned), ..PartyCopy::default() }.language()
        };
        assert_eq!([Some("de-AT"), Some("EN"), Some("zh_Hant"), None].map(language), ["de", "en", "zh", ""]);
    }

    fn customer_at(address: Address, now: DateTime<Utc>) -> Customer {
        Customer {
            tenant_id: TenantId::new(now),
            id: CustomerId::new(now),
            external_id: None,
            parent_id: None,
            issuer_id: None,
            name: "Acme".into(),
            email: None,
            invoice_contacts: Vec::new(),
            currency: None,
            timezone: None,
            locale: None,
            net_terms_days: None,
            address,
            tax_ids: Vec::new(),
            exemption: Exemption::None,
            test_clock_id: None,
            default_payment_method_id: None,
            balance_minor: 0,
            metadata: Metadata::new(),
            created_at: now,
        }
    }
}
