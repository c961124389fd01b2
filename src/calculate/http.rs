//! One endpoint per calculator. Each asks `accrue_core::calculate` and says what is wrong where there is no answer.

use accrue_core::{
    calculate::{
        self, AmountAnswer, AmountQuestion, CreditsAnswer, CreditsQuestion, InvoiceAnswer, InvoiceQuestion,
        PeriodsAnswer, PeriodsQuestion, ProrationAnswer, ProrationQuestion, UsageAnswer, UsageQuestion,
    },
    invalid::Invalid,
};
use accrue_platform::{
    body::Body,
    problem::{FieldError, Problem, ProblemBody},
    routes::Routes,
};
use actix_web::{HttpResponse, post, web};
use serde::Serialize;

use super::examples;
use crate::auth::{Answer, Read, resource};

/// Mounts the endpoints.
pub fn routes(routes: &mut Routes) {
    routes
        .service(amount)
        .service(usage)
        .service(periods)
        .service(proration)
        .service(invoice)
        .service(credits);
}

/// Calculate what a quantity costs.
///
/// By any price model, with minimum, maximum, discount, and what the period has already been billed. `exact_amount`
/// is not rounded; `amount` is it, rounded once. Neither contains `true_up`, what is missing to the minimum.
#[utoipa::path(
    tag = "calculators",
    request_body(content = AmountQuestion, example = json!(examples::amount().0)),
    responses(
        (status = 200, description = "The amount, tier by tier", body = AmountAnswer,
            example = json!(examples::amount().1)),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/calculate/amount")]
async fn amount(_: Read<resource::Calculate>, question: Body<AmountQuestion>) -> Answer {
    answer(move || calculate::amount(&question.0)).await
}

/// Calculate the quantity that events make.
///
/// The aggregate as the metric defines it, negative too, rounded as it says and not converted. An event counts by its
/// timestamp; of repeated ids the first counts.
#[utoipa::path(
    tag = "calculators",
    request_body(content = UsageQuestion, example = json!(examples::usage().0)),
    responses(
        (status = 200, description = "The quantity, in all and by group", body = UsageAnswer,
            example = json!(examples::usage().1)),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/calculate/usage")]
async fn usage(_: Read<resource::Calculate>, question: Body<UsageQuestion>) -> Answer {
    answer(move || calculate::usage(&question.0)).await
}

/// Calculate billing periods.
///
/// Boundaries are counted from the anchor on the calendar of the time zone, never from each other. From `start` to the
/// next boundary there is a short first period.
#[utoipa::path(
    tag = "calculators",
    request_body(content = PeriodsQuestion, example = json!(examples::periods().0)),
    responses(
        (status = 200, description = "The periods", body = PeriodsAnswer, example = json!(examples::periods().1)),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/calculate/periods")]
async fn periods(_: Read<resource::Calculate>, question: Body<PeriodsQuestion>) -> Answer {
    answer(move || calculate::periods(&question.0)).await
}

/// Calculate what a change in mid-period credits and charges.
///
/// By local days the day of the change is unused. Credit and charge are rounded each, and `net` is their sum.
#[utoipa::path(
    tag = "calculators",
    request_body(content = ProrationQuestion, example = json!(examples::proration().0)),
    responses(
        (status = 200, description = "The lines of the change", body = ProrationAnswer,
            example = json!(examples::proration().1)),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/calculate/proration")]
async fn proration(_: Read<resource::Calculate>, question: Body<ProrationQuestion>) -> Answer {
    answer(move || calculate::proration(&question.0)).await
}

/// Calculate the sums of an invoice.
///
/// Lines, coupons in their order, tax, credit notes, the customer's balance, wallets, what is due.
#[utoipa::path(
    tag = "calculators",
    request_body(content = InvoiceQuestion, example = json!(examples::invoice().0)),
    responses(
        (status = 200, description = "The sums, and those of each line", body = InvoiceAnswer,
            example = json!(examples::invoice().1)),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/calculate/invoice")]
async fn invoice(_: Read<resource::Calculate>, question: Body<InvoiceQuestion>) -> Answer {
    answer(move || calculate::invoice(&question.0)).await
}

/// Calculate what is left of credits.
///
/// Burns grants by priority, then expiry, with refills, resets and rollover, from `start` up to `at`.
#[utoipa::path(
    tag = "calculators",
    request_body(content = CreditsQuestion, example = json!(examples::credits().0)),
    responses(
        (status = 200, description = "The balances", body = CreditsAnswer, example = json!(examples::credits().1)),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/calculate/credits")]
async fn credits(_: Read<resource::Calculate>, question: Body<CreditsQuestion>) -> Answer {
    answer(move || calculate::credits(&question.0)).await
}

/// The answer, or every mistake in the question. Calculated beside the threads that serve: the largest questions take
/// a tenth of a second.
async fn answer<A: Serialize + Send + 'static>(
    calculate: impl FnOnce() -> Result<A, Vec<Invalid>> + Send + 'static,
) -> Answer {
    match web::block(calculate).await.map_err(|error| Problem::internal(&error))? {
        Ok(answer) => Ok(HttpResponse::Ok().json(answer)),
        Err(mistakes) => {
            let error = |mistake: Invalid| FieldError::new(mistake.pointer, mistake.code, mistake.detail);
            Err(Problem::invalid(mistakes.into_iter().map(error).collect()))
        }
    }
}
