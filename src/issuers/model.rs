//! What an issuer is.

use accrue_core::{
    id::{IssuerId, LogoId, TenantId},
    money::Currency,
    tax_id::TaxId,
};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};

use crate::auth::{self, Tenant, TenantSettings};

/// A legal entity in whose name invoices are issued. What it does not say itself, the account says for it; but not who it
/// is: name, address and tax numbers are its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    pub tenant_id: TenantId,
    pub id: IssuerId,
    /// The caller's own name for it.
    pub code: String,
    /// The legal name.
    pub name: String,
    /// As on an envelope.
    pub address: Vec<String>,
    pub tax_ids: Vec<TaxId>,
    pub email: Option<String>,
    /// IANA. Of its invoices' dates, and of customers that name none (RULES 3, 37).
    pub timezone: Option<String>,
    /// In which its customers are billed that name none.
    pub currency: Option<Currency>,
    /// What its invoices' numbers begin with: nobody else's do (RULES 35).
    pub invoice_prefix: String,
    pub credit_note_prefix: String,
    pub net_terms_days: Option<u16>,
    pub invoice_footer: Option<String>,
    pub brand_color: Option<String>,
    pub logo_id: Option<LogoId>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
    /// From then on no other customer can be given to it; it goes on billing those that it has.
    pub archived_at: Option<DateTime<Utc>>,
}

impl Issuer {
    /// The tenant, as it bills in this issuer's name.
    pub fn in_name_of(&self, tenant: &Tenant) -> Tenant {
        let own = tenant.settings.clone();
        let settings = TenantSettings {
            issuer: auth::Issuer {
                name: Some(self.name.clone()),
                address: self.address.clone(),
                tax_ids: self.tax_ids.clone(),
                email: self.email.clone(),
            },
            invoice_prefix: self.invoice_prefix.clone(),
            credit_note_prefix: self.credit_note_prefix.clone(),
            net_terms_days: self.net_terms_days.unwrap_or(own.net_terms_days),
            invoice_footer: self.invoice_footer.clone().or(own.invoice_footer),
            brand_color: self.brand_color.clone().unwrap_or(own.brand_color),
            // Another company's logo would say that it is that company.
            logo: self.logo_id,
            ..own
        };
        Tenant {
            name: self.name.clone(),
            timezone: self.timezone.clone().unwrap_or_else(|| tenant.timezone.clone()),
            settings,
            ..tenant.clone()
        }
    }
}

/// What became of an issuer that was to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Removed {
    pub id: IssuerId,
    pub code: String,
    /// Since when it is archived, because it is used; none if it is gone.
    pub archived_at: Option<DateTime<Utc>>,
}

#[cfg(test)]
pub(super) mod tests {
    use accrue_core::id::AccountId;

    use super::*;

    pub(in crate::issuers) fn tenant() -> Tenant {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        Tenant {
            id: TenantId::new(now),
            account_id: AccountId::new(now),
            livemode: false,
            name: "Acme".to_owned(),
            timezone: "America/New_York".to_owned(),
            settings: TenantSettings {
                invoice_footer: Some("Thank you".to_owned()),
                net_terms_days: 14,
                logo: Some(LogoId::new(now)),
                ..TenantSettings::default()
            },
            created_at: now,
        }
    }

    pub(in crate::issuers) fn issuer(tenant: &Tenant) -> Issuer {
        Issuer {
            tenant_id: tenant.id,
            id: IssuerId::new(tenant.created_at),
            code: "de".to_owned(),
            name: "Acme GmbH".to_owned(),
            address: vec!["Berlin".to_owned()],
            tax_ids: Vec::new(),
            email: None,
            timezone: None,
            currency: None,
            invoice_prefix: "DE".to_owned(),
            credit_note_prefix: "DECN".to_owned(),
            net_terms_days: None,
            invoice_footer: None,
            brand_color: None,
            logo_id: None,
            metadata: Metadata::new(),
            created_at: tenant.created_at,
            archived_at: None,
        }
    }

    #[test]
    fn what_an_issuer_does_not_say_the_account_says_but_not_who_it_is() {
        let tenant = tenant();
        let quiet = issuer(&tenant).in_name_of(&tenant);
        assert_eq!((quiet.id, quiet.timezone.as_str()), (tenant.id, "America/New_York"));
        assert_eq!(quiet.settings.net_terms_days, 14);
        assert_eq!(quiet.settings.invoice_footer.as_deref(), Some("Thank you"));
        assert_eq!(quiet.settings.issuer.name.as_deref(), Some("Acme GmbH"));
        assert_eq!((quiet.settings.invoice_prefix.as_str(), quiet.settings.logo), ("DE", None));

        let own = Issuer {
            timezone: Some("Europe/Berlin".to_owned()),
            net_terms_days: Some(0),
            invoice_footer: Some("HRB 1".to_owned()),
            ..issuer(&tenant)
        };
        let own = own.in_name_of(&tenant);
        assert_eq!((own.timezone.as_str(), own.settings.net_terms_days), ("Europe/Berlin", 0));
        assert_eq!(own.settings.invoice_footer.as_deref(), Some("HRB 1"));
    }
}
