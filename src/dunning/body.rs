//! A dunning as others see it: in answers and in events.

use accrue_core::{
    id::{CustomerId, DunningId, InvoiceId, SubscriptionId},
    money::{Currency, Money},
};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::model::{DEFAULT, Dunning, DunningStatus};
use crate::{payments::DeclineClass, subscriptions::Access};

/// The chase of one unpaid invoice.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Dunning)]
pub struct DunningBody {
    pub id: DunningId,
    #[schema(example = "dunning")]
    pub object: &'static str,
    pub livemode: bool,
    pub customer: CustomerId,
    pub invoice: InvoiceId,
    #[schema(example = "INV-000001")]
    pub invoice_number: Option<String>,
    pub subscription: Option<SubscriptionId>,
    pub status: DunningStatus,
    /// What this debt leaves of the customer's access.
    pub access: Access,
    /// When access will be restricted if nothing is paid; null if it is, or will not be.
    pub access_ends_at: Option<DateTime<Utc>>,
    pub currency: Currency,
    /// What was due when it began.
    pub amount_due: Money,
    /// How often Accrue tried to collect it.
    #[schema(example = 1)]
    pub attempts: u32,
    /// The last step that was taken; 0 for none.
    #[schema(example = 0)]
    pub step: i32,
    /// When the next step is due: a try, or only a reminder. Null while a try's outcome is awaited.
    pub next_step_at: Option<DateTime<Utc>>,
    /// When Accrue tries next; null when only another payment method, or the customer, can help.
    pub next_try_at: Option<DateTime<Utc>>,
    /// Does trying again wait for another payment method, or for the customer?
    pub retries_stopped: bool,
    /// Why the last try failed, in the networks' wording.
    #[schema(example = "insufficient_funds")]
    pub decline_code: Option<String>,
    pub decline_class: Option<DeclineClass>,
    /// The card that was tried last.
    #[schema(example = "visa")]
    pub brand: Option<String>,
    #[schema(example = "9995")]
    pub last4: Option<String>,
    pub started_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
}

impl DunningBody {
    pub(super) fn new(dunning: &Dunning, livemode: bool) -> Self {
        Self {
            id: dunning.id,
            object: "dunning",
            livemode,
            customer: dunning.customer_id,
            invoice: dunning.invoice_id,
            invoice_number: dunning.invoice_number.clone(),
            subscription: dunning.subscription_id,
            status: dunning.status,
            access: dunning.access,
            access_ends_at: dunning.restricts_at(&DEFAULT),
            currency: dunning.amount.currency(),
            amount_due: dunning.amount,
            attempts: dunning.failure.attempts,
            step: dunning.step,
            next_step_at: dunning.next_step_at,
            next_try_at: dunning.next_try_at(),
            retries_stopped: dunning.retries_stopped,
            decline_code: dunning.failure.decline_code.clone(),
            decline_class: dunning.failure.decline_class,
            brand: dunning.failure.brand.clone(),
            last4: dunning.failure.last4.clone(),
            started_at: dunning.started_at,
            ended_at: dunning.ended_at,
            metadata: dunning.metadata.clone(),
            created_at: dunning.created_at,
        }
    }
}
