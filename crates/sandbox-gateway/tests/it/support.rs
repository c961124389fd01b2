//! A gateway on a file of its own, and the few requests that every test makes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use accrue_sandbox_gateway::{Charge, ChargeRequest, Entry, RefundRequest, Sandbox, SandboxError};
use chrono::{DateTime, Utc};

pub(crate) fn now() -> DateTime<Utc> {
    "2026-01-31T10:00:00.123456Z".parse().unwrap()
}

/// A file that is deleted with the last user of it.
pub(crate) struct File(PathBuf);

impl File {
    pub(crate) fn new() -> Self {
        Self(std::env::temp_dir().join(format!("sandbox-{}.db", uuid::Uuid::new_v4())))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for File {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm"] {
            let mut path = self.0.clone().into_os_string();
            path.push(suffix);
            let _ = std::fs::remove_file(path);
        }
    }
}

pub(crate) async fn open() -> (File, Sandbox) {
    let file = File::new();
    let sandbox = Sandbox::open(file.path()).await.unwrap();
    (file, sandbox)
}

/// A new customer's card with this token: its reference.
pub(crate) async fn card(sandbox: &Sandbox, token: &str) -> String {
    let customer = sandbox.create_customer(now()).await.unwrap();
    sandbox.attach(token, &customer, now()).await.unwrap().reference
}

/// 19.99 USD, taken at once, without the customer.
pub(crate) fn request(key: &str, method: &str) -> ChargeRequest {
    ChargeRequest {
        idempotency_key: key.to_owned(),
        method: method.to_owned(),
        amount_minor: 1999,
        currency: "USD".to_owned(),
        capture: true,
        off_session: true,
        metadata: BTreeMap::new(),
    }
}

pub(crate) async fn charge(sandbox: &Sandbox, key: &str, method: &str) -> Result<Charge, SandboxError> {
    sandbox.charge(&request(key, method), now()).await
}

pub(crate) fn refund(key: &str, charge: &Charge, amount_minor: i64) -> RefundRequest {
    RefundRequest {
        idempotency_key: key.to_owned(),
        charge: charge.reference.clone(),
        amount_minor,
        metadata: BTreeMap::new(),
    }
}

pub(crate) async fn all_entries(sandbox: &Sandbox) -> Vec<Entry> {
    sandbox.entries(DateTime::UNIX_EPOCH, now() + chrono::TimeDelta::days(3650)).await.unwrap()
}

/// The sum of the charges is the sum of the ledger, and what each charge says is what the ledger says of it.
pub(crate) async fn assert_adds_up(sandbox: &Sandbox) {
    let entries = all_entries(sandbox).await;
    let mut expected: BTreeMap<String, i64> = BTreeMap::new();
    for charge in sandbox.succeeded().await.unwrap() {
        let contested: i64 = charge
            .dispute
            .iter()
            .filter(|dispute| dispute.status != accrue_sandbox_gateway::DisputeStatus::Won)
            .map(|dispute| dispute.amount_minor)
            .sum();
        let kept = charge.captured_minor - charge.refunded_minor - contested;
        let posted: i64 = entries
            .iter()
            .filter(|entry| entry.charge == charge.reference)
            .map(|entry| entry.amount_minor)
            .sum();
        assert_eq!(posted, kept, "{charge:?}");
        *expected.entry(charge.currency).or_default() += kept;
    }
    assert_eq!(sandbox.balances().await.unwrap(), expected);
}
