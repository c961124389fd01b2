//! What a test clock is.

use accrue_core::id::{TenantId, TestClockId};
use accrue_platform::check::Metadata;
use chrono::{DateTime, Utc};

/// A time that is moved by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestClock {
    pub tenant_id: TenantId,
    pub id: TestClockId,
    pub name: String,
    pub now_at: DateTime<Utc>,
    /// Where it is being moved to; `None` while it rests.
    pub advancing: Option<Advance>,
    pub metadata: Metadata,
    pub created_at: DateTime<Utc>,
    /// Since when it is gone for everybody, while its customers are being deleted and afterwards. By the real time.
    pub deleted_at: Option<DateTime<Utc>>,
}

/// A movement that is under way, or was when the process died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advance {
    pub to: DateTime<Utc>,
    /// The sequence of the first event that is told during the movement.
    pub since: i64,
}

/// Why a clock cannot be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the clock is being advanced to {0}: delete it when it has arrived")]
pub struct Moving(DateTime<Utc>);

/// Why a clock cannot be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdvanceError {
    #[error("time does not run backwards: the clock stands at {0}")]
    Backwards(DateTime<Utc>),
    #[error("the clock is being advanced to {0} already")]
    UnderWay(DateTime<Utc>),
}

impl TestClock {
    /// It is gone from now on, by the real time; `false` if it was before.
    pub fn delete(&mut self, wall: DateTime<Utc>) -> Result<bool, Moving> {
        if let Some(advance) = self.advancing {
            return Err(Moving(advance.to));
        }
        let is_there = self.deleted_at.is_none();
        self.deleted_at.get_or_insert(wall);
        Ok(is_there)
    }

    /// Begins to move it. Asking for the movement that is under way joins it.
    pub fn begin(&mut self, to: DateTime<Utc>, since: i64) -> Result<Advance, AdvanceError> {
        match self.advancing {
            Some(advance) if advance.to == to => Ok(advance),
            Some(advance) => Err(AdvanceError::UnderWay(advance.to)),
            None if to < self.now_at => Err(AdvanceError::Backwards(self.now_at)),
            None => {
                let advance = Advance { to, since };
                self.advancing = Some(advance);
                Ok(advance)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> TestClock {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        TestClock {
            tenant_id: TenantId::new(now),
            id: TestClockId::new(now),
            name: String::new(),
            now_at: now,
            advancing: None,
            metadata: Metadata::new(),
            created_at: now,
            deleted_at: None,
        }
    }

    #[test]
    fn time_does_not_run_backwards() {
        let mut clock = clock();
        let earlier = "2025-12-31T23:59:59Z".parse().unwrap();
        assert_eq!(clock.begin(earlier, 1), Err(AdvanceError::Backwards(clock.now_at)));
    }

    #[test]
    fn a_clock_is_deleted_once_and_not_while_it_moves() {
        let mut clock = clock();
        let to = "2026-02-01T00:00:00Z".parse().unwrap();
        clock.begin(to, 1).unwrap();
        assert_eq!(clock.delete(to), Err(Moving(to)));
        clock.advancing = None;
        assert_eq!((clock.delete(to), clock.delete(clock.now_at)), (Ok(true), Ok(false)));
        assert_eq!(clock.deleted_at, Some(to));
    }

    #[test]
    fn the_movement_that_is_under_way_can_be_joined_but_not_changed() {
        let mut clock = clock();
        let (to, elsewhere) =
            ("2026-02-01T00:00:00Z".parse().unwrap(), "2026-03-01T00:00:00Z".parse().unwrap());
        let advance = clock.begin(to, 1).unwrap();
        assert_eq!(clock.begin(to, 7), Ok(advance));
        assert_eq!(clock.begin(elsewhere, 7), Err(AdvanceError::UnderWay(to)));
    }
}
