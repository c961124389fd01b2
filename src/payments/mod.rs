//! Payments move money: payment methods, attempts at gateways, refunds. They decide nothing about what
//! happens after a failure.

mod belongings;
mod body;
pub mod decline;
mod events;
mod gateways;
mod http;
mod jobs;
mod model;
pub mod service;
mod store;

pub use belongings::{BELONGINGS, LOCK, LOCK_REFUNDS};
pub use body::{AttemptBody, PaymentBody, PaymentMethodBody, RefundBody};
pub use gateways::SandboxGateway;
pub use http::routes;
pub use jobs::{JOBS, LISTENERS, SWEEPS};
pub use model::{
    AttemptStatus, DeclineClass, IllegalTransition, Payment, PaymentAttempt, PaymentMethod, PaymentStatus,
    Refund, RefundStatus,
};
