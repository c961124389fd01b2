//! The endpoints of payments.

mod methods;
mod payments;
mod refunds;

use accrue_platform::{
    gateway::GatewayError,
    problem::{self, Problem},
    routes::Routes,
};

use super::service::PaymentError;

/// Mounts the endpoints.
pub fn routes(routes: &mut Routes) {
    routes
        .service(methods::create_payment_method)
        .service(methods::list_payment_methods)
        .service(methods::get_payment_method)
        .service(methods::detach_payment_method)
        .service(payments::pay_invoice)
        .service(payments::list_payments)
        .service(payments::get_payment)
        .service(refunds::create_refund)
        .service(refunds::list_refunds)
        .service(refunds::get_refund);
}

impl From<PaymentError> for Problem {
    fn from(error: PaymentError) -> Self {
        let detail = error.to_string();
        match error {
            PaymentError::NotFound { what, .. } => Self::not_found(what),
            PaymentError::InFlight => Self::new(&problem::PAYMENT_IN_FLIGHT, detail),
            PaymentError::NoMethod => Self::field("/payment_method", "required", detail),
            PaymentError::NotOwed(_) | PaymentError::Illegal(_) => {
                Self::new(&problem::ILLEGAL_TRANSITION, detail)
            }
            PaymentError::NothingToRefund => Self::new(&problem::ILLEGAL_TRANSITION, detail),
            PaymentError::RefundTooLarge(_) => Self::field("/amount", "out_of_range", detail),
            PaymentError::Invoice(error) => error.into(),
            PaymentError::Customer(error) => error.into(),
            PaymentError::Database(error)
            | PaymentError::Ledger(crate::ledger::service::LedgerError::Database(error)) => error.into(),
            PaymentError::Ledger(_) => Self::internal(&error),
        }
    }
}

/// The gateway did not take it up, or did not say so: nothing is known that could be answered with.
fn no_answer(error: &GatewayError) -> Problem {
    Problem::new(&problem::UNAVAILABLE, error.to_string())
}
