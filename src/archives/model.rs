//! What was written, and why something is not.

use chrono::{DateTime, Utc};

use crate::metering::{self, Contents, Month};

/// A month in a file that was read back, and is not noted yet.
#[derive(Clone, Debug)]
pub struct Written {
    pub month: Month,
    pub contents: Contents,
    /// Where the file is, below the folder for archives.
    pub file: String,
    pub bytes: u64,
    pub sha256: String,
    /// When its events began to be read.
    pub began_at: DateTime<Utc>,
}

/// Why a month has to stay.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Hold {
    #[error(transparent)]
    Usage(#[from] metering::Hold),
    #[error("a subscription to the plan {0} has a period that touches it and is not billed yet")]
    Running(String),
}
