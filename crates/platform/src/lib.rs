//! What every capability of Accrue stands on. It knows none of them.

pub mod addresses;
pub mod body;
pub mod bulk;
pub mod check;
pub mod column;
pub mod counter;
pub mod db;
pub mod due;
pub mod egress;
pub mod export;
pub mod gate;
pub mod gateway;
pub mod idempotency;
pub mod lease;
pub mod mail;
pub mod outbox;
pub mod page;
pub mod problem;
pub mod queue;
pub mod request;
pub mod routes;
pub mod schedule;
pub mod secrets;
pub mod signature;
pub mod telemetry;
mod unpack;
