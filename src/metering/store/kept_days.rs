//! Days as this process wrote them last, so that they need not be read to be added to.
//!
//! Whoever adds to days claims them first, so that two writers of this process never go by the same. What another process
//! wrote meanwhile is found out when the day is written: its revision is another one. A row that is gone would be made
//! again, but rows disappear only with a build that nobody adds to any more.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use accrue_core::usage::Partial;
use tokio::{sync::Notify, time::timeout};
use uuid::Uuid;

use super::days::{DayId, Read};
use crate::metering::model::Values;

/// Groups that read all days after one was found changed.
const WARY_GROUPS: u32 = 100;
/// Days of which it is known that they are there.
const DAYS_MAX: usize = 100_000;
/// What is kept of them takes so much room, about.
const BYTES_MAX: usize = 64 << 20;
/// How long a claim is waited for. Without it the rows' locks are, which end with their connection.
const PATIENCE: Duration = Duration::from_secs(1);

/// What days are taken to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::metering) enum Trust {
    /// What this process wrote last, if it knows.
    Kept,
    /// What is there.
    Nothing,
}

/// What this process knows of days.
#[derive(Debug, Default)]
pub(in crate::metering) struct KeptDays {
    held: Mutex<Held>,
    given_back: Notify,
    wary: AtomicU32,
}

#[derive(Debug, Default)]
struct Held {
    days: HashMap<DayId, Day>,
    bytes: usize,
}

/// What is known of a day.
#[derive(Debug)]
enum Day {
    /// It is being added to.
    Claimed,
    /// It is there, and was written like this.
    There(Option<Kept>),
}

/// What a row says, in little room.
#[derive(Debug)]
struct Kept {
    revision: Uuid,
    hours: Box<[((u32, Values), Partial)]>,
    bytes: usize,
}

impl Kept {
    fn new(Read { revision, hours }: Read) -> Self {
        let hours: Box<[_]> = hours.into_iter().collect();
        let texts =
            hours.iter().flat_map(|((_, values), _)| values).flatten().map(String::len).sum::<usize>();
        let bytes = size_of_val(&*hours) + texts;
        Self { revision, hours, bytes }
    }
}

impl KeptDays {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else has claimed any of these days, and claims them all. Whoever holds a claim must not wait for
    /// another one, nor for locks that somebody holds who waits for a claim: only days are locked in between.
    ///
    /// If that takes too long nothing is claimed or known, and the days' rows have to be waited for.
    pub(super) async fn claim(&self, ids: Vec<DayId>) -> Claim<'_> {
        let claimed = timeout(PATIENCE, async {
            loop {
                let given_back = self.given_back.notified();
                if let Some(known) = self.held().claim(&ids) {
                    return known;
                }
                given_back.await;
            }
        });
        match claimed.await {
            Ok(known) => Claim { of: self, ids, known, is_held: true },
            Err(_) => Claim { of: self, known: ids.iter().map(|_| None).collect(), ids, is_held: false },
        }
    }

    /// What the next group may go by.
    pub fn trust(&self) -> Trust {
        let fewer =
            self.wary.try_update(Ordering::Relaxed, Ordering::Relaxed, |groups| groups.checked_sub(1));
        if fewer.is_ok() { Trust::Nothing } else { Trust::Kept }
    }

    /// A day was not what it was taken for: another process writes it too, and will again.
    pub fn expect_changes(&self) {
        self.wary.store(WARY_GROUPS, Ordering::Relaxed);
    }
}

impl Held {
    /// What is known of these days; nothing if one of them is claimed.
    fn claim(&mut self, ids: &[DayId]) -> Option<Vec<Option<Day>>> {
        if ids.iter().any(|id| matches!(self.days.get(id), Some(Day::Claimed))) {
            return None;
        }
        let known: Vec<_> = ids.iter().map(|id| self.days.insert(*id, Day::Claimed)).collect();
        self.bytes -= known.iter().flatten().map(Day::bytes).sum::<usize>();
        Some(known)
    }

    /// Makes room for so many days, and so many bytes, in place of what was kept.
    fn make_room(&mut self, days: usize, bytes: usize) {
        if self.days.len() + days > DAYS_MAX {
            self.days.retain(|_, day| matches!(day, Day::Claimed));
            self.bytes = 0;
        } else if self.bytes + bytes > BYTES_MAX {
            for day in self.days.values_mut() {
                if let Day::There(kept) = day {
                    *kept = None;
                }
            }
            self.bytes = 0;
        }
    }
}

impl Day {
    fn bytes(&self) -> usize {
        match self {
            Self::There(Some(kept)) => kept.bytes,
            Self::Claimed | Self::There(None) => 0,
        }
    }
}

/// Days that nobody else in this process adds to. Dropped, nothing is known of them any more.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    of: &'a KeptDays,
    ids: Vec<DayId>,
    /// Of each of them.
    known: Vec<Option<Day>>,
    /// Or nothing is claimed.
    is_held: bool,
}

impl Claim<'_> {
    /// What all of these days say, if it is known and to be trusted.
    pub fn take_kept(&mut self, trust: Trust) -> Option<HashMap<DayId, Read>> {
        let is_kept = |day: &Option<Day>| matches!(day, Some(Day::There(Some(_))));
        if !self.is_held || trust == Trust::Nothing || !self.known.iter().all(is_kept) {
            return None;
        }
        let read = |(id, day)| match day {
            Some(Day::There(Some(Kept { revision, hours, .. }))) => {
                Some((id, Read { revision, hours: hours.into_iter().collect() }))
            }
            _ => None,
        };
        Some(self.ids.iter().copied().zip(self.known.drain(..)).filter_map(read).collect())
    }

    pub fn not_known_to_be_there(&self) -> Vec<DayId> {
        let unknown = self.ids.iter().zip(&self.known).filter(|(_, day)| day.is_none());
        unknown.map(|(id, _)| *id).collect()
    }

    /// They say this from now on, if what was written is committed.
    pub fn keep(mut self, days: impl Iterator<Item = (DayId, Read)>) {
        let days: Vec<_> = days.map(|(id, read)| (id, Kept::new(read))).collect();
        let bytes = days.iter().map(|(_, kept)| kept.bytes).sum();
        if self.is_held && days.len() <= DAYS_MAX && bytes <= BYTES_MAX {
            let mut held = self.of.held();
            // These may be claimed by others as soon as they are unlocked.
            self.give_back(&mut held);
            held.make_room(days.len(), bytes);
            held.bytes += bytes;
            held.days.extend(days.into_iter().map(|(id, kept)| (id, Day::There(Some(kept)))));
        }
    }

    fn give_back(&mut self, held: &mut Held) {
        if std::mem::take(&mut self.is_held) {
            for id in &self.ids {
                held.days.remove(id);
            }
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut held = self.of.held();
        self.give_back(&mut held);
        drop(held);
        self.of.given_back.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use accrue_core::id::TenantId;
    use futures_util::FutureExt;

    use super::*;

    fn id(number: usize) -> DayId {
        (TenantId(Uuid::nil()), Uuid::from_u128(number as u128))
    }

    /// A day of so many hours, by a write of this number.
    fn read(write: u128, hours: usize) -> Read {
        let hours =
            (0..u32::try_from(hours).unwrap()).map(|hour| ((hour, Values::new()), Partial::default()));
        Read { revision: Uuid::from_u128(write), hours: hours.collect() }
    }

    fn claim<const N: usize>(kept: &KeptDays, days: [usize; N]) -> Option<Claim<'_>> {
        kept.claim(days.map(id).to_vec()).now_or_never()
    }

    fn write(kept: &KeptDays, days: impl Iterator<Item = (usize, Read)>) {
        let days: Vec<_> = days.map(|(day, read)| (id(day), read)).collect();
        let claim = kept.claim(days.iter().map(|(id, _)| *id).collect()).now_or_never().unwrap();
        claim.keep(days.into_iter());
    }

    fn revisions(claim: Option<Claim<'_>>) -> Option<Vec<u128>> {
        let mut kept: Vec<_> = claim?.take_kept(Trust::Kept)?.into_iter().collect();
        kept.sort_unstable_by_key(|(id, _)| *id);
        Some(kept.into_iter().map(|(_, read)| read.revision.as_u128()).collect())
    }

    #[tokio::test]
    async fn a_day_is_what_was_written_last() {
        let kept = KeptDays::default();
        write(&kept, [(1, read(11, 1)), (2, read(12, 2))].into_iter());
        write(&kept, [(2, read(13, 3))].into_iter());
        let mut claimed = claim(&kept, [1, 2]).unwrap();
        assert!(claimed.take_kept(Trust::Nothing).is_none() && claimed.not_known_to_be_there().is_empty());
        assert_eq!(revisions(Some(claimed)), Some(vec![11, 13]));
        assert_eq!(kept.held().bytes, 0);
    }

    #[tokio::test]
    async fn of_days_that_are_not_all_known_nothing_is_taken_for_sure() {
        let kept = KeptDays::default();
        write(&kept, [(1, read(11, 1))].into_iter());
        let mut claimed = claim(&kept, [1, 2]).unwrap();
        assert!(claimed.take_kept(Trust::Kept).is_none());
        assert_eq!(claimed.not_known_to_be_there(), [id(2)]);
    }

    #[tokio::test]
    async fn whoever_claims_a_day_waits_until_it_is_given_back() {
        let kept = KeptDays::default();
        write(&kept, [(1, read(11, 1)), (2, read(12, 1))].into_iter());
        let first = claim(&kept, [1]).unwrap();
        assert!(claim(&kept, [2, 1]).is_none(), "one of them is claimed");
        assert!(claim(&kept, [2]).is_some(), "the other one is not");
        let mut waits = Box::pin(kept.claim(vec![id(1)]));
        assert!(waits.as_mut().now_or_never().is_none());
        first.keep([(id(1), read(13, 1))].into_iter());
        let next = waits.now_or_never();
        assert!(claim(&kept, [1]).is_none(), "it is the next one's now");
        assert_eq!(revisions(next), Some(vec![13]));
    }

    #[tokio::test]
    async fn whoever_waits_too_long_knows_nothing_and_leaves_the_claim_as_it_is() {
        let kept = KeptDays::default();
        write(&kept, [(1, read(11, 1))].into_iter());
        let first = claim(&kept, [1]).unwrap();
        let mut late = kept.claim(vec![id(1)]).await;
        assert!(late.take_kept(Trust::Kept).is_none());
        assert_eq!(late.not_known_to_be_there(), [id(1)]);
        late.keep([(id(1), read(12, 1))].into_iter());
        assert!(claim(&kept, [1]).is_none(), "the first one has it still");
        first.keep([(id(1), read(13, 1))].into_iter());
        assert_eq!(revisions(claim(&kept, [1])), Some(vec![13]));
    }

    #[tokio::test]
    async fn what_is_not_kept_is_forgotten() {
        let kept = KeptDays::default();
        write(&kept, [(1, read(11, 24))].into_iter());
        drop(claim(&kept, [1]));
        assert_eq!(claim(&kept, [1]).unwrap().not_known_to_be_there(), [id(1)]);
        let held = kept.held();
        assert!(held.days.is_empty() && held.bytes == 0);
    }

    #[tokio::test]
    async fn when_there_is_too_much_it_is_forgotten() {
        let large = |write: u128| {
            let mut day = read(write, 0);
            day.hours.insert((0, vec![Some("x".repeat(BYTES_MAX / 3))]), Partial::default());
            day
        };
        let kept = KeptDays::default();
        write(&kept, [(1, large(11)), (2, large(12))].into_iter());
        write(&kept, [(3, large(13))].into_iter());
        assert!(
            claim(&kept, [1, 2]).unwrap().not_known_to_be_there().is_empty(),
            "they are known to be there"
        );
        assert_eq!(revisions(claim(&kept, [3])), Some(vec![13]));
        write(&kept, (4..8).map(|day| (day, large(14))));
        assert_eq!(claim(&kept, [4]).unwrap().not_known_to_be_there(), [id(4)], "too much at once");

        let held = claim(&kept, [1]).unwrap();
        for days in [2..DAYS_MAX / 2, DAYS_MAX / 2..DAYS_MAX + 10] {
            write(&kept, days.map(|day| (day, read(15, 0))));
        }
        assert!(kept.held().days.len() < DAYS_MAX);
        assert!(claim(&kept, [1]).is_none(), "what is claimed stays so");
        drop(held);
    }
}
