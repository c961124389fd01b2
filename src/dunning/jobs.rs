//! What dunning does behind the scenes: it hears of failures, of debts that are gone, of new methods, and
//! takes the steps that are due.

use accrue_core::id::{CustomerId, DunningId, InvoiceId, PaymentMethodId};
use accrue_platform::{db::Db, due::Place, outbox::Event, schedule::Schedule};
use chrono::{DateTime, Utc};
use sea_orm::{DatabaseTransaction, DbErr};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tracing::instrument;

use super::service::{self, DunningError};
use crate::{
    app::{
        Found, FoundPage, Job, JobContext, JobError, JobRunner, Listener, Scope, Sweep, enqueue,
        enqueue_found, job_runner, new_job,
    },
    auth::{self, Tenant},
    payments::decline,
};

/// Every job of dunning.
pub const JOBS: &[JobRunner] = &[
    job_runner::<NoteFailure>(),
    job_runner::<NoteDebtGone>(),
    job_runner::<NoteMethod>(),
    job_runner::<TakeStep>(),
    job_runner::<LookAgain>(),
];

/// Every sweep of dunning.
pub const SWEEPS: &[Sweep] = &[STEPS_SWEEP, LOOKS_SWEEP];

/// Everything that dunning hears of.
pub const LISTENERS: &[Listener] = &[LISTENER_PAYMENTS, LISTENER_INVOICES, LISTENER_METHODS];

/// A payment of an invoice failed.
#[derive(Debug, Serialize, Deserialize)]
pub struct NoteFailure {
    pub invoice: InvoiceId,
    /// There was nothing to charge. That leaves no attempt, so the event says it: by now somebody may have tried
    /// by hand, and that failure stands where this one stood.
    #[serde(default)]
    pub without_method: bool,
}

impl Job for NoteFailure {
    const NAME: &'static str = "dunning.failed";

    #[instrument(name = "job.dunning.failed", skip_all, fields(invoice.id = %self.invoice))]
    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        let tenant = tenant_of(context).await?;
        let tx = context.begin().await?;
        service::note_failure(&tx, &tenant, self, context.now).await?;
        context.commit(tx).await
    }
}

/// An invoice is paid, or not owed any more.
#[derive(Debug, Serialize, Deserialize)]
pub struct NoteDebtGone {
    pub invoice: InvoiceId,
}

impl Job for NoteDebtGone {
    const NAME: &'static str = "dunning.recovered";

    #[instrument(name = "job.dunning.recovered", skip_all, fields(invoice.id = %self.invoice))]
    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        let tenant = tenant_of(context).await?;
        let tx = context.begin().await?;
        service::note_debt_gone(&tx, &tenant, self.invoice, context.now).await?;
        context.commit(tx).await
    }
}

/// A customer has a new default payment method.
#[derive(Debug, Serialize, Deserialize)]
pub struct NoteMethod {
    pub customer: CustomerId,
    pub method: PaymentMethodId,
}

impl Job for NoteMethod {
    const NAME: &'static str = "dunning.method";

    #[instrument(name = "job.dunning.method", skip_all, fields(customer.id = %self.customer))]
    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        let tenant = tenant_of(context).await?;
        let tx = context.begin().await?;
        service::note_method(&tx, &tenant, self.customer, self.method, context.now).await?;
        context.commit(tx).await
    }
}

/// A step's time has come.
#[derive(Debug, Serialize, Deserialize)]
pub struct TakeStep {
    pub dunning: DunningId,
    pub step: i32,
}

impl Job for TakeStep {
    const NAME: &'static str = "dunning.step";

    #[instrument(name = "job.dunning.step", skip_all, fields(dunning.id = %self.dunning, step = self.step))]
    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        let tenant = tenant_of(context).await?;
        let tx = context.begin().await?;
        service::take_step(&tx, &tenant, self.dunning, self.step, context.now).await?;
        context.commit(tx).await
    }
}

/// The outcome of a step's try was not told.
#[derive(Debug, Serialize, Deserialize)]
pub struct LookAgain {
    pub dunning: DunningId,
}

impl Job for LookAgain {
    const NAME: &'static str = "dunning.look_again";

    #[instrument(name = "job.dunning.look_again", skip_all, fields(dunning.id = %self.dunning))]
    async fn run(&self, context: &JobContext) -> Result<(), JobError> {
        let tenant = tenant_of(context).await?;
        let tx = context.begin().await?;
        service::look_again(&tx, &tenant, self.dunning, context.now).await?;
        context.commit(tx).await
    }
}

async fn tenant_of(context: &JobContext) -> Result<Tenant, JobError> {
    let tenant = auth::service::get_tenant(context.app.db.reader(), context.tenant).await;
    tenant.map_err(|error| JobError::Retry(error.into()))
}

impl From<DunningError> for JobError {
    fn from(error: DunningError) -> Self {
        Self::Retry(error.into())
    }
}

/// Finds steps whose time has come.
const STEPS_SWEEP: Sweep = Sweep {
    schedule: Schedule { name: "dunning.due", cron: "0 * * * * *" },
    tenants: |db, now| Box::pin(service::STEPS.tenants(db.reader(), now)),
    find: |db, scope, now, after| Box::pin(find_steps(db, scope, now, after)),
    enqueue: enqueue_found,
    next_due: Some(|db, scope| Box::pin(service::STEPS.first(db.reader(), scope))),
};

async fn find_steps(
    db: &Db,
    scope: Scope,
    now: DateTime<Utc>,
    after: Option<Place>,
) -> Result<FoundPage, DbErr> {
    let rows = service::STEPS.page(db.reader(), scope, now, after, &["step"]).await?;
    FoundPage::of(&rows, |row| {
        let job = TakeStep { dunning: DunningId(row.id), step: row.get::<i32>("step")? + 1 };
        let key = format!("{}:{}", job.dunning, job.step);
        let object = job.dunning.to_string();
        let job = new_job(scope.tenant(), scope.test_clock(), row.at, key, &job);
        Ok(Found { object, place: row.place(), job })
    })
}

/// Finds steps of which nobody has told what became of them.
const LOOKS_SWEEP: Sweep = Sweep {
    schedule: Schedule { name: "dunning.look_again", cron: "0 * * * * *" },
    tenants: |db, now| Box::pin(service::LOOKS.tenants(db.reader(), now)),
    find: |db, scope, now, after| Box::pin(find_looks(db, scope, now, after)),
    enqueue: enqueue_found,
    next_due: Some(|db, scope| Box::pin(service::LOOKS.first(db.reader(), scope))),
};

async fn find_looks(
    db: &Db,
    scope: Scope,
    now: DateTime<Utc>,
    after: Option<Place>,
) -> Result<FoundPage, DbErr> {
    let rows = service::LOOKS.page(db.reader(), scope, now, after, &[]).await?;
    FoundPage::of(&rows, |row| {
        let dunning = DunningId(row.id);
        let job = new_job(scope.tenant(), scope.test_clock(), now, dunning, &LookAgain { dunning });
        Ok(Found { object: dunning.to_string(), place: row.place(), job })
    })
}

/// Hears of payments that failed.
const LISTENER_PAYMENTS: Listener =
    Listener { name: "dunning.payments", hear: |tx, event| Box::pin(hear_payment(tx, event)) };

#[derive(Deserialize)]
struct Told<T> {
    object: T,
}

#[derive(Deserialize)]
struct ToldPayment {
    invoice: InvoiceId,
    decline_code: Option<String>,
}

async fn hear_payment(tx: &DatabaseTransaction, event: &Event) -> Result<(), DbErr> {
    if !matches!(event.kind.as_str(), "payment.failed" | "payment.requires_action") {
        return Ok(());
    }
    let ToldPayment { invoice, decline_code } = told(event)?;
    let without_method = decline_code.as_deref() == Some(decline::NO_PAYMENT_METHOD);
    heard(tx, event, event.id, &NoteFailure { invoice, without_method }).await
}

/// Hears of debts that are gone.
const LISTENER_INVOICES: Listener =
    Listener { name: "dunning.invoices", hear: |tx, event| Box::pin(hear_invoice(tx, event)) };

#[derive(Deserialize)]
struct ToldInvoice {
    id: InvoiceId,
}

async fn hear_invoice(tx: &DatabaseTransaction, event: &Event) -> Result<(), DbErr> {
    if !matches!(event.kind.as_str(), "invoice.paid" | "invoice.voided" | "invoice.uncollectible") {
        return Ok(());
    }
    let ToldInvoice { id: invoice } = told(event)?;
    heard(tx, event, event.id, &NoteDebtGone { invoice }).await
}

/// Hears of payment methods that are charged from now on: attached, or chosen.
const LISTENER_METHODS: Listener =
    Listener { name: "dunning.methods", hear: |tx, event| Box::pin(hear_method(tx, event)) };

#[derive(Deserialize)]
struct ToldCustomer {
    object: ToldDefault,
    #[serde(default)]
    previous: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct ToldDefault {
    id: CustomerId,
    default_payment_method: Option<PaymentMethodId>,
}

async fn hear_method(tx: &DatabaseTransaction, event: &Event) -> Result<(), DbErr> {
    if event.kind != "customer.updated" {
        return Ok(());
    }
    let ToldCustomer { object: customer, previous } = data_of(event)?;
    match customer.default_payment_method {
        Some(method) if previous.contains_key("default_payment_method") => {
            heard(tx, event, event.id, &NoteMethod { customer: customer.id, method }).await
        }
        _ => Ok(()),
    }
}

fn told<T: DeserializeOwned>(event: &Event) -> Result<T, DbErr> {
    data_of::<Told<T>>(event).map(|told| told.object)
}

fn data_of<T: DeserializeOwned>(event: &Event) -> Result<T, DbErr> {
    serde_json::from_str(&event.data)
        .map_err(|error| DbErr::Json(format!("{} {}: {error}", event.kind, event.id)))
}

async fn heard<J: Job>(
    tx: &DatabaseTransaction,
    event: &Event,
    key: impl std::fmt::Display,
    job: &J,
) -> Result<(), DbErr> {
    enqueue(tx, event.tenant_id, event.test_clock_id, event.created_at, key, job).await
}
