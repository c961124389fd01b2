//! Endpoints of refunds.

use accrue_core::id::{InvalidId, PaymentId, RefundId};
use accrue_platform::{
    body::{Body, Query},
    check::{Check, Metadata},
    page::{Page, PageQuery},
    problem::{Problem, ProblemBody},
};
use actix_web::{get, http::StatusCode, post, web::Path};
use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::{
    auth::{Answer, Read, Write, resource},
    clocks,
    payments::{
        body::RefundBody,
        gateways,
        model::{Payment, Refund},
        service::{self, NewRefund},
    },
};

const REASON_MAX: usize = 500;

/// Money to be given back.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateRefund {
    #[schema(example = "pay_01979f0c6a5e7c1f8f6d2b1a9e3c4d5f")]
    payment: String,
    /// In major units of the payment's currency; all that is left unless given.
    #[schema(example = "12.34")]
    amount: Option<String>,
    /// For your own books.
    reason: Option<String>,
    #[serde(default)]
    metadata: Metadata,
}

impl CreateRefund {
    fn payment(&self) -> Result<PaymentId, Problem> {
        let id = self.payment.parse();
        id.map_err(|error: InvalidId| Problem::field("/payment", "malformed", error.to_string()))
    }

    fn check(self, payment: &Payment, request_key: Option<String>) -> Result<NewRefund, Problem> {
        let Self { payment: _, amount, reason, metadata } = self;
        let mut check = Check::new();
        let currency = payment.amount.currency();
        let amount = amount.and_then(|text| check.money("/amount", &text, currency));
        if amount.is_some_and(|amount| amount.minor() <= 0) {
            check.refuse("/amount", "out_of_range", "must be above zero");
        }
        check.optional_text("/reason", reason.as_deref(), REASON_MAX);
        check.metadata("/metadata", &metadata);
        check.finish()?;
        Ok(NewRefund { payment: payment.id, amount, reason, request_key, credit_note: None, metadata })
    }
}

/// Give money back.
///
/// Several refunds of one payment add up to at most what was captured. A gateway that does not answer is
/// called again, with the same key, until it does: the refund is `unknown` so long.
#[utoipa::path(
    tag = "payments",
    request_body = CreateRefund,
    responses(
        (status = 201, description = "The refund", body = RefundBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/refunds")]
pub(super) async fn create_refund(mut write: Write<resource::Payments>, body: Body<CreateRefund>) -> Answer {
    let payment = service::get(write.db(), write.tenant_id(), body.0.payment()?).await;
    let payment = payment.map_err(|error| Problem::from(error).named_at("/payment"))?;
    let clock = &*write.app.clock;
    let now = clocks::service::now_of(write.db(), clock, write.tenant_id(), payment.test_clock_id).await?;
    let new = body.0.check(&payment, write.idempotency_key().map(str::to_owned))?;
    let refund = send_now(&mut write, new, now).await?;

    let tx = write.begin().await?;
    let body = RefundBody::new(&refund, write.tenant.livemode);
    write.commit(tx, StatusCode::CREATED, refund.id, &body).await
}

/// Remember, act, remember: the refund is known before the gateway is called.
async fn send_now(
    write: &mut Write<resource::Payments>,
    new: NewRefund,
    now: DateTime<Utc>,
) -> Result<Refund, Problem> {
    let tx = write.begin().await?;
    let refund = service::begin_refund(&tx, write.tenant_id(), new, now).await?;
    let parcel = service::parcel(&tx, write.tenant_id(), &refund).await?;
    write.commit_beginning(tx, refund.id).await?;
    let Some(parcel) = parcel else { return Ok(refund) };

    let outcome = gateways::refund(&write.app, &parcel, now).await;

    let tx = write.begin().await?;
    let refund = service::settle_refund(&tx, &write.tenant, &parcel, &outcome, now).await?;
    tx.commit().await?;
    write.app.wake.notify_one();
    Ok(refund)
}

/// Which refunds to list.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RefundFilter {
    /// Those of one payment.
    payment: Option<String>,
}

/// List refunds.
#[utoipa::path(
    tag = "payments",
    params(RefundFilter, PageQuery),
    responses(
        (status = 200, description = "A page of refunds", body = Page<RefundBody>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/refunds")]
pub(super) async fn list_refunds(
    read: Read<resource::Payments>,
    filter: Query<RefundFilter>,
    page: Query<PageQuery>,
) -> Answer {
    let payment = filter.0.payment.as_deref().map(str::parse::<PaymentId>).transpose()?;
    read.list("/v1/refunds", page.0, async move |read, page| {
        let refunds = service::list_refunds(read.db(), read.tenant_id(), payment, page).await?;
        let body = |refund: Refund| RefundBody::new(&refund, read.tenant.livemode);
        Ok(refunds.into_iter().map(body).collect())
    })
    .await
}

/// One refund.
#[utoipa::path(
    tag = "payments",
    params(("id" = String, Path, description = "The refund's identifier")),
    responses(
        (status = 200, description = "The refund", body = RefundBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/refunds/{id}")]
pub(super) async fn get_refund(read: Read<resource::Payments>, id: Path<String>) -> Answer {
    let id: RefundId = id.parse()?;
    let refund = service::get_refund(read.db(), read.tenant_id(), id).await?;
    read.answer(&RefundBody::new(&refund, read.tenant.livemode))
}
