//! The account's settings over HTTP.

use std::ops::RangeInclusive;

use accrue_core::{invoice::TaxRounding, tax_id::TaxId};
use accrue_platform::{
    body::Body,
    check::Check,
    problem::{Problem, ProblemBody},
};
use actix_web::{get, http::StatusCode, patch, web::Data};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::said::{NAME_MAX, Said, check_address};
use crate::auth::{
    caller::{Answer, KnownCallers, Read, Write},
    model::{Issuer, Tenant, TenantSettings},
    resource, service,
};

/// A year of events by default; older ones are sent as what they are, a backfill.
const PAST_DAYS: RangeInclusive<u16> = 1..=366;
/// A day: a clock that is further ahead is wrong.
const FUTURE_MINUTES: RangeInclusive<u16> = 0..=1440;

/// The account in this mode.
#[derive(Serialize, utoipa::ToSchema)]
struct AccountBody {
    #[schema(value_type = String, example = "ten_01979f0c6a5e7c1f8f6d2b1a9e3c4d5f")]
    id: accrue_core::id::TenantId,
    #[schema(example = "account")]
    object: &'static str,
    livemode: bool,
    name: String,
    #[schema(example = "Europe/Berlin")]
    timezone: String,
    #[serde(flatten)]
    settings: TenantSettings,
    created_at: DateTime<Utc>,
}

impl From<Tenant> for AccountBody {
    fn from(tenant: Tenant) -> Self {
        let Tenant { id, livemode, name, timezone, settings, created_at, account_id: _ } = tenant;
        Self { id, object: "account", livemode, name, timezone, settings, created_at }
    }
}

/// What to change; what is not named stays.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct UpdateAccount {
    #[schema(example = "Nimbus Cloud")]
    name: Option<String>,
    /// IANA; the zone of customers that name none, and of invoice dates.
    #[schema(example = "Europe/Berlin")]
    timezone: Option<String>,
    /// Replaces the issuer as a whole.
    issuer: Option<UpdateIssuer>,
    /// 1 to 12 ASCII letters and digits.
    #[schema(example = "INV")]
    invoice_prefix: Option<String>,
    /// The same of credit notes. Numbers of one beginning are of one kind, and nobody else's.
    #[schema(example = "CN")]
    credit_note_prefix: Option<String>,
    /// 0 to 365.
    #[schema(example = 30)]
    net_terms_days: Option<u16>,
    /// Where taxes are rounded: once per tax (`rate`), once per invoice, or once per line.
    tax_rounding: Option<TaxRounding>,
    /// Printed at the foot of every invoice.
    invoice_footer: Option<String>,
    #[schema(example = "#1f4fd8")]
    brand_color: Option<String>,
    /// Whether usage events are kept of customers that do not exist yet: they are billed when a customer of that
    /// `external_id` appears.
    allow_unknown_customer: Option<bool>,
    /// How many days back a usage event may lie, unless it is sent with `backfill=true`: 1 to 366.
    #[schema(example = 35)]
    usage_past_days_max: Option<u16>,
    /// How many minutes ahead a usage event may lie: 0 to 1440.
    #[schema(example = 5)]
    usage_future_minutes_max: Option<u16>,
}

/// Who issues invoices.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct UpdateIssuer {
    /// The legal name; the account's name unless given.
    name: Option<String>,
    /// As on an envelope: at most 8 lines.
    #[serde(default)]
    address: Vec<String>,
    /// Printed on invoices: at most 10, each checked by the rules of its kind.
    #[serde(default)]
    tax_ids: Vec<TaxId>,
    email: Option<String>,
}

impl UpdateIssuer {
    fn check(self, check: &mut Check) -> Issuer {
        let Self { name, address, tax_ids, email } = self;
        check.optional_text("/issuer/name", name.as_deref(), NAME_MAX);
        check_address(check, "/issuer/address", &address);
        let tax_ids = check.tax_ids("/issuer/tax_ids", tax_ids);
        check.optional_email("/issuer/email", email.as_deref());
        Issuer { name, address, tax_ids, email }
    }
}

/// A change that was checked.
struct AccountChange {
    name: Option<String>,
    timezone: Option<String>,
    issuer: Option<Issuer>,
    invoice_prefix: Option<String>,
    credit_note_prefix: Option<String>,
    net_terms_days: Option<u16>,
    tax_rounding: Option<TaxRounding>,
    invoice_footer: Option<String>,
    brand_color: Option<String>,
    usage: UsageChange,
}

/// What changes about the usage that is taken.
struct UsageChange {
    allow_unknown_customer: Option<bool>,
    past_days_max: Option<u16>,
    future_minutes_max: Option<u16>,
}

impl UpdateAccount {
    fn check(self) -> Result<AccountChange, Problem> {
        let Self {
            name,
            timezone,
            issuer,
            invoice_prefix,
            credit_note_prefix,
            net_terms_days,
            invoice_footer,
            brand_color,
            ..
        } = self;
        let mut check = Check::new();
        check.optional_text("/name", name.as_deref(), NAME_MAX);
        check.optional_zone("/timezone", timezone.as_deref());
        let issuer = issuer.map(|issuer| issuer.check(&mut check));
        let said = Said {
            invoice_prefix: invoice_prefix.as_deref(),
            credit_note_prefix: credit_note_prefix.as_deref(),
            net_terms_days,
            invoice_footer: invoice_footer.as_deref(),
            brand_color: brand_color.as_deref(),
        };
        said.check(&mut check);
        let usage = UsageChange {
            allow_unknown_customer: self.allow_unknown_customer,
            past_days_max: self.usage_past_days_max,
            future_minutes_max: self.usage_future_minutes_max,
        };
        usage.check(&mut check);
        check.finish()?;
        Ok(AccountChange {
            name,
            timezone,
            issuer,
            invoice_prefix,
            credit_note_prefix,
            net_terms_days,
            tax_rounding: self.tax_rounding,
            invoice_footer,
            brand_color,
            usage,
        })
    }
}

impl UsageChange {
    fn check(&self, check: &mut Check) {
        let bounds = [
            ("/usage_past_days_max", self.past_days_max, PAST_DAYS),
            ("/usage_future_minutes_max", self.future_minutes_max, FUTURE_MINUTES),
        ];
        for (pointer, value, range) in bounds {
            if value.is_some_and(|value| !range.contains(&value)) {
                check.refuse(pointer, "out_of_range", format!("is {} to {}", range.start(), range.end()));
            }
        }
    }

    fn apply(self, settings: &mut TenantSettings) {
        set(&mut settings.allow_unknown_customer, self.allow_unknown_customer);
        set(&mut settings.usage_past_days_max, self.past_days_max);
        set(&mut settings.usage_future_minutes_max, self.future_minutes_max);
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

impl AccountChange {
    fn apply(self, tenant: &mut Tenant) {
        let Self {
            name,
            timezone,
            issuer,
            invoice_prefix,
            credit_note_prefix,
            net_terms_days,
            tax_rounding,
            invoice_footer,
            brand_color,
            usage,
        } = self;
        let settings = &mut tenant.settings;
        set(&mut tenant.name, name);
        set(&mut tenant.timezone, timezone);
        set(&mut settings.issuer, issuer);
        set(&mut settings.invoice_prefix, invoice_prefix);
        set(&mut settings.credit_note_prefix, credit_note_prefix);
        set(&mut settings.net_terms_days, net_terms_days);
        set(&mut settings.tax_rounding, tax_rounding);
        set(&mut settings.invoice_footer, invoice_footer.map(Some));
        set(&mut settings.brand_color, brand_color);
        usage.apply(settings);
    }
}

/// The account's settings.
#[utoipa::path(
    tag = "account",
    responses(
        (status = 200, description = "The account", body = AccountBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/account")]
pub(super) async fn get_account(read: Read<resource::Account>) -> Answer {
    // Afresh: what another replica changed just now is shown.
    read.answer(&AccountBody::from(service::get_tenant(read.db(), read.tenant_id()).await?))
}

/// Change the account's settings.
#[utoipa::path(
    tag = "account",
    request_body = UpdateAccount,
    responses(
        (status = 200, description = "The account as it is now", body = AccountBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[patch("/v1/account")]
pub(super) async fn update_account(
    write: Write<resource::Account>,
    body: Body<UpdateAccount>,
    callers: Data<KnownCallers>,
) -> Answer {
    let change = body.0.check()?;

    let tx = write.begin().await?;
    let tenant = service::update_tenant(&tx, write.tenant_id(), |tenant| change.apply(tenant)).await?;
    let answer = write.commit(tx, StatusCode::OK, tenant.id, &AccountBody::from(tenant)).await;
    callers.forget();
    answer
}
