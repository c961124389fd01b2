//! The sandbox gateway behind our trait. The sandbox is another company: only its public face is used.

use std::collections::BTreeMap;

use accrue_core::money::Money;
use accrue_platform::gateway::{Answer, Charge, Gateway, GatewayError, SavedMethod, Verdict};
use accrue_sandbox_gateway::{ChargeRequest, ChargeStatus, RefundRequest, Sandbox, SandboxError};
use chrono::{DateTime, Utc};

const NAME: &str = "sandbox";

/// Takes test money from test cards.
#[derive(Clone, Debug)]
pub struct SandboxGateway(Sandbox);

impl SandboxGateway {
    pub fn new(sandbox: Sandbox) -> Self {
        Self(sandbox)
    }
}

impl Gateway for SandboxGateway {
    fn name(&self) -> &'static str {
        NAME
    }

    /// The sandbox keeps no names: every card gets a customer of its own there.
    fn save_method<'a>(
        &'a self,
        _customer: &'a str,
        token: &'a str,
        now: DateTime<Utc>,
    ) -> Answer<'a, SavedMethod> {
        Box::pin(async move {
            let customer = self.0.create_customer(now).await.map_err(error)?;
            let method = self.0.attach(token, &customer, now).await.map_err(error)?;
            Ok(SavedMethod {
                reference: method.reference,
                brand: method.brand,
                last4: method.last4,
                expires_on: Some(format!("{}-{:02}", method.exp_year, method.exp_month)),
            })
        })
    }

    fn charge<'a>(&'a self, charge: &'a Charge, now: DateTime<Utc>) -> Answer<'a, Verdict> {
        Box::pin(async move {
            let request = ChargeRequest {
                idempotency_key: charge.idempotency_key.clone(),
                method: charge.method.clone(),
                amount_minor: charge.amount.minor(),
                currency: charge.amount.currency().code().to_owned(),
                capture: true,
                off_session: charge.off_session,
                metadata: BTreeMap::from([("attempt".to_owned(), charge.attempt.to_string())]),
            };
            verdict(self.0.charge(&request, now).await.map_err(error)?)
        })
    }

    fn look_up<'a>(&'a self, idempotency_key: &'a str) -> Answer<'a, Option<Verdict>> {
        Box::pin(async move {
            let found = self.0.find_by_idempotency_key(idempotency_key).await.map_err(error)?;
            found.map(verdict).transpose()
        })
    }

    fn refund<'a>(
        &'a self,
        idempotency_key: &'a str,
        reference: &'a str,
        amount: Money,
        metadata: BTreeMap<String, String>,
        now: DateTime<Utc>,
    ) -> Answer<'a, String> {
        Box::pin(async move {
            let request = RefundRequest {
                idempotency_key: idempotency_key.to_owned(),
                charge: reference.to_owned(),
                amount_minor: amount.minor(),
                metadata,
            };
            Ok(self.0.refund(&request, now).await.map_err(error)?.reference)
        })
    }

    fn look_up_refund<'a>(&'a self, idempotency_key: &'a str) -> Answer<'a, Option<String>> {
        Box::pin(async move {
            let found = self.0.find_refund_by_idempotency_key(idempotency_key).await.map_err(error)?;
            Ok(found.map(|refund| refund.reference))
        })
    }
}

fn verdict(charge: accrue_sandbox_gateway::Charge) -> Result<Verdict, GatewayError> {
    let reference = charge.reference;
    match charge.status {
        ChargeStatus::Succeeded => Ok(Verdict::Succeeded { reference }),
        ChargeStatus::Declined => {
            let code = charge.decline_code.unwrap_or_else(|| "generic_decline".to_owned());
            Ok(Verdict::Declined { reference, code })
        }
        ChargeStatus::Canceled => Ok(Verdict::Declined { reference, code: "canceled".to_owned() }),
        ChargeStatus::RequiresAction => Ok(Verdict::NeedsAction { reference }),
        ChargeStatus::Pending => Ok(Verdict::Pending { reference }),
        ChargeStatus::Authorized => {
            Err(GatewayError::Invalid("the charge is only authorized, and we always capture".to_owned()))
        }
    }
}

/// After [`GatewayError::Unknown`] it may have happened; after the others nothing has.
fn error(error: SandboxError) -> GatewayError {
    match error {
        SandboxError::Timeout | SandboxError::Database(_) => GatewayError::Unknown,
        SandboxError::Unavailable => GatewayError::Unavailable,
        SandboxError::InvalidRequest(why) => GatewayError::Invalid(why),
        SandboxError::UnknownToken(_)
        | SandboxError::NotFound { .. }
        | SandboxError::IdempotencyConflict(_)
        | SandboxError::IllegalStep(_)
        | SandboxError::RefundTooLarge { .. }
        | SandboxError::Disputed => GatewayError::Invalid(error.to_string()),
    }
}
