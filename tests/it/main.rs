//! Every test that needs more than one module: one binary, a database for each test, both databases.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall fail")]

mod support;

mod account;
mod architecture;
mod archives;
mod archiving;
mod audit;
mod awaited_customers;
mod bad_input;
mod calculate;
mod catalog;
mod crash;
mod customers;
mod dunning;
mod entitlements;
mod far_dates;
mod import;
mod ingest_crash;
mod invoices;
mod late_usage;
mod ledger;
mod metering;
mod notifications;
mod openapi;
mod operations;
mod oracle;
mod outages;
mod panics;
mod partitions;
mod payments;
mod platform;
mod rating;
mod replicas;
mod rollups;
mod schema;
mod story;
mod subscriptions;
mod tls;
mod unmatched_usage;
mod usage_corrections;
mod usage_formats;
mod webhooks;
mod workers;
