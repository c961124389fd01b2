//! What is asked of gateways, each time with an end: a gateway that does not answer in time has answered
//! "unknown". No transaction may be open here.

mod sandbox;

use std::collections::BTreeMap;

use accrue_core::{
    id::{InvoiceId, PaymentAttemptId, TenantId},
    money::Money,
};
use accrue_platform::gateway::{Answer, Charge, Gateway, GatewayError, SavedMethod, Verdict};
use chrono::{DateTime, Utc};

use super::{
    model::{Outcome, RefundOutcome},
    service::Parcel,
};
use crate::app::App;

pub use sandbox::SandboxGateway;

/// What is to be done at a gateway for an attempt: made inside a transaction, done outside of one.
#[derive(Clone, Debug)]
pub(super) struct Errand {
    pub invoice: InvoiceId,
    pub attempt: PaymentAttemptId,
    pub reason: String,
    pub automatic: bool,
    pub gateway: String,
    pub idempotency_key: String,
    pub amount: Money,
    /// Empty once it was detached.
    pub method_sealed: String,
    pub order: Order,
    /// Was the gateway asked so often that "never heard of it" is the truth? Until then the first call may
    /// still be on its way.
    pub no_is_final: bool,
}

/// May money be taken, and what comes before that?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The gateway has never heard of the attempt.
    Charge,
    /// It may have: it is asked first, and charged with the same key if it has not.
    AskThenCharge,
    /// The money is not wanted any more, or was accepted already: only the outcome is.
    Ask,
}

/// Does the errand.
///
/// Asking first and charging with the **same** key afterwards is what makes two charges impossible: a call
/// that was lost on its way and arrives late meets its own key.
pub(super) async fn run(app: &App, tenant: TenantId, errand: &Errand, now: DateTime<Utc>) -> Outcome {
    let Some(gateway) = app.gateways.find(&errand.gateway) else {
        return not_set_up(errand);
    };
    if errand.order == Order::Charge {
        return match charge(app, gateway, tenant, errand, now).await {
            Ok(verdict) => Outcome::Verdict(verdict),
            Err(GatewayError::Unknown) => Outcome::Unknown,
            Err(GatewayError::Unavailable) => Outcome::NotTaken,
            Err(GatewayError::Invalid(why)) => Outcome::Refused(why),
        };
    }
    match (within(app, gateway.look_up(&errand.idempotency_key)).await, errand.order) {
        (Ok(Some(verdict)), _) => Outcome::Verdict(verdict),
        (Ok(None), Order::AskThenCharge) => match charge(app, gateway, tenant, errand, now).await {
            Ok(verdict) => Outcome::Verdict(verdict),
            Err(GatewayError::Invalid(why)) if errand.no_is_final => Outcome::Refused(why),
            // This call was not taken up; the one before may still be on its way.
            Err(_) => Outcome::Unknown,
        },
        (Ok(None), Order::Ask | Order::Charge) if errand.no_is_final => Outcome::NotTaken,
        // A question without an answer changes nothing, whatever the reason.
        (Ok(None) | Err(_), _) => Outcome::Unknown,
    }
}

/// Who has never been called has taken nothing; of an earlier call nobody can be asked now.
fn not_set_up(errand: &Errand) -> Outcome {
    match errand.order {
        Order::Charge => Outcome::Refused(format!("the gateway `{}` is not set up", errand.gateway)),
        Order::AskThenCharge | Order::Ask => Outcome::Unknown,
    }
}

async fn charge(
    app: &App,
    gateway: &dyn Gateway,
    tenant: TenantId,
    errand: &Errand,
    now: DateTime<Utc>,
) -> Result<Verdict, GatewayError> {
    let method = app
        .vault
        .open(tenant, &errand.method_sealed)
        .map_err(|error| GatewayError::Invalid(format!("the payment method cannot be opened: {error}")))?;
    let charge = Charge {
        attempt: errand.attempt,
        idempotency_key: errand.idempotency_key.clone(),
        method,
        amount: errand.amount,
        // Whoever calls our API is not the cardholder: nobody sits before a screen.
        off_session: true,
    };
    within(app, gateway.charge(&charge, now)).await
}

/// Gives money back, once for each key; to be called again with the same key until it is settled.
///
/// The gateway is asked first, for an earlier call may have been taken up: keys do not live for ever, and a
/// second refund of the same money must not be refused, or made.
pub(super) async fn refund(app: &App, parcel: &Parcel, now: DateTime<Utc>) -> RefundOutcome {
    let Parcel { gateway, charge_reference, idempotency_key, amount, refund } = parcel;
    let Some(gateway) = app.gateways.find(gateway) else {
        tracing::error!(%refund, gateway, "the gateway of a refund is not set up");
        return RefundOutcome::Unanswered;
    };
    match within(app, gateway.look_up_refund(idempotency_key)).await {
        Ok(Some(reference)) => return RefundOutcome::Succeeded { reference },
        Ok(None) => {}
        Err(_) => return RefundOutcome::Unanswered,
    }
    let metadata = BTreeMap::from([("refund".to_owned(), refund.to_string())]);
    match within(app, gateway.refund(idempotency_key, charge_reference, *amount, metadata, now)).await {
        Ok(reference) => RefundOutcome::Succeeded { reference },
        Err(GatewayError::Unknown | GatewayError::Unavailable) => RefundOutcome::Unanswered,
        Err(GatewayError::Invalid(why)) => RefundOutcome::Refused(why),
    }
}

/// Makes a token usable for later charges, at the gateway where new methods are kept.
pub(super) async fn save_method(
    app: &App,
    customer: &str,
    token: &str,
    now: DateTime<Utc>,
) -> Result<(&'static str, SavedMethod), GatewayError> {
    let gateway = app.gateways.default();
    let saved = within(app, gateway.save_method(customer, token, now)).await?;
    Ok((gateway.name(), saved))
}

/// The one place where a gateway's time runs out.
async fn within<T>(app: &App, answer: Answer<'_, T>) -> Result<T, GatewayError> {
    match tokio::time::timeout(app.config.gateway_timeout, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(GatewayError::Unknown),
    }
}
