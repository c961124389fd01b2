//! Who issued an invoice and who got it.

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
    pub tax_number: Option<String>,
    pub email: Option<String>,
    /// IANA. Of the issuer, the zone of the invoice's dates; of the customer, the zone of its periods.
    pub timezone: Option<String>,
    pub locale: Option<String>,
}

impl PartyCopy {
    /// Who issues a tenant's invoices.
    pub(in crate::invoices) fn issuer(tenant: &Tenant) -> Self {
        let issuer = tenant.settings.issuer.clone();
        Self {
            name: issuer.name.unwrap_or_else(|| tenant.name.clone()),
            address: issuer.address,
            tax_number: issuer.tax_number,
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
            tax_number: customer.tax_number.clone(),
            email: customer.email.clone(),
            timezone: Some(zone.name().to_owned()),
            locale: customer.locale.clone(),
        }
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

    fn customer_at(address: Address, now: DateTime<Utc>) -> Customer {
        Customer {
            tenant_id: TenantId::new(now),
            id: CustomerId::new(now),
            external_id: None,
            name: "Acme".into(),
            email: None,
            currency: None,
            timezone: None,
            locale: None,
            address,
            tax_number: None,
            test_clock_id: None,
            default_payment_method_id: None,
            metadata: Metadata::new(),
            created_at: now,
        }
    }
}
