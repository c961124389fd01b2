//! Every capability's jobs, sweeps and listeners. A list, no logic.

use crate::{app::Work, clocks, housekeeping, invoices, subscriptions};

/// Everything that the program does in the background.
pub static WORK: Work = Work {
    jobs: &[clocks::JOBS, subscriptions::jobs::JOBS, &[invoices::CYCLE_JOB]],
    sweeps: &[
        clocks::SWEEPS,
        &[subscriptions::jobs::TRIAL_NOTICES],
        &[invoices::CYCLE_SWEEP],
        housekeeping::SWEEPS,
    ],
    listeners: &[&[invoices::CYCLE_LISTENER]],
};
