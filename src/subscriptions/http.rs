//! Subscriptions over HTTP.

use std::collections::{BTreeMap, HashMap};

use accrue_core::{calendar::Alignment, decimal::Number};
use accrue_platform::{
    body::{Body, Query},
    check::{Check, Metadata},
    page::{Page, PageQuery},
    problem::{self, FieldError, Problem, ProblemBody},
    routes::Routes,
};
use actix_web::{get, http::StatusCode, post, web::Path};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{
    body::SubscriptionBody,
    model::{Collection, Status, Wanted},
    service::{self, Filter, SubscriptionError},
};
use crate::{
    auth::{Answer, Read, Write, resource},
    customers,
};

const NET_TERMS_MAX: u16 = 365;

/// Mounts the endpoints.
pub fn routes(routes: &mut Routes) {
    routes.service(create).service(list).service(get_one);
}

/// Who shall have which plan. Previews read it, too.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSubscription {
    /// The customer's identifier, or your own name for it.
    #[schema(example = "acme")]
    customer: String,
    /// The plan's identifier or code. The subscription stays on the version of the plan that is present now.
    #[schema(example = "pro")]
    plan: String,
    /// Your own name for the subscription. No other one may have it.
    #[schema(example = "acme-pro")]
    external_id: Option<String>,
    /// Of each seat price of the plan, by its code; 1 where left out.
    #[serde(default)]
    #[schema(example = json!({"seats": "5"}))]
    quantities: BTreeMap<String, Number>,
    /// Now unless given, and at most ten years from now. If it lies in the past, every period since then is
    /// billed.
    start_at: Option<DateTime<Utc>>,
    /// The end of the trial; unless given, the plan's number of days after the start. The start itself means no
    /// trial. A customer gets one trial of each plan: after that there is none, and asking for one is refused.
    trial_end: Option<DateTime<Utc>>,
    /// It ends here by itself.
    ends_at: Option<DateTime<Utc>>,
    /// IANA; the customer's zone unless given, else the account's.
    #[schema(example = "Europe/Berlin")]
    timezone: Option<String>,
    /// Where periods begin: on the day and at the time of the start (`anniversary`, the default), at the
    /// calendar's own boundaries, or on a day of the month. The latter two begin with a short period.
    #[serde(default = "anniversary")]
    alignment: Alignment,
    /// `automatic` unless given.
    #[serde(default = "automatic")]
    collection: Collection,
    /// Days to pay an invoice that is sent, at most 365; the account's unless given.
    #[schema(maximum = 365)]
    net_terms_days: Option<u16>,
    /// As soon as usage of the running period that is on no invoice comes to this amount, in the plan's currency, there
    /// is an invoice of it (`threshold`); the end of the period bills the rest, and all of it is what one bill would be.
    /// Unless given, usage is billed at the end of the period alone.
    #[schema(example = json!(null))]
    progressive_billing_threshold: Option<Number>,
    #[serde(default)]
    #[schema(example = json!({"campaign": "spring"}))]
    metadata: Metadata,
}

fn anniversary() -> Alignment {
    Alignment::Anniversary
}

fn automatic() -> Collection {
    Collection::Automatic
}

impl CreateSubscription {
    /// Customer, plan, and what is wanted of them.
    pub fn read(self) -> Result<(String, String, Wanted), Problem> {
        let mut check = Check::new();
        check.optional_code("/external_id", self.external_id.as_deref());
        check.optional_zone("/timezone", self.timezone.as_deref());
        check.metadata("/metadata", &self.metadata);
        if self.net_terms_days.is_some_and(|days| days > NET_TERMS_MAX) {
            check.refuse("/net_terms_days", "out_of_range", format!("is at most {NET_TERMS_MAX}"));
        }
        check.finish()?;
        let wanted = Wanted {
            external_id: self.external_id,
            quantities: self.quantities,
            start_at: self.start_at,
            trial_end: self.trial_end,
            ends_at: self.ends_at,
            timezone: self.timezone.and_then(|zone| zone.parse().ok()),
            alignment: self.alignment,
            collection: self.collection,
            net_terms_days: self.net_terms_days,
            progressive_billing_threshold: self.progressive_billing_threshold,
            metadata: self.metadata,
        };
        Ok((self.customer, self.plan, wanted))
    }
}

/// The body named what does not exist.
pub fn in_body(error: SubscriptionError) -> Problem {
    let pointer = match error {
        SubscriptionError::NoSuchPlan(_) => "/plan",
        _ => "/customer",
    };
    Problem::from(error).named_at(pointer)
}

/// Subscribe a customer to a plan.
///
/// The first invoice follows at the start, or at the end of the trial. The first subscription fixes the
/// customer's currency.
#[utoipa::path(
    tag = "subscriptions",
    request_body = CreateSubscription,
    responses(
        (status = 201, description = "The subscription", body = SubscriptionBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/subscriptions")]
async fn create(write: Write<resource::Subscriptions>, body: Body<CreateSubscription>) -> Answer {
    let (customer, plan, wanted) = body.0.read()?;
    let tx = write.begin().await?;
    let made = service::create(&tx, &*write.app.clock, &write.tenant, &customer, &plan, wanted).await;
    let made = made.map_err(in_body)?;
    let body = service::body(&tx, &made).await?;
    write.commit(tx, StatusCode::CREATED, made.id, &body).await
}

/// Which subscriptions to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct SubscriptionFilter {
    /// The customer's identifier, or your own name for it.
    customer: Option<String>,
    /// The plan's identifier or code, whatever the version.
    plan: Option<String>,
    status: Option<Status>,
}

/// A subscription in a list.
#[derive(Serialize, utoipa::ToSchema)]
struct ListedSubscription {
    #[serde(flatten)]
    body: SubscriptionBody,
    /// In a file: your own name for the customer, by which another account can know them.
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_external_id: Option<String>,
}

/// List subscriptions, the newest first.
#[utoipa::path(
    tag = "subscriptions",
    params(SubscriptionFilter, PageQuery),
    responses(
        (status = 200, description = "A page of subscriptions", body = Page<SubscriptionBody>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/subscriptions")]
async fn list(
    read: Read<resource::Subscriptions>,
    filter: Query<SubscriptionFilter>,
    page: Query<PageQuery>,
) -> Answer {
    let SubscriptionFilter { customer, plan, status } = filter.0;
    let filter = Filter { customer, plan, status };
    read.list("/v1/subscriptions", page.0, async move |read, page| {
        let found = service::list(read.db(), read.tenant_id(), filter.clone(), page).await?;
        let bodies = service::bodies(read.db(), &read.tenant, &found).await?;
        // Of no use on a page, where the identifier is enough.
        let names = if read.is_export() {
            let customers = found.iter().map(|subscription| subscription.customer_id).collect();
            customers::service::names_of(read.db(), read.tenant_id(), customers).await?
        } else {
            HashMap::new()
        };
        let listed = |body: SubscriptionBody| {
            let customer_external_id = names.get(&body.customer).cloned();
            ListedSubscription { body, customer_external_id }
        };
        Ok(bodies.into_iter().map(listed).collect())
    })
    .await
}

/// One subscription.
#[utoipa::path(
    tag = "subscriptions",
    params(("id" = String, Path, description = "The subscription's identifier, or your own name for it")),
    responses(
        (status = 200, description = "The subscription", body = SubscriptionBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/subscriptions/{id}")]
async fn get_one(read: Read<resource::Subscriptions>, id: Path<String>) -> Answer {
    let found = service::resolve(read.db(), read.tenant_id(), &id).await?;
    read.answer(&service::body(read.db(), &found).await?)
}

impl From<SubscriptionError> for Problem {
    fn from(error: SubscriptionError) -> Self {
        let detail = error.to_string();
        match error {
            SubscriptionError::NotFound(_) => Self::not_found("subscription"),
            SubscriptionError::NoSuchCustomer(_) => Self::not_found("customer"),
            SubscriptionError::NoSuchPlan(_) => Self::not_found("plan"),
            SubscriptionError::ExternalIdTaken(_) => Self::new(&problem::CONFLICT, detail),
            SubscriptionError::CurrencyFixed(_) | SubscriptionError::IssuerCurrency(_) => {
                Self::field("/plan", "currency_mismatch", detail)
            }
            SubscriptionError::Invalid(mistakes) => Self::invalid(
                mistakes
                    .into_iter()
                    .map(|mistake| FieldError::new(mistake.pointer, mistake.code, mistake.detail))
                    .collect(),
            ),
            SubscriptionError::Page(error) => error.into(),
            SubscriptionError::Database(error) => error.into(),
            SubscriptionError::Refused(_) => Self::new(&problem::ILLEGAL_TRANSITION, detail),
            SubscriptionError::Calendar(_) | SubscriptionError::Broken(_) => Self::internal(&error),
        }
    }
}
