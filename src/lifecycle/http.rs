//! The verbs of subscriptions over HTTP: each with its preview.

use std::collections::BTreeMap;

use accrue_core::{decimal::Number, proration::Basis};
use accrue_platform::{
    body::Body,
    problem::{Problem, ProblemBody},
    routes::Routes,
};
use actix_web::{http::StatusCode, post, web::Path};
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::{
    body::PreviewBody,
    service::{self, Asked, ChangeAsked, Done, LifecycleError},
    unused::OnUnused,
};
use crate::{
    auth::{Answer, Read, Write, resource},
    invoices::{InvoiceBody, credit_notes::CreditNoteBody, service::InvoiceError},
    subscriptions::{
        self, Anchor, CreateSubscription, SubscriptionBody, UsageInPause, When, service::SubscriptionError,
    },
};

/// Mounts the endpoints.
pub fn routes(routes: &mut Routes) {
    routes
        .service(preview_create)
        .service(cancel)
        .service(preview_cancel)
        .service(change)
        .service(preview_change)
        .service(pause)
        .service(preview_pause)
        .service(resume)
        .service(preview_resume)
        .service(extend_trial)
        .service(preview_extend_trial)
        .service(end_trial)
        .service(preview_end_trial)
        .service(undo)
        .service(preview_undo);
}

/// When to end.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct CancelSubscription {
    /// `period_end` unless given: what was paid for can be used up. `now` ends it at once, and bills the rest of
    /// the usage. Or an instant after now.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "period_end")]
    when: When,
    /// What becomes of fees that were billed in advance and are not used, if it ends now: by days, of which the day of the
    /// end is one.
    #[serde(default)]
    unused: OnUnused,
}

/// Other terms.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct ChangeSubscription {
    /// The plan's identifier or code: the version that is present now. Unless given, it stays on the version it has.
    #[schema(example = "business")]
    plan: Option<String>,
    /// Of seat prices, by their codes. Those that are left out keep theirs, or are 1 where they are new.
    #[serde(default)]
    #[schema(example = json!({"seats": "8"}))]
    quantities: BTreeMap<String, Number>,
    /// `now` unless given; or `period_end`, or an instant after now.
    #[serde(default = "now")]
    #[schema(value_type = Option<String>, example = "now")]
    when: When,
    /// How the rest of the period is measured, of which the old fees are given back and the new ones billed: by days, of
    /// which the day of the change is one, by seconds, or not at all: then new fees begin with the next period.
    #[serde(default)]
    proration: Basis,
    /// `reset` begins a new period with the change. A plan of another interval does so anyway.
    #[serde(default)]
    anchor: Anchor,
}

fn now() -> When {
    When::Now
}

/// How long to stop.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct PauseSubscription {
    /// It goes on by itself then; else by `resume`.
    resume_at: Option<DateTime<Utc>>,
    /// What becomes of usage meanwhile.
    #[serde(default)]
    usage: UsageInPause,
}

/// Nothing more to say.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Until when.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct ExtendTrial {
    /// The trial ends here: later than now.
    trial_end: DateTime<Utc>,
}

impl From<CancelSubscription> for Asked {
    fn from(CancelSubscription { when, unused }: CancelSubscription) -> Self {
        Self::Cancel { when, unused }
    }
}

impl From<ChangeSubscription> for Asked {
    fn from(asked: ChangeSubscription) -> Self {
        let ChangeSubscription { plan, quantities, when, proration, anchor } = asked;
        Self::Change(ChangeAsked { plan, quantities, when, proration, anchor })
    }
}

impl From<PauseSubscription> for Asked {
    fn from(PauseSubscription { resume_at, usage }: PauseSubscription) -> Self {
        Self::Pause { usage, resume_at }
    }
}

impl From<ExtendTrial> for Asked {
    fn from(ExtendTrial { trial_end }: ExtendTrial) -> Self {
        Self::ExtendTrial(trial_end)
    }
}

async fn act(write: Write<resource::Subscriptions>, id: Path<String>, asked: Asked) -> Answer {
    let tx = write.begin().await?;
    let Done { subscription, .. } =
        Box::pin(service::act(&tx, &write.app, &write.tenant, &id, asked)).await?;
    let body = subscriptions::service::body(&tx, &subscription).await?;
    write.commit(tx, StatusCode::OK, subscription.id, &body).await
}

/// The verb itself, in a transaction that is undone: so it says exactly what the verb would.
async fn preview(read: Read<resource::Subscriptions>, id: Path<String>, asked: Asked) -> Answer {
    let tx = read.app.db.begin().await?;
    let done = Box::pin(service::act(&tx, &read.app, &read.tenant, &id, asked)).await;
    let body = match done {
        Ok(done) => preview_body(&tx, &read, done).await.map_err(Problem::from),
        Err(error) => Err(error.into()),
    };
    tx.rollback().await?;
    read.answer(&body?)
}

async fn preview_body(
    tx: &sea_orm::DatabaseTransaction,
    read: &Read<resource::Subscriptions>,
    Done { subscription, billed }: Done,
) -> Result<PreviewBody, SubscriptionError> {
    let livemode = read.tenant.livemode;
    let invoices = billed.invoices.iter().map(|invoice| InvoiceBody::new(invoice, livemode));
    let notes = billed.credit_notes.iter().map(|note| CreditNoteBody::new(note, livemode));
    Ok(PreviewBody {
        object: "subscription_preview",
        livemode,
        subscription: subscriptions::service::body(tx, &subscription).await?,
        has_more: billed.has_more,
        invoices: invoices.collect(),
        credit_notes: notes.collect(),
    })
}

/// Preview a subscription.
///
/// The same body as for making one. Nothing is written.
#[utoipa::path(
    tag = "subscriptions",
    request_body = CreateSubscription,
    responses(
        (status = 200, description = "What it would be, and the invoices that it would make at once", body = PreviewBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/subscriptions/preview")]
async fn preview_create(read: Read<resource::Subscriptions>, body: Body<CreateSubscription>) -> Answer {
    let (customer, plan, wanted) = body.0.read()?;
    let tx = read.app.db.begin().await?;
    let done = service::preview_create(&tx, &read.app, &read.tenant, (&customer, &plan), wanted).await;
    let body = match done {
        Ok(done) => preview_body(&tx, &read, done).await.map_err(Problem::from),
        Err(LifecycleError::Subscription(error)) => Err(subscriptions::in_body(error)),
        Err(error) => Err(error.into()),
    };
    tx.rollback().await?;
    read.answer(&body?)
}

/// Cancel a subscription.
///
/// Canceled for the end of its period it goes on until then; a trial ends without a paid period. One that has
/// not started ends at once and is never billed. Canceling twice is the same as canceling once; what was
/// canceled for later can still be canceled now.
#[utoipa::path(
    tag = "subscriptions",
    params(("id" = String, Path, description = "The subscription's identifier, or your own name for it")),
    request_body = CancelSubscription,
    responses(
        (status = 200, description = "The subscription as it is now", body = SubscriptionBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/subscriptions/{id}/cancel")]
async fn cancel(
    write: Write<resource::Subscriptions>,
    id: Path<String>,
    body: Body<CancelSubscription>,
) -> Answer {
    act(write, id, body.0.into()).await
}

/// Preview `cancel`.
///
/// The same body. Nothing is written.
#[utoipa::path(
    tag = "subscriptions",
    params(("id" = String, Path, description = "The subscription's identifier, or your own name for it")),
    request_body = CancelSubscription,
    responses(
        (status = 200, description = "What it would do", body = PreviewBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/subscriptions/{id}/cancel/preview")]
async fn preview_cancel(
    read: Read<resource::Subscriptions>,
    id: Path<String>,
    body: Body<CancelSubscription>,
) -> Answer {
    preview(read, id, body.0.into()).await
}

/// Change a subscription: another plan, other quantities, or both.
///
/// Within a period the rest of what was billed in advance goes back by credit notes with the tax that it had, and the new
/// fees are billed for the rest of it. Usage before the change is billed by the old plan, usage from then on by the new one.
/// What is scheduled is told by the subscription, and taken back by `undo`. Changing to what is so already changes nothing.
#[utoipa::path(
    tag = "subscriptions",
    params(("id" = String, Path, description = "The subscription's identifier, or your own name for it")),
    request_body = ChangeSubscription,
    responses(
        (status = 200, description = "The subscription as it is now", body = SubscriptionBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/subscriptions/{id}/change")]
async fn change(
    write: Write<resource::Subscriptions>,
    id: Path<String>,
    body: Body<ChangeSubscription>,
) -> Answer {
    act(write, id, body.0.into()).await
}

/// Preview `change`.
///
/// The same body. Nothing is written.
#[utoipa::path(
    tag = "subscriptions",
    params(("id" = String, Path, description = "The subscription's identifier, or your own name for it")),
    request_body = ChangeSubscription,
    responses(
        (status = 200, description = "What it would do", body = PreviewBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/subscriptions/{id}/change/preview")]
async fn preview_change(
    read: Read<resource::Subscriptions>,
    id: Path<String>,
    body: Body<ChangeSubscription>,
) -> Answer {
    preview(read, id, body.0.into()).await
}

/// Pause a subscription.
///
/// It costs no fees and gives no access until it is resumed; periods begin and end as they would. What was billed in advance
/// for the time of the pause is given back. Pausing twice is the same as pausing once.
#[utoipa::path(
    tag = "subscriptions",
    params(("id" = String, Path, description = "The subscription's identifier, or your own name for it")),
    request_body = PauseSubscription,
    responses(
        (status = 200, description = "The subscription as it is now", body = SubscriptionBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/subscriptions/{id}/pause")]
async fn pause(
    write: Write<resource::Subscriptions>,
    id: Path<String>,
    body: Body<PauseSubscription>,
) -> Answer {
    act(write, id, body.0.into()).await
}

/// Preview `pause`.
///
/// The same body. Nothing is written.
#[utoipa::path(
    tag = "subscriptions",
    params(("id" = String, Path, description = "The subscription's identifier, or your own name for it")),
    request_body = PauseSubscription,
    responses(
        (status = 200, description = "What it would do", body = PreviewBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/subscriptions/{id}/pause/preview")]
async fn preview_pause(
    read: Read<resource::Subscriptions>,
    id: Path<String>,
    body: Body<PauseSubscription>,
) -> Answer {
    preview(read, id, body.0.into()).await
}

/// Resume a paused subscription now.
///
/// Fees are billed for the rest of the running period. Resuming twice is the same as resuming once.
#[utoipa::path(
    tag = "subscriptions",
    params(("id" = String, Path, description = "The subscription's identifier, or your own name for it")),
    request_body = Nothing,
    responses(
        (status = 200, description = "The subscription as it is now", body = SubscriptionBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/subscriptions/{id}/resume")]
async fn resume(write: Write<resource::Subscriptions>, id: Path<String>, _body: Body<Nothing>) -> Answer {
    act(write, id, Asked::Resume).await
}

/// Preview `resume`.
///
/// The same body. Nothing is written.
#[utoipa::path(
    tag = "subscriptions",
    params(("id" = String, Path, description = "The subscription's identifier, or your own name for it")),
    request_body = Nothing,
    responses(
        (status = 200, description = "What it would do", body = PreviewBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/subscriptions/{id}/resume/preview")]
async fn preview_resume(
    read: Read<resource::Subscriptions>,
    id: Path<String>,
    _body: Body<Nothing>,
) -> Answer {
    preview(read, id, Asked::Resume).await
}

/// Give a trial another end.
///
/// The first period that costs something begins there. It makes no invoice.
#[utoipa::path(
    tag = "subscriptions",
    params(("id" = String, Path, description = "The subscription's identifier, or your own name for it")),
    request_body = ExtendTrial,
    responses(
        (status = 200, description = "The subscription as it is now", body = SubscriptionBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/subscriptions/{id}/extend_trial")]
async fn extend_trial(
    write: Write<resource::Subscriptions>,
    id: Path<String>,
    body: Body<ExtendTrial>,
) -> Answer {
    act(write, id, body.0.into()).await
}

/// Preview `extend_trial`.
///
/// The same body. Nothing is written.
#[utoipa::path(
    tag = "subscriptions",
    params(("id" = String, Path, description = "The subscription's identifier, or your own name for it")),
    request_body = ExtendTrial,
    responses(
        (status = 200, description = "What it would do", body = PreviewBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/subscriptions/{id}/extend_trial/preview")]
async fn preview_extend_trial(
    read: Read<resource::Subscriptions>,
    id: Path<String>,
    body: Body<ExtendTrial>,
) -> Answer {
    preview(read, id, body.0.into()).await
}

/// End a trial now.
///
/// The first period that costs something begins now and is billed. Ending it twice is the same as ending it once.
#[utoipa::path(
    tag = "subscriptions",
    params(("id" = String, Path, description = "The subscription's identifier, or your own name for it")),
    request_body = Nothing,
    responses(
        (status = 200, description = "The subscription as it is now", body = SubscriptionBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/subscriptions/{id}/end_trial")]
async fn end_trial(write: Write<resource::Subscriptions>, id: Path<String>, _body: Body<Nothing>) -> Answer {
    act(write, id, Asked::EndTrial).await
}

/// Preview `end_trial`.
///
/// The same body. Nothing is written.
#[utoipa::path(
    tag = "subscriptions",
    params(("id" = String, Path, description = "The subscription's identifier, or your own name for it")),
    request_body = Nothing,
    responses(
        (status = 200, description = "What it would do", body = PreviewBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/subscriptions/{id}/end_trial/preview")]
async fn preview_end_trial(
    read: Read<resource::Subscriptions>,
    id: Path<String>,
    _body: Body<Nothing>,
) -> Answer {
    preview(read, id, Asked::EndTrial).await
}

/// Take back what is scheduled.
///
/// A change, the end of a pause, or an end that somebody asked for: of several the end. What has happened stays.
#[utoipa::path(
    tag = "subscriptions",
    params(("id" = String, Path, description = "The subscription's identifier, or your own name for it")),
    request_body = Nothing,
    responses(
        (status = 200, description = "The subscription as it is now", body = SubscriptionBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/subscriptions/{id}/undo")]
async fn undo(write: Write<resource::Subscriptions>, id: Path<String>, _body: Body<Nothing>) -> Answer {
    act(write, id, Asked::Undo).await
}

/// Preview `undo`.
///
/// The same body. Nothing is written.
#[utoipa::path(
    tag = "subscriptions",
    params(("id" = String, Path, description = "The subscription's identifier, or your own name for it")),
    request_body = Nothing,
    responses(
        (status = 200, description = "What it would do", body = PreviewBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/subscriptions/{id}/undo/preview")]
async fn preview_undo(read: Read<resource::Subscriptions>, id: Path<String>, _body: Body<Nothing>) -> Answer {
    preview(read, id, Asked::Undo).await
}

impl From<LifecycleError> for Problem {
    fn from(error: LifecycleError) -> Self {
        match error {
            LifecycleError::Subscription(error)
            | LifecycleError::Invoice(InvoiceError::Subscription(error)) => match error {
                SubscriptionError::NoSuchPlan(_) => Self::from(error).named_at("/plan"),
                error => error.into(),
            },
            LifecycleError::Invoice(error) => error.into(),
            LifecycleError::Payment(error) => error.into(),
            LifecycleError::Database(error) => error.into(),
        }
    }
}
