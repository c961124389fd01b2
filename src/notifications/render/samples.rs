//! One email of each kind, for tests: `full` with every optional fact, `bare` with none.

use accrue_core::money::{Currency, Money};
use chrono::NaiveDate;

use super::*;

fn euros(minor: i64) -> Amount {
    Money::from_minor(minor, Currency::EUR).into()
}

fn february(day: u32) -> Day {
    NaiveDate::from_ymd_opt(2026, 2, day).unwrap().into()
}

fn context(content: Content) -> Context {
    let address = ["Harbour Street 1", "1010 Vienna", "Austria"].map(str::to_owned).to_vec();
    let tenant = Tenant {
        name: "Acme Cloud".to_owned(),
        color: "#0f766e".parse().unwrap(),
        address,
        support_email: Some("help@acme.example".to_owned()),
    };
    Context { tenant, recipient_name: Some("Zoë Ångström".to_owned()), livemode: true, content }
}

/// With every optional fact.
pub(crate) fn full(kind: Kind) -> Context {
    with_texts_of(kind, "Visa ending in 4242", "Pro", "INV-0042", "API requests")
}

/// With `text` wherever a text from outside can stand.
pub(crate) fn with_texts(kind: Kind, text: &str) -> Context {
    let mut context = with_texts_of(kind, text, text, text, text);
    text.clone_into(&mut context.tenant.name);
    context.tenant.address = vec![text.to_owned(); 2];
    context.tenant.support_email = Some(text.to_owned());
    context.recipient_name = Some(text.to_owned());
    context
}

fn with_texts_of(kind: Kind, method: &str, plan_name: &str, number: &str, description: &str) -> Context {
    let link = || Some("https://billing.example/p/abc?a=1&b=2".parse().unwrap());
    let (plan_name, number) = (plan_name.to_owned(), number.to_owned());
    let settlement = Settlement::Automatic { method: method.to_owned() };
    let method = Some(method.to_owned());
    context(match kind {
        Kind::InvoiceIssued => Content::InvoiceIssued(InvoiceIssued {
            number,
            subtotal: Some(euros(113_450)),
            discount: Some(euros(1_305)),
            taxes: vec![TaxSum { label: format!("{description} 19%"), amount: euros(21_305) }],
            tax_note: Some(format!("Margin scheme: {description}")),
            total: euros(133_450),
            covered: Some(euros(10_000)),
            amount_due: euros(123_450),
            due_on: february(14),
            settlement,
            lines: lines(&plan_name, description),
            invoice_url: link(),
            pdf_attached: true,
        }),
        Kind::PaymentReceipt => Content::PaymentReceipt(PaymentReceipt {
            invoice_number: number,
            amount: euros(123_450),
            paid_on: february(1),
            method,
            left_to_pay: Some(euros(10_000)),
            invoice_url: link(),
            pdf_attached: true,
        }),
        Kind::PaymentFailed => Content::PaymentFailed(payment_failed(number, method, link())),
        Kind::ActionRequired => Content::ActionRequired(ActionRequired {
            invoice_number: number,
            amount: euros(123_450),
            method,
            confirm_url: link(),
            confirm_by: Some(february(14)),
        }),
        Kind::TrialWillEnd => Content::TrialWillEnd(TrialWillEnd {
            plan_name,
            ends_on: february(14),
            price: Some(RecurringPrice { amount: euros(8_900), interval: "month".to_owned() }),
            method,
            manage_url: link(),
        }),
        Kind::SubscriptionCanceled => Content::SubscriptionCanceled(SubscriptionCanceled {
            plan_name,
            unpaid: false,
            access_until: Some(february(28)),
            restart_url: link(),
        }),
        Kind::AccessRestricted => Content::AccessRestricted(AccessRestricted {
            amount_due: euros(123_450),
            invoice_number: Some(number),
            since: february(14),
            suspended: false,
            pay_url: link(),
        }),
        Kind::PaymentRecovered => Content::PaymentRecovered(PaymentRecovered {
            invoice_number: number,
            amount: euros(123_450),
            paid_on: february(1),
            method,
            access_restored: true,
            invoice_url: link(),
            pdf_attached: true,
        }),
    })
}

fn payment_failed(number: String, method: Option<String>, link: Option<Link>) -> PaymentFailed {
    PaymentFailed {
        invoice_number: number,
        amount: euros(123_450),
        method,
        attempt: 2,
        decline: Decline::InsufficientFunds,
        next_try_on: Some(february(4)),
        access_ends_on: Some(february(14)),
        update_url: link,
    }
}

fn lines(plan_name: &str, description: &str) -> Vec<Line> {
    vec![
        Line {
            description: format!("{plan_name} plan"),
            detail: Some("February 2026".to_owned()),
            amount: euros(8_900),
        },
        Line {
            description: description.to_owned(),
            detail: Some("249,100 × €0.005, 1–31 January 2026".to_owned()),
            amount: euros(124_550),
        },
    ]
}

/// With no optional fact, and the other branch of every choice.
pub(crate) fn bare(kind: Kind) -> Context {
    let mut context = full(kind);
    context.recipient_name = None;
    context.livemode = false;
    context.tenant.address.clear();
    context.tenant.support_email = None;
    match &mut context.content {
        Content::InvoiceIssued(invoice) => {
            invoice.settlement = Settlement::Manual;
            (invoice.total, invoice.covered) = (invoice.amount_due, None);
            (invoice.subtotal, invoice.discount) = (None, None);
            invoice.taxes.clear();
            invoice.tax_note = None;
            invoice.lines.iter_mut().for_each(|line| line.detail = None);
            (invoice.invoice_url, invoice.pdf_attached) = (None, false);
        }
        Content::PaymentReceipt(receipt) => {
            (receipt.method, receipt.left_to_pay) = (None, None);
            (receipt.invoice_url, receipt.pdf_attached) = (None, false);
        }
        Content::PaymentFailed(failed) => {
            (failed.method, failed.attempt, failed.decline) = (None, 1, Decline::ExpiredCard);
            (failed.next_try_on, failed.access_ends_on, failed.update_url) = (None, None, None);
        }
        Content::ActionRequired(action) => {
            (action.method, action.confirm_url, action.confirm_by) = (None, None, None);
        }
        Content::TrialWillEnd(trial) => {
            (trial.price, trial.method, trial.manage_url) = (None, None, None);
        }
        Content::SubscriptionCanceled(canceled) => {
            (canceled.unpaid, canceled.access_until, canceled.restart_url) = (true, None, None);
        }
        Content::AccessRestricted(restricted) => {
            (restricted.invoice_number, restricted.suspended, restricted.pay_url) = (None, true, None);
        }
        Content::PaymentRecovered(recovered) => {
            (recovered.method, recovered.access_restored) = (None, false);
            (recovered.invoice_url, recovered.pdf_attached) = (None, false);
        }
    }
    context
}
