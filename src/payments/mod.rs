//! Payments move money: payment methods, attempts at gateways, refunds. They decide nothing about what
//! happens after a failure.

mod model;
pub mod service;

pub use model::{AttemptStatus, DeclineClass, Payment, PaymentAttempt, PaymentMethod, PaymentStatus};
