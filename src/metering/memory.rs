//! What the intake remembers of tenants from one transaction to the next, so that it need not ask again for every group
//! of requests.
//!
//! Whoever changes any of it closes the tenant's gate, and the gate counts how often: what is remembered was read while
//! the gate was passed, and holds for as long as the count is the same, in every process (decision 0033).

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use accrue_core::id::{CustomerId, TenantId, TestClockId};
use chrono::{DateTime, Utc};
use moka::sync::Cache;
use sea_orm::{DatabaseTransaction, DbErr};

use super::{
    model::Shelving,
    reading::Subject,
    store::{
        archives,
        kept_days::{KeptDays, Trust},
        runs::Runs,
        watches,
    },
    tracking::Tracked,
};
use crate::{
    catalog::{self, Metric},
    customers,
};

/// Tenants that are remembered.
const TENANTS_MAX: u64 = 64;
/// Of customers' usage that was asked for.
const SUBJECTS_MAX: u64 = 10_000;
/// Names of customers that are remembered of each tenant.
const NAMES_MAX: usize = 20_000;

/// Groups that are looked through after an event came again.
const WARY_GROUPS: u32 = 100;

/// What a group of events is taken for. If it is not that, nothing is stored, and it has to be taken again for less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expectation {
    /// All of them are new. One that is not is a unique violation.
    pub are_new: bool,
    /// One day that is not what it is taken for is [`DbErr::RecordNotUpdated`].
    pub days: Trust,
}

impl Expectation {
    /// Some may be there already, and days are as they are.
    pub const NOTHING: Self = Self { are_new: false, days: Trust::Nothing };
}

/// A customer, and the test clock that it hangs on.
pub(super) type Customer = (CustomerId, Option<TestClockId>);

/// What is remembered from one group to the next. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    tenants: Cache<TenantId, Arc<Standing>>,
    /// To which usage is added.
    pub days: Arc<KeptDays>,
    /// Into which packs go next.
    pub runs: Arc<Runs>,
    /// What usage was asked about, by the names of customer and metric.
    pub subjects: Cache<(TenantId, String, String), Arc<Subject>>,
    /// In how many groups from now on events are looked for before they are stored.
    wary: Arc<AtomicU32>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            tenants: Cache::new(TENANTS_MAX),
            days: Arc::default(),
            runs: Arc::default(),
            subjects: Cache::new(SUBJECTS_MAX),
            wary: Arc::default(),
        }
    }
}

impl Memory {
    /// What the next group is taken for: where one event came again, others will.
    pub fn expectation(&self) -> Expectation {
        let fewer =
            self.wary.try_update(Ordering::Relaxed, Ordering::Relaxed, |groups| groups.checked_sub(1));
        Expectation { are_new: fewer.is_err(), days: self.days.trust() }
    }

    /// An event came again.
    pub fn expect_repeats(&self) {
        self.wary.store(WARY_GROUPS, Ordering::Relaxed);
    }

    /// What was remembered last of a tenant, whether it still holds or not.
    pub fn recall(&self, tenant: TenantId) -> Option<Arc<Standing>> {
        self.tenants.get(&tenant)
    }

    /// What holds for a tenant whose gate `tx` has passed, and which was closed so many times.
    pub async fn standing(
        &self,
        tx: &DatabaseTransaction,
        tenant: TenantId,
        closings: i64,
    ) -> Result<Arc<Standing>, DbErr> {
        if let Some(standing) = self.tenants.get(&tenant).filter(|standing| standing.closings == closings) {
            return Ok(standing);
        }
        let standing = Arc::new(Standing {
            tenant,
            closings,
            shelving: Shelving::of(tx),
            metrics: catalog::service::all_metrics(tx, tenant).await?.into(),
            final_before: archives::final_before(tx, tenant).await?,
            is_watched: watches::is_any(tx, tenant).await?,
            tracked: OnceLock::new(),
            customers: Mutex::default(),
        });
        self.tenants.insert(tenant, standing.clone());
        Ok(standing)
    }
}

/// What holds for a tenant's events until its gate is closed.
#[derive(Debug)]
pub(super) struct Standing {
    tenant: TenantId,
    /// How often the tenant's gate was closed before this was read.
    pub closings: i64,
    pub metrics: Arc<[Metric]>,
    pub shelving: Shelving,
    /// Usage of before is final, because its events are archived.
    pub final_before: Option<DateTime<Utc>>,
    /// Whether anybody wants to know when usage moves.
    pub is_watched: bool,
    /// In which hours these are kept. Once something is: what is begun by one who then is undone was not.
    pub tracked: OnceLock<Arc<Tracked>>,
    /// By identifier or name, as events call them. Who is not there may appear.
    customers: Mutex<HashMap<String, Customer>>,
}

impl Standing {
    fn held(&self) -> MutexGuard<'_, HashMap<String, Customer>> {
        self.customers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of these identifiers and names that are remembered.
    pub fn recall<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<Option<Customer>> {
        let held = self.held();
        names.map(|name| held.get(name).copied()).collect()
    }

    /// Those of these identifiers and names that exist.
    pub async fn customers(
        &self,
        tx: &DatabaseTransaction,
        names: Vec<&str>,
    ) -> Result<Vec<Option<Customer>>, DbErr> {
        let mut found = self.recall(names.iter().copied());
        let unknown = || found.iter().zip(&names).filter(|(customer, _)| customer.is_none());
        let unknown: HashSet<&str> = unknown().map(|(_, name)| *name).collect();
        if unknown.is_empty() {
            return Ok(found);
        }
        let asked = customers::service::resolve_all(tx, self.tenant, unknown).await?;
        for (customer, name) in found.iter_mut().zip(names) {
            *customer = customer.or_else(|| asked.get(name).copied());
        }
        let mut held = self.held();
        if held.len() + asked.len() > NAMES_MAX {
            held.clear();
        }
        held.extend(asked.into_iter().take(NAMES_MAX).map(|(name, customer)| (name.to_owned(), customer)));
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_one_event_came_again_the_next_groups_are_looked_through() {
        let memory = Memory::default();
        assert!(memory.expectation().are_new);
        memory.expect_repeats();
        for group in 0..WARY_GROUPS {
            assert!(!memory.expectation().are_new, "{group}");
        }
        assert!(memory.expectation().are_new);
    }

    #[test]
    fn where_one_day_was_changed_by_another_process_the_next_groups_read_days() {
        let memory = Memory::default();
        memory.days.expect_changes();
        let groups = (0..200).take_while(|_| memory.expectation().days == Trust::Nothing).count();
        assert_eq!(groups, 100);
    }
}
