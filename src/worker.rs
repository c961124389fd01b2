//! Every capability's jobs, sweeps and listeners. A list, no logic.

use crate::app::Work;

/// Everything that the program does in the background.
pub static WORK: Work = Work { jobs: &[], sweeps: &[], listeners: &[] };
