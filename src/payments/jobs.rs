//! What payments do behind requests: collect, ask again, give back, and repair what was left behind.

use accrue_core::id::{InvoiceId, PaymentAttemptId, RefundId, TenantId};
use accrue_platform::{
    db::Db,
    due::{DueColumn, Place},
    gateway::GatewayError,
    outbox::Event,
    queue,
    schedule::Schedule,
};
use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;
use sea_orm::{DatabaseTransaction, DbErr};
use serde::{Deserialize, Serialize};
use tracing::instrument;

use super::{
    gateways::{self, Errand},
    model::{Outcome, PATIENCE},
    service::{self, Begun, PaymentError, Try},
    store,
};
use crate::{
    app::{
        Found, FoundPage, Job, JobContext, JobError, JobRunner, Listener, Scope, Sweep, enqueue,
        enqueue_found, job_runner, new_job,
    },
    auth::{self, Tenant},
    invoices::Collection,
};

/// Every job of payments.
pub const JOBS: &[JobRunner] = &[
    job_runner::<CollectPayment>(),
    job_runner::<ResolveAttempt>(),
    job_runner::<CancelPayment>(),
    job_runner::<SendRefund>(),
];

/// Every sweep of payments.
pub const SWEEPS: &[Sweep] = &[ATTEMPTS_SWEEP, REFUNDS_SWEEP];

/// Everything that payments hear of.
pub const LISTENERS: &[Listener] = &[LISTENER_INVOICES_FINALIZED, LISTENER_INVOICES_CLOSED];

/// If nobody comes back to what a sweep has found, the next sweep finds it after this time.
const SWEPT_AGAIN_AFTER: TimeDelta = TimeDelta::hours(1);

/// Collects an invoice. Safe to run twice, and to be killed between any two lines.
#[derive(Debug, Serialize, Deserialize)]
pub struct CollectPayment {
    pub invoice: InvoiceId,
    /// One reason makes one attempt, however often the job runs.
    pub reason: String,
}

impl Job for CollectPayment {
    const NAME: &'static str = "payments.collect";

    #[instrument(name = "job.payments.collect", skip_all, fields(invoice.id = %self.invoice, reason = self.reason))]
    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        let tenant = tenant_of(context).await?;
        let wanted =
            Try { invoice: self.invoice, reason: self.reason.clone(), automatic: true, method: None };

        // 1. Remember that we are about to pay.
        let tx = context.begin().await?;
        let begun = service::begin(&tx, &tenant, &wanted, context.now).await?;
        context.commit(tx).await?;

        match begun {
            Begun::Go(errand) => match carry_out(context, &tenant, &errand).await? {
                Outcome::NotTaken => Err(out_of_reach(context)),
                outcome => match outcome.our_fault() {
                    Some(why) => Err(JobError::GiveUp(GatewayError::Invalid(why.to_owned()).into())),
                    None => Ok(()),
                },
            },
            Begun::InFlight(until) => {
                // The one who asks comes first. If it is late, its lateness is not this one's to pass every second.
                let asked_by = if until > context.now { TimeDelta::seconds(1) } else { PATIENCE };
                Err(JobError::NotBefore(until.max(context.now) + asked_by))
            }
            Begun::TriedBefore(_) | Begun::NoMethod | Begun::NotOwed(..) => Ok(()),
        }
    }
}

/// Asks the gateway what became of an attempt (RULES 43).
#[derive(Debug, Serialize, Deserialize)]
pub struct ResolveAttempt {
    pub attempt: PaymentAttemptId,
    /// How often it was asked before: a job that comes too late asks nothing.
    pub look_ups: i32,
}

impl Job for ResolveAttempt {
    const NAME: &'static str = "payments.resolve";

    #[instrument(name = "job.payments.resolve", skip_all, fields(payment_attempt.id = %self.attempt))]
    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        let db = context.app.db.reader();
        let found = service::find_of_attempt(db, context.tenant, self.attempt).await?;
        let Some(payment) = found else { return Ok(()) };
        if payment.in_flight().is_none_or(|attempt| attempt.look_ups != self.look_ups) {
            return Ok(());
        }
        let errand = service::errand(db, context.tenant, &payment, self.attempt).await?;
        let Some(errand) = errand else { return Ok(()) };
        let tenant = tenant_of(context).await?;
        carry_out(context, &tenant, &errand).await.map(drop)
    }
}

/// Pays, or asks, and remembers what happened. No transaction is open during the call.
async fn carry_out(context: &JobContext, tenant: &Tenant, errand: &Errand) -> Result<Outcome, JobError> {
    let outcome = gateways::run(&context.app, context.tenant, errand, context.now).await;
    let tx = context.begin().await?;
    service::settle(&tx, tenant, errand, &outcome, context.now).await?;
    context.commit(tx).await?;
    Ok(outcome)
}

/// An outage is nobody's failure: it is waited for, however long it lasts.
fn out_of_reach(context: &JobContext) -> JobError {
    JobError::Outage(queue::backoff(context.runs()))
}

/// Gives money back. The gateway is called with the refund's own key until it has answered.
#[derive(Debug, Serialize, Deserialize)]
pub struct SendRefund {
    pub refund: RefundId,
}

impl Job for SendRefund {
    const NAME: &'static str = "payments.refund";

    #[instrument(name = "job.payments.refund", skip_all, fields(refund.id = %self.refund))]
    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        let JobContext { app, tenant: id, now, .. } = context;
        let tenant = tenant_of(context).await?;
        let refund = service::get_refund(app.db.reader(), *id, self.refund).await?;
        let parcel = service::parcel(app.db.reader(), *id, &refund).await?;
        let Some(parcel) = parcel else { return Ok(()) };

        let outcome = gateways::refund(app, &parcel, *now).await;

        let tx = context.begin().await?;
        let refund = service::settle_refund(&tx, &tenant, &parcel, &outcome, *now).await?;
        context.commit(tx).await?;
        if refund.status.is_settled() { Ok(()) } else { Err(out_of_reach(context)) }
    }
}

/// Ends the payment of an invoice that was voided, or that a credit note settled.
#[derive(Debug, Serialize, Deserialize)]
pub struct CancelPayment {
    pub invoice: InvoiceId,
}

impl Job for CancelPayment {
    const NAME: &'static str = "payments.cancel";

    #[instrument(name = "job.payments.cancel", skip_all, fields(invoice.id = %self.invoice))]
    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        let tenant = tenant_of(context).await?;
        let tx = context.begin().await?;
        service::cancel(&tx, &tenant, self.invoice, context.now).await?;
        context.commit(tx).await
    }
}

async fn tenant_of(context: &JobContext) -> Result<Tenant, JobError> {
    let tenant = auth::service::get_tenant(context.app.db.reader(), context.tenant).await;
    tenant.map_err(|error| JobError::Retry(error.into()))
}

/// An illegal move stays one; anything else may pass.
impl From<PaymentError> for JobError {
    fn from(error: PaymentError) -> Self {
        match error {
            PaymentError::Illegal(_) => Self::GiveUp(error.into()),
            error => Self::Retry(error.into()),
        }
    }
}

/// Finds attempts whose outcome nobody asks for, because who began them has died.
const ATTEMPTS_SWEEP: Sweep = Sweep {
    schedule: Schedule { name: "payments.unsettled", cron: "0 * * * * *" },
    tenants: |db, now| Box::pin(overdue(ATTEMPTS, db, now)),
    find: |db, scope, now, after| Box::pin(find_attempts(db, scope, now, after)),
    enqueue: |tx, now, found| Box::pin(enqueue_and_postpone(ATTEMPTS, tx, now, found)),
    next_due: Some(|db, scope| Box::pin(next_overdue(ATTEMPTS, db, scope))),
};

/// The same of refunds.
const REFUNDS_SWEEP: Sweep = Sweep {
    schedule: Schedule { name: "payments.unsettled_refunds", cron: "0 * * * * *" },
    tenants: |db, now| Box::pin(overdue(REFUNDS, db, now)),
    find: |db, scope, now, after| Box::pin(find_refunds(db, scope, now, after)),
    enqueue: |tx, now, found| Box::pin(enqueue_and_postpone(REFUNDS, tx, now, found)),
    next_due: Some(|db, scope| Box::pin(next_overdue(REFUNDS, db, scope))),
};

const ATTEMPTS: DueColumn = store::payments::attempts::LOOKS;
const REFUNDS: DueColumn = store::refunds::LOOKS;

async fn find_attempts(
    db: &Db,
    scope: Scope,
    now: DateTime<Utc>,
    after: Option<Place>,
) -> Result<FoundPage, DbErr> {
    let rows = ATTEMPTS.page(db.reader(), scope, now - PATIENCE, after, &["look_ups"]).await?;
    FoundPage::of(&rows, |row| {
        let job = ResolveAttempt { attempt: PaymentAttemptId(row.id), look_ups: row.get("look_ups")? };
        let key = format!("{}:{}", job.attempt, job.look_ups);
        let object = job.attempt.to_string();
        let job = new_job(scope.tenant(), scope.test_clock(), now, key, &job);
        Ok(Found { object, place: row.place(), job })
    })
}

async fn find_refunds(
    db: &Db,
    scope: Scope,
    now: DateTime<Utc>,
    after: Option<Place>,
) -> Result<FoundPage, DbErr> {
    let rows = REFUNDS.page(db.reader(), scope, now - PATIENCE, after, &[]).await?;
    FoundPage::of(&rows, |row| {
        let refund = RefundId(row.id);
        let job = new_job(scope.tenant(), scope.test_clock(), now, refund, &SendRefund { refund });
        Ok(Found { object: refund.to_string(), place: row.place(), job })
    })
}

async fn overdue(
    looks: DueColumn,
    db: &Db,
    now: DateTime<Utc>,
) -> Result<Vec<(TenantId, DateTime<Utc>)>, DbErr> {
    let tenants = looks.tenants(db.reader(), now - PATIENCE).await?;
    Ok(tenants.into_iter().map(|(tenant, since)| (tenant, since + PATIENCE)).collect())
}

async fn next_overdue(
    looks: DueColumn,
    db: &Db,
    scope: Option<Scope>,
) -> Result<Option<DateTime<Utc>>, DbErr> {
    Ok(looks.first(db.reader(), scope).await?.map(|at| at + PATIENCE))
}

async fn enqueue_and_postpone(
    looks: DueColumn,
    tx: &DatabaseTransaction,
    now: DateTime<Utc>,
    found: &[Found],
) -> Result<u64, DbErr> {
    let enqueued = enqueue_found(tx, now, found).await?;
    for found in found {
        looks.postpone(tx, found.job.tenant, found.place, now + SWEPT_AGAIN_AFTER).await?;
    }
    Ok(enqueued)
}

/// An invoice is open: it is collected, if that is how it is to be paid.
const LISTENER_INVOICES_FINALIZED: Listener =
    Listener { name: "payments.invoices_finalized", hear: |tx, event| Box::pin(hear_finalized(tx, event)) };

/// What an invoice's event says that payments need.
#[derive(Deserialize)]
struct Told {
    object: ToldInvoice,
}

#[derive(Deserialize)]
struct ToldInvoice {
    id: InvoiceId,
    collection: Collection,
    amount_due: Decimal,
    amount_paid: Decimal,
    balance_applied: Decimal,
    total: Decimal,
}

async fn hear_finalized(tx: &DatabaseTransaction, event: &Event) -> Result<(), DbErr> {
    if event.kind != "invoice.finalized" {
        return Ok(());
    }
    let Told { object: invoice } = told(event)?;
    if invoice.collection != Collection::Automatic || invoice.amount_due <= Decimal::ZERO {
        return Ok(());
    }
    let Event { tenant_id, test_clock_id, created_at, .. } = event;
    service::collect_later(tx, *tenant_id, *test_clock_id, invoice.id, "finalized", *created_at).await
}

/// An invoice was voided, or settled by less than was asked for: its payment ends.
const LISTENER_INVOICES_CLOSED: Listener =
    Listener { name: "payments.invoices_closed", hear: |tx, event| Box::pin(hear_closed(tx, event)) };

async fn hear_closed(tx: &DatabaseTransaction, event: &Event) -> Result<(), DbErr> {
    if !matches!(event.kind.as_str(), "invoice.voided" | "invoice.paid") {
        return Ok(());
    }
    let Told { object: invoice } = told(event)?;
    if event.kind == "invoice.paid" && invoice.amount_paid == invoice.total - invoice.balance_applied {
        return Ok(());
    }
    let job = CancelPayment { invoice: invoice.id };
    enqueue(tx, event.tenant_id, event.test_clock_id, event.created_at, invoice.id, &job).await
}

fn told(event: &Event) -> Result<Told, DbErr> {
    serde_json::from_str(&event.data).map_err(|error| DbErr::Json(format!("{}: {error}", event.kind)))
}
