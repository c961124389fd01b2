//! Which event becomes which mail, and what the mail says, read from the event's own words: other
//! capabilities are known by what they tell.

use accrue_core::{
    id::{CustomerId, InvoiceId},
    money::{Currency, Money, MoneyError},
};
use accrue_platform::outbox::Event;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use sea_orm::{ConnectionTrait, DbErr};
use serde::Deserialize;

use super::render::{
    AccessRestricted, ActionRequired, Amount, Content, Day, Decline, InvoiceIssued, Kind, Line,
    PaymentFailed, PaymentReceipt, PaymentRecovered, Settlement, SubscriptionCanceled, TrialWillEnd,
};
use crate::invoices;

/// Why a mail cannot be written from its event.
#[derive(Debug, thiserror::Error)]
pub(super) enum ContentError {
    #[error("the event does not say what the mail needs")]
    Event(#[from] serde_json::Error),
    #[error("the event's amount is none")]
    Amount(#[from] MoneyError),
    #[error("there is no mail of the kind {0}")]
    Kind(String),
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// What goes into a mail.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) content: Content,
    /// Whose PDF travels with it.
    pub(super) attached_invoice: Option<InvoiceId>,
    pub(super) attachment_name: String,
}

#[derive(Deserialize)]
struct Data<T> {
    object: T,
}

#[derive(Deserialize)]
struct InvoiceFacts {
    id: InvoiceId,
    number: String,
    collection: String,
    currency: Currency,
    lines: Vec<LineFacts>,
    total: String,
    amount_due: String,
    due_at: DateTime<Utc>,
}

#[derive(Deserialize)]
struct LineFacts {
    description: String,
    amount: String,
}

#[derive(Deserialize)]
struct PaymentFacts {
    invoice: InvoiceId,
    currency: Currency,
    amount: String,
    attempts: Vec<AttemptFacts>,
}

#[derive(Deserialize)]
struct AttemptFacts {
    status: String,
    brand: String,
    last4: String,
}

#[derive(Deserialize)]
struct DunningFacts {
    invoice_number: Option<String>,
    currency: Currency,
    amount_due: String,
    attempts: u32,
    next_try_at: Option<DateTime<Utc>>,
    access_ends_at: Option<DateTime<Utc>>,
    decline_code: Option<String>,
    brand: Option<String>,
    last4: Option<String>,
    ended_at: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
struct SubscriptionFacts {
    customer: CustomerId,
    plan: PlanFacts,
    access: String,
    cancel_reason: Option<String>,
    ended_at: Option<DateTime<Utc>>,
    cancel_at: Option<DateTime<Utc>>,
    trial_end: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
struct PlanFacts {
    name: String,
}

#[derive(Deserialize)]
struct Previous {
    previous: Option<PreviousAccess>,
}

#[derive(Deserialize)]
struct PreviousAccess {
    access: Option<String>,
}

/// The mail that follows from an event; most have none.
pub(super) fn kind_of(event: &Event) -> Option<Kind> {
    match event.kind.as_str() {
        "invoice.finalized" => Some(Kind::InvoiceIssued),
        // A payment that had to be chased is told of by the end of the chase.
        "payment.captured" => (!was_declined_before(event)).then_some(Kind::PaymentReceipt),
        "payment.requires_action" => Some(Kind::ActionRequired),
        "dunning.started" | "dunning.step" => Some(Kind::PaymentFailed),
        "dunning.recovered" => Some(Kind::PaymentRecovered),
        "subscription.changed" | "subscription.past_due" => {
            became_restricted(event).then_some(Kind::AccessRestricted)
        }
        "subscription.canceled" => Some(Kind::SubscriptionCanceled),
        "subscription.trial_will_end" => Some(Kind::TrialWillEnd),
        _ => None,
    }
}

fn was_declined_before(event: &Event) -> bool {
    read::<PaymentFacts>(event)
        .is_ok_and(|payment| payment.attempts.iter().any(|attempt| attempt.status == "declined"))
}

fn became_restricted(event: &Event) -> bool {
    let before = serde_json::from_str::<Previous>(&event.data).ok().and_then(|data| data.previous?.access);
    before.is_some() && read::<SubscriptionFacts>(event).is_ok_and(|now| now.access == "restricted")
}

/// What the mail of `kind` says about the event. Days are the customer's.
pub(super) async fn of(
    db: &impl ConnectionTrait,
    kind: &str,
    event: &Event,
    zone: Tz,
) -> Result<Written, ContentError> {
    let day = |at: DateTime<Utc>| Day(at.with_timezone(&zone).date_naive());
    let content = match kind {
        "invoice_issued" => return invoice_issued(event, zone),
        "payment_receipt" => return payment_receipt(db, event, zone).await,
        "action_required" => action_required(db, event).await?,
        "payment_failed" => payment_failed(read(event)?, zone)?,
        "payment_recovered" => payment_recovered(read(event)?, day(event.created_at))?,
        "access_restricted" => access_restricted(db, event, day(event.created_at)).await?,
        "subscription_canceled" => subscription_canceled(read(event)?, zone),
        "trial_will_end" => trial_will_end(read(event)?, day(event.created_at), zone),
        unknown => return Err(ContentError::Kind(unknown.to_owned())),
    };
    Ok(Written { content, attached_invoice: None, attachment_name: String::new() })
}

fn read<T: for<'de> Deserialize<'de>>(event: &Event) -> Result<T, serde_json::Error> {
    serde_json::from_str::<Data<T>>(&event.data).map(|data| data.object)
}

fn amount(text: &str, currency: Currency) -> Result<Amount, MoneyError> {
    Money::parse(text, currency).map(Amount)
}

/// `Visa ending in 4242`.
fn method(brand: &str, last4: &str) -> String {
    let mut letters = brand.chars();
    let capital = letters.next().map(|first| first.to_uppercase().collect::<String>()).unwrap_or_default();
    format!("{capital}{} ending in {last4}", letters.as_str())
}

fn invoice_issued(event: &Event, zone: Tz) -> Result<Written, ContentError> {
    let invoice: InvoiceFacts = read(event)?;
    let currency = invoice.currency;
    let amount_due = amount(&invoice.amount_due, currency)?;
    let settlement = match invoice.collection.as_str() {
        _ if amount_due.0.is_zero() => Settlement::Settled,
        "automatic" => Settlement::Automatic { method: "your saved payment method".to_owned() },
        _ => Settlement::Manual,
    };
    let line = |line: LineFacts| {
        Ok(Line { description: line.description, detail: None, amount: amount(&line.amount, currency)? })
    };
    let content = Content::InvoiceIssued(InvoiceIssued {
        number: invoice.number.clone(),
        total: amount(&invoice.total, currency)?,
        covered: None,
        amount_due,
        due_on: Day(invoice.due_at.with_timezone(&zone).date_naive()),
        settlement,
        lines: invoice.lines.into_iter().map(line).collect::<Result<_, MoneyError>>()?,
        invoice_url: None,
        pdf_attached: cfg!(feature = "documents"),
    });
    Ok(with_document(content, invoice.id, invoice.number))
}

/// Attaches the invoice, in a program that can make documents.
fn with_document(content: Content, invoice: InvoiceId, number: String) -> Written {
    let attached_invoice = cfg!(feature = "documents").then_some(invoice);
    Written { content, attached_invoice, attachment_name: number }
}

async fn number_of(
    db: &impl ConnectionTrait,
    event: &Event,
    invoice: InvoiceId,
) -> Result<String, ContentError> {
    match invoices::service::get(db, event.tenant_id, invoice).await {
        Ok(invoice) => Ok(invoice.number.unwrap_or_default()),
        Err(invoices::service::InvoiceError::Database(error)) => Err(error.into()),
        Err(_) => Ok(String::new()),
    }
}

async fn payment_receipt(
    db: &impl ConnectionTrait,
    event: &Event,
    zone: Tz,
) -> Result<Written, ContentError> {
    let payment: PaymentFacts = read(event)?;
    let number = number_of(db, event, payment.invoice).await?;
    let content = Content::PaymentReceipt(PaymentReceipt {
        invoice_number: number.clone(),
        amount: amount(&payment.amount, payment.currency)?,
        paid_on: Day(event.created_at.with_timezone(&zone).date_naive()),
        method: payment.attempts.last().map(|attempt| method(&attempt.brand, &attempt.last4)),
        left_to_pay: None,
        invoice_url: None,
        pdf_attached: cfg!(feature = "documents"),
    });
    Ok(with_document(content, payment.invoice, number))
}

async fn action_required(db: &impl ConnectionTrait, event: &Event) -> Result<Content, ContentError> {
    let payment: PaymentFacts = read(event)?;
    Ok(Content::ActionRequired(ActionRequired {
        invoice_number: number_of(db, event, payment.invoice).await?,
        amount: amount(&payment.amount, payment.currency)?,
        method: payment.attempts.last().map(|attempt| method(&attempt.brand, &attempt.last4)),
        confirm_url: None,
        confirm_by: None,
    }))
}

fn payment_failed(dunning: DunningFacts, zone: Tz) -> Result<Content, ContentError> {
    let day = |at: DateTime<Utc>| Day(at.with_timezone(&zone).date_naive());
    Ok(Content::PaymentFailed(PaymentFailed {
        amount: amount(&dunning.amount_due, dunning.currency)?,
        method: dunning
            .brand
            .as_deref()
            .zip(dunning.last4.as_deref())
            .map(|(brand, last4)| method(brand, last4)),
        invoice_number: dunning.invoice_number.unwrap_or_default(),
        attempt: dunning.attempts,
        decline: wording(dunning.decline_code.as_deref()),
        next_try_on: dunning.next_try_at.map(day),
        access_ends_on: dunning.access_ends_at.map(day),
        update_url: None,
    }))
}

/// What a decline code means to the customer. Codes that would tell a thief something are not explained.
fn wording(code: Option<&str>) -> Decline {
    match code.unwrap_or_default() {
        "insufficient_funds" => Decline::InsufficientFunds,
        "expired_card" => Decline::ExpiredCard,
        "incorrect_number" | "incorrect_cvc" | "invalid_expiry_month" | "invalid_expiry_year" => {
            Decline::WrongDetails
        }
        "card_velocity_exceeded" | "withdrawal_count_limit_exceeded" | "amount_too_large" => {
            Decline::LimitExceeded
        }
        "card_not_supported" | "currency_not_supported" | "transaction_not_allowed" => Decline::NotSupported,
        "closed_account" | "account_closed" | "no_payment_method" => Decline::MethodClosed,
        "mandate_revoked" | "revocation_of_authorization" | "stop_payment_order" => Decline::MandateRevoked,
        "issuer_not_available" | "processing_error" | "try_again_later" => Decline::BankUnavailable,
        _ => Decline::Unexplained,
    }
}

fn payment_recovered(dunning: DunningFacts, today: Day) -> Result<Content, ContentError> {
    Ok(Content::PaymentRecovered(PaymentRecovered {
        amount: amount(&dunning.amount_due, dunning.currency)?,
        invoice_number: dunning.invoice_number.unwrap_or_default(),
        paid_on: today,
        method: dunning
            .brand
            .as_deref()
            .zip(dunning.last4.as_deref())
            .map(|(brand, last4)| method(brand, last4)),
        access_restored: dunning.ended_at.is_some(),
        invoice_url: None,
    }))
}

async fn access_restricted(
    db: &impl ConnectionTrait,
    event: &Event,
    since: Day,
) -> Result<Content, ContentError> {
    let subscription: SubscriptionFacts = read(event)?;
    let open = invoices::service::open_of_customer(db, event.tenant_id, subscription.customer).await?;
    let currency = open.first().map_or(Currency::USD, |invoice| invoice.currency);
    let due = open.iter().map(invoices::Invoice::amount_due).filter(|due| due.currency() == currency);
    Ok(Content::AccessRestricted(AccessRestricted {
        amount_due: Amount(Money::sum(currency, due)?),
        invoice_number: open.first().and_then(|invoice| invoice.number.clone()),
        since,
        suspended: false,
        pay_url: None,
    }))
}

fn subscription_canceled(subscription: SubscriptionFacts, zone: Tz) -> Content {
    let until = subscription.ended_at.or(subscription.cancel_at);
    Content::SubscriptionCanceled(SubscriptionCanceled {
        plan_name: subscription.plan.name,
        unpaid: subscription.cancel_reason.as_deref() == Some("unpaid"),
        access_until: until.map(|at| Day(at.with_timezone(&zone).date_naive())),
        restart_url: None,
    })
}

fn trial_will_end(subscription: SubscriptionFacts, today: Day, zone: Tz) -> Content {
    Content::TrialWillEnd(TrialWillEnd {
        plan_name: subscription.plan.name,
        ends_on: subscription.trial_end.map_or(today, |at| Day(at.with_timezone(&zone).date_naive())),
        price: None,
        method: None,
        manage_url: None,
    })
}

#[cfg(test)]
mod tests {
    use accrue_core::id::{EventId, TenantId};

    use super::*;

    fn event(kind: &str, data: &str) -> Event {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        Event {
            tenant_id: TenantId::new(now),
            id: EventId::new(now),
            kind: kind.to_owned(),
            object_id: String::new(),
            customer_id: None,
            test_clock_id: None,
            data: data.to_owned(),
            cause: String::new(),
            sequence: None,
            created_at: now,
        }
    }

    #[test]
    fn a_chased_payment_gets_no_receipt_beside_the_end_of_the_chase() {
        let payment = |statuses: &[&str]| {
            let attempts: Vec<_> = statuses
                .iter()
                .map(|status| format!(r#"{{"status":"{status}","brand":"visa","last4":"4242"}}"#))
                .collect();
            let id = InvoiceId::new("2026-01-01T00:00:00Z".parse().unwrap());
            let attempts = attempts.join(",");
            event(
                "payment.captured",
                &format!(
                    r#"{{"object":{{"invoice":"{id}","currency":"USD","amount":"1.00","attempts":[{attempts}]}}}}"#
                ),
            )
        };
        assert_eq!(kind_of(&payment(&["succeeded"])), Some(Kind::PaymentReceipt));
        assert_eq!(kind_of(&payment(&["error", "succeeded"])), Some(Kind::PaymentReceipt));
        assert_eq!(kind_of(&payment(&["declined", "succeeded"])), None);
    }

    #[test]
    fn a_mail_about_access_follows_only_from_a_change_to_restricted() {
        let id = CustomerId::new("2026-01-01T00:00:00Z".parse().unwrap());
        let changed = |access: &str, previous: &str| {
            let object = format!(r#"{{"customer":"{id}","plan":{{"name":"Pro"}},"access":"{access}"}}"#);
            event("subscription.changed", &format!(r#"{{"object":{object},"previous":{previous}}}"#))
        };
        assert_eq!(kind_of(&changed("restricted", r#"{"access":"grace"}"#)), Some(Kind::AccessRestricted));
        assert_eq!(kind_of(&changed("restricted", r#"{"current_period":{}}"#)), None);
        assert_eq!(kind_of(&changed("full", r#"{"access":"restricted"}"#)), None);
    }

    #[test]
    fn a_stolen_card_is_not_explained_to_whoever_reads_the_mail() {
        assert_eq!(wording(Some("stolen_card")), Decline::Unexplained);
        assert_eq!(wording(Some("insufficient_funds")), Decline::InsufficientFunds);
    }

    #[test]
    fn a_method_is_named_as_people_know_it() {
        assert_eq!(method("visa", "4242"), "Visa ending in 4242");
    }
}
