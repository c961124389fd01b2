//! Endpoints of payments.

use accrue_core::id::{InvalidId, PaymentId, PaymentMethodId, RequestId};
use accrue_platform::{
    body::{Body, Query},
    gateway::GatewayError,
    page::{Page, PageQuery},
    problem::{Problem, ProblemBody},
};
use actix_web::{get, http::StatusCode, post, web::Path};
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::no_answer;
use crate::{
    auth::{Answer, Read, Write, resource},
    clocks, customers, invoices,
    payments::{
        PaymentStatus,
        body::PaymentBody,
        gateways,
        model::{Outcome, Payment},
        service::{self, Begun, PaymentError, PaymentFilter, Try},
    },
};

/// How to pay.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PayInvoice {
    /// By which payment method; the customer's default unless given.
    #[schema(example = "pm_01979f0c6a5e7c1f8f6d2b1a9e3c4d5f")]
    payment_method: Option<String>,
}

/// Pay an invoice now.
///
/// The answer is the invoice's payment with all its attempts, whatever became of this one: look at `status`.
/// Such an attempt does not count in dunning. While the outcome of an earlier attempt is not known, nothing
/// else is tried. Paying a paid invoice changes nothing.
#[utoipa::path(
    tag = "payments",
    params(("id" = String, Path, description = "The invoice's identifier or number")),
    request_body = PayInvoice,
    responses(
        (status = 200, description = "The invoice's payment", body = PaymentBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The gateway is out of reach", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/invoices/{id}/pay")]
pub(super) async fn pay_invoice(
    mut write: Write<resource::Payments>,
    id: Path<String>,
    body: Body<PayInvoice>,
) -> Answer {
    let invoice = invoices::service::resolve(write.db(), write.tenant_id(), &id).await;
    let invoice = invoice.map_err(PaymentError::from)?;
    let clock = &*write.app.clock;
    let now = clocks::service::now_of(write.db(), clock, write.tenant_id(), invoice.test_clock_id).await?;
    let wanted = Try {
        invoice: invoice.id,
        reason: format!("request:{}", write.idempotency_key().unwrap_or(&request_id(now))),
        automatic: false,
        method: body.0.method()?,
    };
    let payment = try_now(&mut write, &wanted, now).await?;

    let tx = write.begin().await?;
    let body = PaymentBody::new(&payment, write.tenant.livemode);
    write.commit(tx, StatusCode::OK, payment.id, &body).await
}

/// Remember, act, remember: the attempt is known before the gateway is called (RULES 43). The same request,
/// sent again after a crash in between, finds its attempt.
async fn try_now(
    write: &mut Write<resource::Payments>,
    wanted: &Try,
    now: DateTime<Utc>,
) -> Result<Payment, Problem> {
    let tx = write.begin().await?;
    let errand = match service::begin(&tx, &write.tenant, wanted, now).await? {
        Begun::Go(errand) => errand,
        Begun::TriedBefore(payment) => return Ok(payment),
        Begun::NotOwed(_, Some(payment)) if payment.is_captured() => return Ok(payment),
        Begun::NotOwed(status, _) => return Err(PaymentError::NotOwed(status).into()),
        Begun::InFlight(_) => return Err(PaymentError::InFlight.into()),
        Begun::NoMethod => return Err(PaymentError::NoMethod.into()),
    };
    write.commit_beginning(tx, errand.invoice).await?;

    let outcome = gateways::run(&write.app, write.tenant_id(), &errand, now).await;

    let tx = write.begin().await?;
    let payment = service::settle(&tx, &write.tenant, &errand, &outcome, now).await?;
    tx.commit().await?;
    write.app.wake.notify_one();
    match outcome {
        Outcome::NotTaken => Err(no_answer(&GatewayError::Unavailable)),
        Outcome::Verdict(_) | Outcome::Unknown | Outcome::Refused(_) => Ok(payment),
    }
}

/// Names a request that has no `Idempotency-Key`.
fn request_id(now: DateTime<Utc>) -> String {
    RequestId::new(now).to_string()
}

impl PayInvoice {
    fn method(&self) -> Result<Option<PaymentMethodId>, Problem> {
        let id = self.payment_method.as_deref().map(str::parse).transpose();
        id.map_err(|error: InvalidId| Problem::field("/payment_method", "malformed", error.to_string()))
    }
}

/// Which payments to list.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListFilter {
    /// Those of one customer.
    customer: Option<String>,
    /// The one of an invoice, by its identifier or number.
    invoice: Option<String>,
    status: Option<PaymentStatus>,
}

impl ListFilter {
    async fn resolve(self, read: &Read<resource::Payments>) -> Result<PaymentFilter, PaymentError> {
        let customer = match &self.customer {
            Some(customer) => {
                Some(customers::service::resolve(read.db(), read.tenant_id(), customer).await?.id)
            }
            None => None,
        };
        let invoice = match &self.invoice {
            Some(invoice) => Some(invoices::service::resolve(read.db(), read.tenant_id(), invoice).await?.id),
            None => None,
        };
        Ok(PaymentFilter { customer, invoice, status: self.status })
    }
}

/// List payments.
#[utoipa::path(
    tag = "payments",
    params(ListFilter, PageQuery),
    responses(
        (status = 200, description = "A page of payments", body = Page<PaymentBody>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/payments")]
pub(super) async fn list_payments(
    read: Read<resource::Payments>,
    filter: Query<ListFilter>,
    page: Query<PageQuery>,
) -> Answer {
    let filter = filter.0.resolve(&read).await?;
    read.list("/v1/payments", page.0, async move |read, page| {
        let payments = service::list(read.db(), read.tenant_id(), filter.clone(), page).await?;
        let body = |payment: Payment| PaymentBody::new(&payment, read.tenant.livemode);
        Ok(payments.into_iter().map(body).collect())
    })
    .await
}

/// One payment.
#[utoipa::path(
    tag = "payments",
    params(("id" = String, Path, description = "The payment's identifier")),
    responses(
        (status = 200, description = "The payment", body = PaymentBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/payments/{id}")]
pub(super) async fn get_payment(read: Read<resource::Payments>, id: Path<String>) -> Answer {
    let id: PaymentId = id.parse()?;
    let payment = service::get(read.db(), read.tenant_id(), id).await?;
    read.answer(&PaymentBody::new(&payment, read.tenant.livemode))
}
