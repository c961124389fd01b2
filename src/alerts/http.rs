//! Alerts over HTTP.

use accrue_core::{decimal::Number, id::UsageAlertId, money::Currency};
use accrue_platform::{
    body::{Body, Query},
    check::{Check, Metadata},
    page::{Page, PageQuery},
    problem::{self, Problem, ProblemBody},
    routes::Routes,
};
use actix_web::{delete, get, http::StatusCode, patch, post, web::Path};
use serde::{Deserialize, Serialize};

use super::{
    body::UsageAlertBody,
    model::{Kind, Status, ThresholdError},
    service::{self, AlertChange, AlertError, Filter, NewAlert},
};
use crate::{
    auth::{Answer, Read, Write, resource},
    catalog::service::CatalogError,
};

const URL: &str = "/v1/usage_alerts";
const NAME_MAX: usize = 200;

/// Mounts the endpoints.
pub fn routes(routes: &mut Routes) {
    routes.service(create).service(list).service(get_one).service(update).service(remove);
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateUsageAlert {
    /// The customer's identifier, or your own name for it. Unless given, the alert holds for every customer, those to
    /// come included, each for itself.
    #[schema(example = "acme")]
    customer: Option<String>,
    /// Of an amount for every customer: it holds for those who pay in this currency.
    #[schema(value_type = Option<Currency>, example = json!(null))]
    currency: Option<String>,
    /// The metric's identifier or code.
    #[schema(example = "tokens")]
    metric: String,
    /// What is compared: `quantity` of the metric, the `amount` that it comes to by the prices of the subscription, or
    /// how much of what a metered feature grants (`percent_of_limit`).
    #[schema(example = "percent_of_limit")]
    kind: Kind,
    /// It triggers when usage is at least this: in the metric's units; in the customer's currency, with no more
    /// digits than it has; or in percent, 80 for 80 %, and more than 100 if you like.
    #[schema(example = "80")]
    threshold: Number,
    /// For people; the metric's name unless given.
    #[schema(example = "Four fifths of the tokens")]
    name: Option<String>,
    #[serde(default)]
    #[schema(example = json!({"team": "sales"}))]
    metadata: Metadata,
}

impl CreateUsageAlert {
    fn check(self) -> Result<NewAlert, Problem> {
        let Self { customer, currency, metric, kind, threshold, name, metadata } = self;
        let mut check = Check::new();
        let is_needed = customer.is_none() && kind == Kind::Amount;
        let currency = match currency {
            Some(_) if !is_needed => {
                let detail = "only an amount for every customer needs one: other alerts have the customer's";
                check.refuse("/currency", "unexpected", detail);
                None
            }
            Some(code) => check.currency("/currency", &code),
            None if is_needed => {
                check.refuse("/currency", "required", "an amount for every customer needs a currency");
                None
            }
            None => None,
        };
        check.optional_text("/name", name.as_deref(), NAME_MAX);
        check.metadata("/metadata", &metadata);
        check.finish()?;
        Ok(NewAlert { customer, currency, metric, kind, threshold: threshold.0, name, metadata })
    }
}

/// What to change of an alert; what is not named stays. Whose usage of what is compared never changes: make another
/// alert.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct UpdateUsageAlert {
    #[schema(example = "Nine tenths of the tokens")]
    name: Option<String>,
    /// Usage is compared with it at once. A threshold that the alert had not in this period may trigger in it.
    #[schema(example = "90")]
    threshold: Option<Number>,
    /// Turned off, nothing is told; turned on, usage is compared at once.
    #[schema(example = true)]
    active: Option<bool>,
    /// Replaces all notes.
    metadata: Option<Metadata>,
}

impl UpdateUsageAlert {
    fn check(self) -> Result<AlertChange, Problem> {
        let Self { name, threshold, active, metadata } = self;
        let mut check = Check::new();
        check.optional_text("/name", name.as_deref(), NAME_MAX);
        if let Some(metadata) = &metadata {
            check.metadata("/metadata", metadata);
        }
        check.finish()?;
        Ok(AlertChange { name, threshold: threshold.map(|threshold| threshold.0), active, metadata })
    }
}

/// The body named what does not exist.
fn in_body(error: AlertError) -> Problem {
    let pointer = match error {
        AlertError::Catalog(CatalogError::Archived { .. }) => {
            return Problem::field("/metric", "archived", error.to_string());
        }
        AlertError::Catalog(_) => "/metric",
        _ => "/customer",
    };
    Problem::from(error).named_at(pointer)
}

/// Make a usage alert.
///
/// When the customer's usage in the running period reaches the threshold, `usage_alert.triggered` is told, within a
/// second of the answer to the events that did it and once in each period; `usage_alert.recovered` when it is below
/// again, or at the start of the next period. The period is that of the subscription that bills the metric, or else the
/// calendar month where the customer lives. What was used before counts: an alert may trigger as soon as it is made.
///
/// An alert without a customer holds for each of them. What it tells of one is an alert of its own, whose `template` it is.
#[utoipa::path(
    tag = "usage",
    request_body = CreateUsageAlert,
    responses(
        (status = 201, description = "The alert", body = UsageAlertBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/usage_alerts")]
async fn create(write: Write<resource::UsageAlerts>, body: Body<CreateUsageAlert>) -> Answer {
    let new = body.0.check()?;
    let tx = write.begin().await?;
    let alert = service::create(&tx, &*write.app.clock, &write.tenant, new).await.map_err(in_body)?;
    let body = service::body(&tx, &write.tenant, alert).await?;
    write.commit(tx, StatusCode::CREATED, body.id, &body).await
}

/// Which alerts to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct UsageAlertFilter {
    /// The customer's identifier, or your own name for it.
    customer: Option<String>,
    /// The metric's identifier or code.
    metric: Option<String>,
    status: Option<Status>,
}

/// List usage alerts, the newest first.
#[utoipa::path(
    tag = "usage",
    params(UsageAlertFilter, PageQuery),
    responses(
        (status = 200, description = "A page of alerts", body = Page<UsageAlertBody>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/usage_alerts")]
async fn list(
    read: Read<resource::UsageAlerts>,
    filter: Query<UsageAlertFilter>,
    page: Query<PageQuery>,
) -> Answer {
    let UsageAlertFilter { customer, metric, status } = filter.0;
    let filter = Filter { customer, metric, status };
    read.list(URL, page.0, async move |read, page| {
        let found = service::list(read.db(), read.tenant_id(), filter.clone(), page).await?;
        let bodies = service::bodies(read.db(), &read.tenant, found).await?;
        Ok(bodies)
    })
    .await
}

/// A usage alert.
#[utoipa::path(
    tag = "usage",
    params(("id" = String, Path, description = "The alert's identifier")),
    responses(
        (status = 200, description = "The alert", body = UsageAlertBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/usage_alerts/{id}")]
async fn get_one(read: Read<resource::UsageAlerts>, id: Path<String>) -> Answer {
    let alert = service::get(read.db(), read.tenant_id(), &id).await?;
    read.answer(&service::body(read.db(), &read.tenant, alert).await?)
}

/// Change a usage alert, or turn it on or off.
#[utoipa::path(
    tag = "usage",
    params(("id" = String, Path, description = "The alert's identifier")),
    request_body = UpdateUsageAlert,
    responses(
        (status = 200, description = "The alert as it is now", body = UsageAlertBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[patch("/v1/usage_alerts/{id}")]
async fn update(
    write: Write<resource::UsageAlerts>,
    id: Path<String>,
    body: Body<UpdateUsageAlert>,
) -> Answer {
    let change = body.0.check()?;
    let tx = write.begin().await?;
    let alert = service::update(&tx, write.app.now(), write.tenant_id(), &id, change).await?;
    let body = service::body(&tx, &write.tenant, alert).await?;
    write.commit(tx, StatusCode::OK, body.id, &body).await
}

/// What is gone.
#[derive(Serialize, utoipa::ToSchema)]
struct DeletedUsageAlert {
    id: UsageAlertId,
    #[schema(example = "usage_alert")]
    object: &'static str,
    deleted: bool,
}

/// Delete a usage alert.
///
/// Nothing is told of it any more. What was told stays in the log of events.
#[utoipa::path(
    tag = "usage",
    params(("id" = String, Path, description = "The alert's identifier")),
    responses(
        (status = 200, description = "The alert is gone", body = DeletedUsageAlert),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[delete("/v1/usage_alerts/{id}")]
async fn remove(write: Write<resource::UsageAlerts>, id: Path<String>) -> Answer {
    let tx = write.begin().await?;
    let id = service::delete(&tx, write.tenant_id(), &id).await?;
    let body = DeletedUsageAlert { id, object: "usage_alert", deleted: true };
    write.commit(tx, StatusCode::OK, id, &body).await
}

impl From<AlertError> for Problem {
    fn from(error: AlertError) -> Self {
        let detail = error.to_string();
        match error {
            AlertError::NotFound(_) => Self::not_found("usage alert"),
            AlertError::TooMany | AlertError::OfTemplate(_) => Self::new(&problem::CONFLICT, detail),
            AlertError::Threshold(ThresholdError::NoCurrency) => {
                Self::field("/customer", "no_currency", detail)
            }
            AlertError::Threshold(ThresholdError::NotPositive) => {
                Self::field("/threshold", "out_of_range", detail)
            }
            AlertError::Threshold(ThresholdError::Amount(_)) => {
                Self::field("/threshold", "malformed", detail)
            }
            AlertError::Customer(error) => error.into(),
            AlertError::Catalog(error) => error.into(),
            AlertError::Metering(error) => error.into(),
            AlertError::Invoice(error) => error.into(),
            AlertError::Entitlement(error) => error.into(),
            AlertError::Subscription(error) => error.into(),
            AlertError::Page(error) => error.into(),
            AlertError::Database(error) => error.into(),
            AlertError::Calendar(_) | AlertError::Tenant(_) => Self::internal(&error),
        }
    }
}
