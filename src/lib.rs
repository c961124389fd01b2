//! Accrue: a subscription and usage-metering billing service. `docs/ARCHITECTURE.md` is the map.

pub mod config;

pub mod app;

pub mod auth;
pub mod housekeeping;
pub mod system;

pub mod calculate;
pub mod catalog;
pub mod clocks;
pub mod issuers;

pub mod customers;

pub mod metering;
pub mod subscriptions;

pub mod ledger;

pub mod invoices;

pub mod archives;

pub mod payments;

pub mod corrections;
pub mod credit_notes;
pub mod lifecycle;

pub mod dunning;

pub mod entitlements;

pub mod alerts;

pub mod notifications;
pub mod webhooks;

pub mod timeline;

pub mod api;
pub mod worker;

pub mod cli;
