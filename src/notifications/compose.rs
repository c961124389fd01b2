//! From the facts of an event to what the email says. Pure: everything was loaded before.

use accrue_core::{
    decimal::Number,
    money::{Currency, Money, MoneyError},
};
use accrue_platform::outbox::Event;
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use super::{
    render::{
        AccessRestricted, ActionRequired, Amount, Color, Content, Context, Day, Decline, InvoiceIssued, Kind,
        Line, PaymentFailed, PaymentReceipt, PaymentRecovered, Settlement, SubscriptionCanceled, TaxSum,
        Tenant, TrialWillEnd,
    },
    told::{Told, ToldDunning, ToldInvoice, ToldLine, ToldPayment, ToldSubscription, ToldTax},
};
use crate::{auth, customers::Customer, invoices::Invoice};

/// What a payment method is called where an event does not say which one it will be.
const SAVED_METHOD: &str = "your saved payment method";

/// An event does not hold what its email needs: a mistake of ours.
#[derive(Debug, thiserror::Error)]
pub(super) enum ComposeError {
    #[error("the event's data cannot be read")]
    Data(#[from] serde_json::Error),
    #[error("the event's amounts cannot be read")]
    Amount(#[from] MoneyError),
    #[error("the event's invoice is missing")]
    NoInvoice,
}

/// Everything that an email is written from.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// As it bills the customer; about an invoice, as it was issued.
    pub tenant: auth::Tenant,
    pub customer: Customer,
    pub recipient_name: String,
    pub event: Event,
    /// As it is now: the one the event is about.
    pub invoice: Option<Invoice>,
    /// The customer's open invoices, as they are now.
    pub open: Vec<Invoice>,
    pub pdf_attached: bool,
}

impl Facts {
    /// What the email of this kind says.
    pub fn context(&self, kind: Kind) -> Result<Context, ComposeError> {
        let content = match kind {
            Kind::InvoiceIssued => Content::InvoiceIssued(self.invoice_issued()?),
            Kind::PaymentReceipt => Content::PaymentReceipt(self.payment_receipt()?),
            Kind::PaymentFailed => Content::PaymentFailed(self.payment_failed()?),
            Kind::ActionRequired => Content::ActionRequired(self.action_required()?),
            Kind::TrialWillEnd => Content::TrialWillEnd(self.trial_will_end()?),
            Kind::SubscriptionCanceled => Content::SubscriptionCanceled(self.subscription_canceled()?),
            Kind::AccessRestricted => Content::AccessRestricted(self.access_restricted()?),
            Kind::PaymentRecovered => Content::PaymentRecovered(self.payment_recovered()?),
        };
        let issuer = &self.tenant.settings.issuer;
        let tenant = Tenant {
            name: self.seller().to_owned(),
            color: self.tenant.settings.brand_color.parse().unwrap_or(Color::DEFAULT),
            address: issuer.address.clone(),
            support_email: issuer.email.clone(),
        };
        let recipient_name = Some(self.recipient_name.clone());
        Ok(Context { tenant, recipient_name, livemode: self.tenant.livemode, content })
    }

    /// In whose name the email is written.
    pub fn seller(&self) -> &str {
        &self.tenant.name
    }

    fn invoice_issued(&self) -> Result<InvoiceIssued, ComposeError> {
        let invoice = Told::<ToldInvoice>::by(&self.event)?.object;
        let (total, due) =
            (invoice.total.in_currency(invoice.currency)?, invoice.amount_due.in_currency(invoice.currency)?);
        let covered = total.checked_sub(due)?;
        let charged = invoice.collection == "automatic" && self.customer.default_payment_method_id.is_some();
        let settlement = match charged {
            _ if due.is_zero() => Settlement::Settled,
            true => Settlement::Automatic { method: SAVED_METHOD.to_owned() },
            false => Settlement::Manual,
        };
        let lines = invoice.lines.iter().map(|line| self.line(line, invoice.currency));
        let taxes = invoice.taxes.iter().map(|tax| tax_sum(tax, invoice.currency));
        let subtotal = invoice.subtotal.in_currency(invoice.currency)?;
        let discount = invoice.discount_total.in_currency(invoice.currency)?;
        Ok(InvoiceIssued {
            lines: lines.collect::<Result<_, _>>()?,
            subtotal: (subtotal != total || !invoice.taxes.is_empty()).then(|| subtotal.into()),
            discount: (!discount.is_zero()).then(|| discount.into()),
            taxes: taxes.collect::<Result<_, _>>()?,
            tax_note: invoice.exemption_note,
            number: invoice.number.unwrap_or_default(),
            total: total.into(),
            covered: (covered.minor() > 0).then(|| covered.into()),
            amount_due: due.into(),
            due_on: self.day(invoice.due_at.unwrap_or(self.event.created_at)),
            settlement,
            invoice_url: None,
            pdf_attached: self.pdf_attached,
        })
    }

    fn line(&self, line: &ToldLine, currency: Currency) -> Result<Line, MoneyError> {
        let (first, last) = (self.day(line.period.start), self.last_day(line.period.end));
        let days = if first == last { first.to_string() } else { format!("{first} – {last}") };
        let detail = match line.unit_price {
            Some(price) if line.quantity != Number(1.into()) => {
                format!("{} × {}, {days}", line.quantity.0.normalize(), unit_price(price, currency))
            }
            _ => days,
        };
        let amount = line.amount.in_currency(currency)?.into();
        Ok(Line { description: line.description.clone(), detail: Some(detail), amount })
    }

    fn payment_receipt(&self) -> Result<PaymentReceipt, ComposeError> {
        let payment = Told::<ToldPayment>::by(&self.event)?.object;
        let invoice = self.invoice()?;
        let left = invoice.amount_due();
        Ok(PaymentReceipt {
            invoice_number: number(invoice),
            amount: payment.amount.in_currency(payment.currency)?.into(),
            paid_on: self.day(self.event.created_at),
            method: last_method(&payment),
            left_to_pay: (!left.is_zero()).then(|| left.into()),
            invoice_url: None,
            pdf_attached: self.pdf_attached,
        })
    }

    fn payment_failed(&self) -> Result<PaymentFailed, ComposeError> {
        let dunning = Told::<ToldDunning>::by(&self.event)?.object;
        Ok(PaymentFailed {
            amount: dunning.amount_due.in_currency(dunning.currency)?.into(),
            method: method(dunning.brand.as_deref(), dunning.last4.as_deref()),
            attempt: dunning.attempts.max(1),
            decline: dunning.decline_code.as_deref().map_or(Decline::Unexplained, decline),
            next_try_on: dunning.next_try_at.map(|at| self.day(at)),
            access_ends_on: dunning.access_ends_at.map(|at| self.day(at)),
            invoice_number: dunning.invoice_number.unwrap_or_default(),
            update_url: None,
        })
    }

    /// Asked for when the bank asks, and again by each step of dunning.
    fn action_required(&self) -> Result<ActionRequired, ComposeError> {
        let invoice_number = number(self.invoice()?);
        let (amount, method) = if self.event.kind == "payment.requires_action" {
            let payment = Told::<ToldPayment>::by(&self.event)?.object;
            (payment.amount.in_currency(payment.currency)?, last_method(&payment))
        } else {
            let dunning = Told::<ToldDunning>::by(&self.event)?.object;
            let method = method(dunning.brand.as_deref(), dunning.last4.as_deref());
            (dunning.amount_due.in_currency(dunning.currency)?, method)
        };
        let amount = amount.into();
        Ok(ActionRequired { invoice_number, amount, method, confirm_url: None, confirm_by: None })
    }

    fn trial_will_end(&self) -> Result<TrialWillEnd, ComposeError> {
        let subscription = Told::<ToldSubscription>::by(&self.event)?.object;
        Ok(TrialWillEnd {
            plan_name: subscription.plan.name,
            ends_on: self.day(subscription.trial_end.unwrap_or(self.event.created_at)),
            price: None,
            method: self.customer.default_payment_method_id.map(|_| SAVED_METHOD.to_owned()),
            manage_url: None,
        })
    }

    fn subscription_canceled(&self) -> Result<SubscriptionCanceled, ComposeError> {
        let subscription = Told::<ToldSubscription>::by(&self.event)?.object;
        let goes_on = subscription.status != "canceled";
        Ok(SubscriptionCanceled {
            plan_name: subscription.plan.name,
            unpaid: subscription.cancel_reason.as_deref() == Some("unpaid"),
            access_until: subscription.cancel_at.filter(|_| goes_on).map(|at| self.last_day(at)),
            restart_url: None,
        })
    }

    fn access_restricted(&self) -> Result<AccessRestricted, ComposeError> {
        let first = self.open.first().ok_or(ComposeError::NoInvoice)?;
        let same_currency = self.open.iter().filter(|invoice| invoice.currency == first.currency);
        let amount_due = Money::sum(first.currency, same_currency.map(Invoice::amount_due))?;
        Ok(AccessRestricted {
            amount_due: amount_due.into(),
            invoice_number: (self.open.len() == 1).then(|| number(first)),
            since: self.day(self.event.created_at),
            suspended: false,
            pay_url: None,
        })
    }

    fn payment_recovered(&self) -> Result<PaymentRecovered, ComposeError> {
        let dunning = Told::<ToldDunning>::by(&self.event)?.object;
        Ok(PaymentRecovered {
            amount: dunning.amount_due.in_currency(dunning.currency)?.into(),
            invoice_number: dunning.invoice_number.unwrap_or_default(),
            paid_on: self.day(self.event.created_at),
            // The event names the card that failed, which need not be the one that paid.
            method: None,
            access_restored: self.open.is_empty(),
            invoice_url: None,
            pdf_attached: self.pdf_attached,
        })
    }

    fn invoice(&self) -> Result<&Invoice, ComposeError> {
        self.invoice.as_ref().ok_or(ComposeError::NoInvoice)
    }

    fn zone(&self) -> Tz {
        self.customer.zone(&self.tenant)
    }

    /// The customer's calendar day.
    fn day(&self, at: DateTime<Utc>) -> Day {
        at.with_timezone(&self.zone()).date_naive().into()
    }

    /// The last day before an end that is not included.
    fn last_day(&self, end: DateTime<Utc>) -> Day {
        self.day(end - TimeDelta::microseconds(1))
    }
}

fn number(invoice: &Invoice) -> String {
    invoice.number.clone().unwrap_or_default()
}

fn tax_sum(tax: &ToldTax, currency: Currency) -> Result<TaxSum, MoneyError> {
    let label = format!("{} {}%", tax.name, tax.rate.0.normalize());
    let included = tax.inclusive.then_some("included");
    let more: Vec<&str> = tax.jurisdiction.as_deref().into_iter().chain(included).collect();
    let label = if more.is_empty() { label } else { format!("{label} ({})", more.join(", ")) };
    Ok(TaxSum { label, amount: tax.amount.in_currency(currency)?.into() })
}

/// `$12.00`, or `USD 0.0004` where the currency has too few digits.
fn unit_price(price: Number, currency: Currency) -> String {
    match Money::exact(price.0, currency) {
        Ok(money) => Amount(money).to_string(),
        Err(_) => format!("{} {}", currency.code(), price.0.normalize()),
    }
}

fn last_method(payment: &ToldPayment) -> Option<String> {
    payment.attempts.last().and_then(|attempt| method(Some(&attempt.brand), Some(&attempt.last4)))
}

/// As people know it: `Visa ending in 4242`.
fn method(brand: Option<&str>, last4: Option<&str>) -> Option<String> {
    let (brand, last4) = (brand.filter(|brand| !brand.is_empty())?, last4?);
    let name = match brand {
        "amex" => "American Express".to_owned(),
        "sepa_debit" => "SEPA account".to_owned(),
        other => {
            let (first, rest) = other.split_at(other.chars().next().map_or(0, char::len_utf8));
            format!("{}{}", first.to_uppercase(), rest.replace('_', " "))
        }
    };
    Some(format!("{name} ending in {last4}"))
}

/// What the customer may know of a decline: that a card was reported stolen stays between the bank and us.
fn decline(code: &str) -> Decline {
    match code {
        "insufficient_funds" => Decline::InsufficientFunds,
        "expired_card" => Decline::ExpiredCard,
        "incorrect_number" | "invalid_number" | "invalid_expiry" | "incorrect_cvc" => Decline::WrongDetails,
        "card_velocity_exceeded" | "withdrawal_count_limit_exceeded" => Decline::LimitExceeded,
        "card_not_supported" | "transaction_not_allowed" | "debit_not_authorized" => Decline::NotSupported,
        "account_closed" | "invalid_account" => Decline::MethodClosed,
        "mandate_revoked" | "revocation_of_authorization" | "revocation_of_all_authorizations" => {
            Decline::MandateRevoked
        }
        "issuer_not_available" | "processing_error" | "try_again_later" => Decline::BankUnavailable,
        "no_payment_method" => Decline::NoMethod,
        _ => Decline::Unexplained,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_has_the_name_that_people_know() {
        assert_eq!(method(Some("visa"), Some("4242")).as_deref(), Some("Visa ending in 4242"));
        assert_eq!(method(Some("amex"), Some("0005")).as_deref(), Some("American Express ending in 0005"));
        assert_eq!(method(Some("über_card"), Some("1")).as_deref(), Some("Über card ending in 1"));
        assert_eq!(method(None, Some("4242")), None);
        assert_eq!(method(Some(""), Some("")), None);
    }

    #[test]
    fn nobody_is_told_that_a_card_was_stolen_or_that_fraud_is_suspected() {
        for code in
            ["stolen_card", "lost_card", "pickup_card", "fraudulent", "security_violation", "unheard_of"]
        {
            assert_eq!(decline(code), Decline::Unexplained, "{code}");
        }
    }

    #[test]
    fn a_unit_price_keeps_all_its_digits() {
        let price = |text: &str| unit_price(Number(text.parse().unwrap()), Currency::USD);
        assert_eq!(price("12"), "$12.00");
        assert_eq!(price("0.00040"), "USD 0.0004");
    }
}
