//! The only door through which the program learns the time.

use std::sync::Mutex;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};

/// A source of time. Read it once per piece of work and pass `now` on: two readings are two truths.
pub trait Clock: Send + Sync {
    /// Whole microseconds, so that a value read back from a database equals the one written.
    fn now(&self) -> DateTime<Utc>;
}

/// The machine's time.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        #[expect(clippy::disallowed_methods, reason = "the one place that may read the system time")]
        Utc::now().trunc_subsecs(6)
    }
}

/// Stands still until somebody moves it.
#[derive(Debug)]
pub struct TestClock(Mutex<DateTime<Utc>>);

impl TestClock {
    /// Panics if `rfc3339` is not an instant: it is written in tests.
    pub fn at(rfc3339: &str) -> Self {
        Self(Mutex::new(rfc3339.parse().expect("a valid RFC 3339 instant")))
    }

    pub fn advance(&self, by: TimeDelta) {
        *self.0.lock().expect("unpoisoned") += by;
    }

    pub fn set(&self, to: DateTime<Utc>) {
        *self.0.lock().expect("unpoisoned") = to;
    }
}

impl Clock for TestClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().expect("unpoisoned")
    }
}
