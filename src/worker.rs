//! Every capability's jobs, sweeps and listeners. A list, no logic.

use crate::{
    app::{Work, job_runner},
    clocks, dunning, entitlements, housekeeping, invoices, notifications, payments, subscriptions, webhooks,
};

/// Everything that the program does in the background.
pub static WORK: Work = Work {
    jobs: &[
        clocks::JOBS,
        subscriptions::jobs::JOBS,
        &[invoices::CYCLE_JOB],
        &[
            job_runner::<payments::CollectPayment>(),
            job_runner::<payments::ResolveAttempt>(),
            job_runner::<payments::CancelPayment>(),
            job_runner::<payments::SendRefund>(),
        ],
        &[
            job_runner::<dunning::NoteFailure>(),
            job_runner::<dunning::NoteDebtGone>(),
            job_runner::<dunning::NoteMethod>(),
            job_runner::<dunning::TakeStep>(),
        ],
        entitlements::JOBS,
        &[job_runner::<notifications::SendEmail>()],
        webhooks::JOBS,
    ],
    sweeps: &[
        clocks::SWEEPS,
        &[subscriptions::jobs::TRIAL_NOTICES],
        &[invoices::CYCLE_SWEEP],
        &[payments::SWEEP_UNSETTLED],
        &[dunning::SWEEP_DUE],
        housekeeping::SWEEPS,
    ],
    listeners: &[
        &[invoices::CYCLE_LISTENER],
        &[payments::LISTENER_INVOICES_FINALIZED, payments::LISTENER_INVOICES_CLOSED],
        &[dunning::LISTENER_PAYMENTS, dunning::LISTENER_INVOICES, dunning::LISTENER_METHODS],
        &[entitlements::LISTENER],
        &[notifications::LISTENER],
        &[webhooks::LISTENER],
    ],
};
