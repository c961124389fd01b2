//! Every capability's jobs, sweeps and listeners. A list, no logic.

use crate::{
    alerts, app::Work, archives, clocks, corrections, customers, dunning, entitlements, housekeeping,
    invoices, ledger, metering, notifications, payments, subscriptions, webhooks,
};

/// Everything that the program does in the background.
pub static WORK: Work = Work {
    jobs: &[
        clocks::JOBS,
        metering::JOBS,
        subscriptions::JOBS,
        invoices::JOBS,
        archives::JOBS,
        payments::JOBS,
        corrections::JOBS,
        dunning::JOBS,
        entitlements::JOBS,
        alerts::JOBS,
        notifications::JOBS,
        webhooks::JOBS,
    ],
    sweeps: &[
        clocks::SWEEPS,
        metering::SWEEPS,
        subscriptions::SWEEPS,
        invoices::SWEEPS,
        archives::SWEEPS,
        payments::SWEEPS,
        corrections::SWEEPS,
        dunning::SWEEPS,
        alerts::SWEEPS,
    ],
    upkeep: &[metering::UPKEEP, housekeeping::UPKEEP],
    // In the order in which they hear: what was used, what is owed, what is paid, what follows, who is told.
    listeners: &[
        metering::LISTENERS,
        invoices::LISTENERS,
        payments::LISTENERS,
        dunning::LISTENERS,
        entitlements::LISTENERS,
        alerts::LISTENERS,
        notifications::LISTENERS,
        webhooks::LISTENERS,
    ],
    belongings: &[
        &webhooks::BELONGINGS,
        &notifications::BELONGINGS,
        &entitlements::BELONGINGS,
        &alerts::BELONGINGS,
        &dunning::BELONGINGS,
        &payments::BELONGINGS,
        &invoices::BELONGINGS,
        &ledger::BELONGINGS,
        &metering::BELONGINGS,
        &subscriptions::BELONGINGS,
        &customers::BELONGINGS,
    ],
    customer_locks: &[
        invoices::LOCK,
        payments::LOCK,
        payments::LOCK_REFUNDS,
        dunning::LOCK,
        subscriptions::LOCK,
        customers::LOCK,
    ],
};
