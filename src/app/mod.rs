//! The running program: what it is made of, and how its work is done. It knows no capability.

mod belongings;
mod lag;
mod record;
mod run;
mod sweeps;
mod work;

use std::sync::Arc;

use accrue_core::clock::Clock;
use accrue_platform::{
    db::Db, egress::Egress, gateway::Gateway, idempotency::InFlight, mail::Mailer, secrets::Vault,
};
use chrono::{DateTime, Utc};
use tokio::sync::Notify;

use crate::config::{Config, Role};

pub use belongings::{Belongings, execute_all, lock_all};
pub use lag::{JobLag, Lag, LastLag, lag, lag_of};
pub use record::{Record, Taken, differs, nameless};
pub use run::{WorkerHandle, drain_test_clock, start_workers, tell_all, work_until_idle};
pub use sweeps::{
    Found, FoundPage, Scope, Sweep, Swept, Upkeep, enqueue_found, enqueue_found_again, sweep_all,
};
pub use work::{
    Job, JobContext, JobError, JobRunner, Listener, Share, Work, bury, enqueue, enqueue_again, job_runner,
    new_job,
};

/// Everything that handlers and jobs need. Built once, cheap to clone.
#[derive(Clone)]
pub struct App {
    pub db: Db,
    pub clock: Arc<dyn Clock>,
    pub config: Arc<Config>,
    pub vault: Vault,
    pub mailer: Arc<Mailer>,
    pub egress: Arc<Egress>,
    pub gateways: Gateways,
    pub in_flight: InFlight,
    pub work: &'static Work,
    pub last_lag: Arc<LastLag>,
    /// Rung after a commit that may have left work, so that it starts at once.
    pub wake: Arc<Notify>,
}

impl App {
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Whether this process answers requests, beside those for its health.
    pub fn has_api(&self) -> bool {
        self.config.role != Role::Worker
    }
}

/// The gateways that money can be taken through.
#[derive(Clone)]
pub struct Gateways(Arc<[Arc<dyn Gateway>]>);

impl Gateways {
    pub fn new(gateways: Vec<Arc<dyn Gateway>>) -> Self {
        Self(gateways.into())
    }

    pub fn find(&self, name: &str) -> Option<&dyn Gateway> {
        self.0.iter().map(AsRef::as_ref).find(|gateway| gateway.name() == name)
    }

    /// Where new payment methods are saved.
    pub fn default(&self) -> &dyn Gateway {
        self.0.first().expect("there is always one").as_ref()
    }
}
