//! Every capability's jobs, sweeps and listeners. A list, no logic.

use crate::{
    alerts, app::Work, archives, clocks, corrections, dunning, entitlements, housekeeping, invoices,
    metering, notifications, payments, subscriptions, webhooks,
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
};
