//! Tenants, keys and their scopes.

use accrue_core::{
    id::{AccountId, KeyId, LogoId, TenantId},
    invoice::TaxRounding,
    tax_id::TaxId,
};
use accrue_platform::secrets::random_bytes;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use sea_orm::{DeriveActiveEnum, EnumIter};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::resource::SCOPES;

/// The owner of a live and a test tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub id: AccountId,
    pub name: String,
}

/// One account in one mode: the two modes share nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    pub id: TenantId,
    pub account_id: AccountId,
    pub livemode: bool,
    pub name: String,
    /// IANA; the zone of customers that name none, and of invoice dates.
    pub timezone: String,
    pub settings: TenantSettings,
    pub created_at: DateTime<Utc>,
}

/// What a tenant decides about its invoices and about the usage that it takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct TenantSettings {
    pub issuer: Issuer,
    /// What invoice numbers start with: `INV` makes `INV-000001`.
    #[schema(example = "INV")]
    pub invoice_prefix: String,
    /// What numbers of credit notes start with: `CN` makes `CN-000001`.
    #[schema(example = "CN")]
    pub credit_note_prefix: String,
    /// Days a customer has to pay an invoice that is sent to them.
    pub net_terms_days: u16,
    /// Where taxes are rounded.
    pub tax_rounding: TaxRounding,
    /// Printed at the foot of every invoice.
    pub invoice_footer: Option<String>,
    /// The colour of mails and documents.
    #[schema(example = "#1f4fd8")]
    pub brand_color: String,
    /// The picture at the head of documents; put there by `PUT /v1/account/logo`.
    pub logo: Option<LogoId>,
    /// Whether usage events are kept of customers that do not exist yet: they are billed when a customer of that
    /// `external_id` appears.
    pub allow_unknown_customer: bool,
    /// How many days back a usage event may lie, unless it is sent with `backfill=true`.
    #[schema(example = 35)]
    pub usage_past_days_max: u16,
    /// How many minutes ahead a usage event may lie.
    #[schema(example = 5)]
    pub usage_future_minutes_max: u16,
}

impl Default for TenantSettings {
    fn default() -> Self {
        Self {
            issuer: Issuer::default(),
            invoice_prefix: "INV".to_owned(),
            credit_note_prefix: "CN".to_owned(),
            net_terms_days: 30,
            tax_rounding: TaxRounding::default(),
            invoice_footer: None,
            brand_color: "#1f4fd8".to_owned(),
            logo: None,
            allow_unknown_customer: false,
            usage_past_days_max: 35,
            usage_future_minutes_max: 5,
        }
    }
}

/// Who issues invoices to customers that no other issuer bills.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Issuer {
    /// The legal name; the account's name unless given.
    pub name: Option<String>,
    /// As on an envelope.
    pub address: Vec<String>,
    pub tax_ids: Vec<TaxId>,
    pub email: Option<String>,
}

/// Which documents a series numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbered {
    Invoice,
    CreditNote,
}

impl Numbered {
    /// As the database calls them.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Invoice => "invoice",
            Self::CreditNote => "credit_note",
        }
    }
}

/// Whether a series of numbers can be called so: 1 to 12 ASCII letters and digits.
pub fn is_prefix(prefix: &str) -> bool {
    (1..=12).contains(&prefix.len()) && prefix.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Whether it is a colour like `#1f4fd8`.
pub fn is_color(color: &str) -> bool {
    color
        .strip_prefix('#')
        .is_some_and(|digits| digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Test or live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    Test,
    Live,
}

/// What a key is for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, Deserialize, utoipa::ToSchema,
)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// May do everything.
    Secret,
    /// May do what its scopes say.
    Restricted,
    /// May send usage events, and nothing else.
    Ingest,
}

/// A key as it is remembered: the key itself is shown once and kept nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub id: KeyId,
    pub tenant_id: TenantId,
    pub kind: KeyKind,
    pub name: String,
    /// How it begins and ends, for people who look for it.
    pub hint: String,
    /// `customers:read`, `customers:write`, or `customers` for both; of a restricted key only.
    pub scopes: Vec<String>,
    pub created_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
}

/// What a new key shall be.
#[derive(Clone, Debug)]
pub struct NewKey {
    pub name: String,
    pub kind: KeyKind,
    pub scopes: Vec<String>,
    pub expires_at: Option<DateTime<Utc>>,
}

impl Key {
    /// A key that may read everything and is kept nowhere, and its text.
    pub(super) fn to_read(tenant: &Tenant, now: DateTime<Utc>) -> (Self, String) {
        let key = Self {
            id: KeyId::new(now),
            tenant_id: tenant.id,
            kind: KeyKind::Restricted,
            name: String::new(),
            hint: String::new(),
            scopes: SCOPES.iter().map(|resource| format!("{resource}:read")).collect(),
            created_at: now,
            expires_at: None,
            revoked_at: None,
        };
        (key, new_key_text(tenant, KeyKind::Restricted))
    }

    pub(super) fn is_usable(&self, now: DateTime<Utc>) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }

    pub(super) fn may(&self, scope: &str) -> bool {
        match self.kind {
            KeyKind::Secret => true,
            KeyKind::Restricted => {
                let (resource, verb) = scope.split_once(':').unwrap_or((scope, "write"));
                self.scopes.iter().any(|held| match held.split_once(':') {
                    Some((of, "write")) => of == resource,
                    Some((of, held)) => of == resource && held == verb,
                    None => held == resource,
                })
            }
            KeyKind::Ingest => scope == "usage:write",
        }
    }

    /// A right that a new key would have and this one has not, if there is one: nobody gives away what is not theirs.
    pub(super) fn lacks_of<'a>(&self, new: &'a NewKey) -> Option<&'a str> {
        match new.kind {
            KeyKind::Secret => (self.kind != KeyKind::Secret).then_some("everything"),
            KeyKind::Ingest => (!self.may("usage:write")).then_some("usage:write"),
            KeyKind::Restricted => new.scopes.iter().map(String::as_str).find(|scope| !self.may(scope)),
        }
    }
}

/// Makes the text of a key. It carries its tenant, so that a database sharded by tenant can find it.
pub(super) fn new_key_text(tenant: &Tenant, kind: KeyKind) -> String {
    let kind = match kind {
        KeyKind::Secret => "sk",
        KeyKind::Restricted => "rk",
        KeyKind::Ingest => "ik",
    };
    let mode = if tenant.livemode { "live" } else { "test" };
    let secret = [tenant.id.0.as_bytes().as_slice(), &random_bytes::<32>()].concat();
    format!("{kind}_{mode}_{}", URL_SAFE_NO_PAD.encode(secret))
}

/// The tenant that a key's text names, and the digest under which the key is stored.
pub(super) fn read_key_text(text: &str) -> Option<(TenantId, Vec<u8>)> {
    let mut parts = text.splitn(3, '_');
    let (kind, mode, secret) = (parts.next()?, parts.next()?, parts.next()?);
    if !["sk", "rk", "ik"].contains(&kind) || !["live", "test"].contains(&mode) {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(secret).ok().filter(|bytes| bytes.len() == 48)?;
    let tenant = uuid::Uuid::from_slice(&bytes[..16]).ok()?;
    Some((TenantId(tenant), digest(text)))
}

/// 256 random bits need no slow hash.
pub(super) fn digest(text: &str) -> Vec<u8> {
    Sha256::digest(text.as_bytes()).to_vec()
}

/// The first of the scopes that does not exist, and its place.
pub(super) fn unknown_scope(wanted: &[String]) -> Option<(usize, &str)> {
    let exists = |scope: &str| match scope.rsplit_once(':') {
        Some((resource, verb)) => SCOPES.contains(&resource) && ["read", "write"].contains(&verb),
        None => SCOPES.contains(&scope),
    };
    wanted.iter().map(String::as_str).enumerate().find(|(_, scope)| !exists(scope))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: KeyKind, scopes: &[&str]) -> Key {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        Key {
            id: KeyId::new(now),
            tenant_id: TenantId::new(now),
            kind,
            name: String::new(),
            hint: String::new(),
            scopes: scopes.iter().map(ToString::to_string).collect(),
            created_at: now,
            expires_at: Some("2026-02-01T00:00:00Z".parse().unwrap()),
            revoked_at: None,
        }
    }

    #[test]
    fn a_restricted_key_may_do_what_its_scopes_say() {
        let key = key(KeyKind::Restricted, &["customers:write", "invoices:read"]);
        assert!(key.may("customers:write") && key.may("customers:read") && key.may("invoices:read"));
        assert!(!key.may("invoices:write") && !key.may("catalog:read"));
    }

    #[test]
    fn a_resource_alone_is_a_scope_for_reading_and_writing_it() {
        let key = key(KeyKind::Restricted, &["calculate", "usage"]);
        assert!(key.may("calculate:read") && key.may("usage:read") && key.may("usage:write"));
        assert!(!key.may("customers:read") && !key.may("usages:read"));
        let unknown =
            |scope: &str| unknown_scope(&["usage:read".into(), "calculate".into(), scope.into()]).is_some();
        assert!(["calculator", "usage:delete", ":read", ""].into_iter().all(unknown));
        assert!(!["usage:write", "customers"].into_iter().any(unknown));
    }

    #[test]
    fn an_ingest_key_may_only_send_usage() {
        let key = key(KeyKind::Ingest, &[]);
        assert!(key.may("usage:write"));
        assert!(!key.may("usage:read") && !key.may("customers:read"));
    }

    #[test]
    fn a_key_gives_away_what_it_has_and_no_more() {
        let new = |kind, scopes: &[&str]| NewKey {
            name: String::new(),
            kind,
            scopes: scopes.iter().map(ToString::to_string).collect(),
            expires_at: None,
        };
        let (secret, ingest) = (new(KeyKind::Secret, &[]), new(KeyKind::Ingest, &[]));
        let restricted = |scopes| new(KeyKind::Restricted, scopes);
        let owner = key(KeyKind::Secret, &[]);
        assert!(
            [&secret, &ingest, &restricted(&["ledger"])].into_iter().all(|new| owner.lacks_of(new).is_none())
        );
        let clerk = key(KeyKind::Restricted, &["account:write", "customers", "invoices:read"]);
        assert_eq!(clerk.lacks_of(&secret), Some("everything"));
        assert_eq!(clerk.lacks_of(&ingest), Some("usage:write"));
        assert_eq!(clerk.lacks_of(&restricted(&["account", "customers:read", "invoices:read"])), None);
        assert_eq!(clerk.lacks_of(&restricted(&["account:read", "invoices"])), Some("invoices"));
        assert_eq!(clerk.lacks_of(&restricted(&["invoices:write"])), Some("invoices:write"));
        assert_eq!(key(KeyKind::Restricted, &["usage:write"]).lacks_of(&ingest), None);
    }

    #[test]
    fn a_key_is_usable_until_the_instant_it_expires() {
        let key = key(KeyKind::Secret, &[]);
        assert!(key.is_usable("2026-01-31T23:59:59Z".parse().unwrap()));
        assert!(!key.is_usable("2026-02-01T00:00:00Z".parse().unwrap()));
    }

    #[test]
    fn what_is_no_key_is_not_looked_up() {
        for text in ["", "sk_test_", "sk_test_abc", "pk_test_x", &format!("sk_test_{}", "A".repeat(65))] {
            assert_eq!(read_key_text(text), None, "{text}");
        }
    }
}
