//! By what a usage event is known again.

use sea_orm::{ConnectionTrait, DatabaseBackend};
use sha2::{Digest, Sha256};
use ulid::Ulid;
use uuid::Uuid;

use super::short;

/// Where identities that follow one another have their place in the index (decisions 0028, 0037 and 0039).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::metering) enum Shelving {
    /// All together: one writer changes few pages.
    One,
    /// By the dozen in each of many places, so that writers do not wait for each other.
    Many,
}

impl Shelving {
    /// A database keeps to one for ever: events would not be known again.
    pub fn of(db: &impl ConnectionTrait) -> Self {
        if db.get_database_backend() == DatabaseBackend::Sqlite { Self::One } else { Self::Many }
    }

    /// The place of a rank. What is cut off above is the same for decades of milliseconds.
    fn place(self, rank: u64) -> u64 {
        if self == Self::One {
            return rank;
        }
        // Multiplied by the golden ratio, numbers that follow one another are far from one another.
        let [place, ..] = (rank / SHELF_EVENTS).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        let mut bytes = rank.to_be_bytes();
        bytes[size_of::<u64>() - PLACE_BYTES] = place;
        u64::from_be_bytes(bytes)
    }
}

/// A digest of both; texts hold no null bytes, so one parts them. Where an event id tells its place among its sender's,
/// that comes first: what arrives together then has its place together in the index.
pub(in crate::metering) fn identity(shelving: Shelving, source: &str, event_id: &str) -> Uuid {
    let digest = short(Sha256::new().chain_update(source).chain_update([0]).chain_update(event_id));
    let Some(rank) = rank(event_id) else { return digest };
    let mut identity = digest.into_bytes();
    let place = shelving.place(rank).to_be_bytes();
    identity[..PLACE_BYTES].copy_from_slice(&place[size_of::<u64>() - PLACE_BYTES..]);
    Uuid::from_bytes(identity)
}

/// Ten bytes of digest are left: none of a billion events of equal rank is taken for another.
const PLACE_BYTES: usize = 6;
/// Of so many events that follow one another the places do, too: the shelf of the next ones is another.
const SHELF_EVENTS: u64 = 16;

/// Of a number at the end of an event id. Fewer may be chance, and tell little apart.
const RANK_DIGITS_MIN: usize = 6;

/// Where an event id stands among those of its sender, if it tells: by the milliseconds of a UUID of version 6 or 7 or
/// of a ULID, or by the number at its end. A prefix like `evt_` may stand before it.
fn rank(event_id: &str) -> Option<u64> {
    const MAX: u64 = (1 << (8 * PLACE_BYTES)) - 1;
    let name = event_id.rsplit(['_', ':', '/']).next().unwrap_or_default();
    if let Ok(id) = Uuid::try_parse(name) {
        let (first, _) = id.as_u64_pair();
        return matches!(id.get_version_num(), 6 | 7).then_some(first >> 16);
    }
    if let Ok(id) = Ulid::from_string(name) {
        return Some(id.timestamp_ms());
    }
    let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count();
    let number = name[name.len() - digits..].parse::<u64>().ok().filter(|_| digits >= RANK_DIGITS_MIN)?;
    Some(if number <= MAX { number } else { number >> 16 })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn event_ids_that_rise_have_a_rank_that_rises() {
        let rising = [
            ["request-000000000009", "request-000000000010"],
            ["host-1:1700000000", "host-1:1700000001"],
            ["0197c0de-0000-7fff-8000-000000000000", "0197c0de-0001-7000-8000-000000000000"],
            ["evt_0197c0de00007fff8000000000000000", "evt_0197c0de00017000bfff000000000000"],
            ["01JZZZZZZ0ZZZZZZZZZZZZZZZZ", "01JZZZZZZ10000000000000000"],
            ["1541815603606036480", "1541815603673145344"],
            ["1700000000000000000", "1700000000000100000"],
        ];
        for [earlier, later] in rising {
            assert!(rank(earlier) < rank(later) && rank(earlier).is_some(), "{earlier} {later}");
        }
        let unranked = [
            "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d",
            "req_81f",
            "a-12345",
            "",
            "999999999999999999999999999999",
        ];
        for event_id in unranked {
            assert_eq!(rank(event_id), None, "{event_id}");
        }
    }

    #[test]
    fn a_few_that_follow_one_another_stand_together_and_others_elsewhere() {
        let identities = |first: u64| {
            (first..first + SHELF_EVENTS).map(|id| identity(Shelving::Many, "", &id.to_string()))
        };
        let shelves: Vec<_> = (0..256).map(|shelf| 1_700_000_000_000 + shelf * SHELF_EVENTS).collect();
        for first in &shelves {
            assert!(identities(*first).is_sorted(), "{first}");
            assert_eq!(
                identities(*first).map(|identity| identity.as_bytes()[0]).collect::<BTreeSet<_>>().len(),
                1
            );
        }
        let taken: BTreeSet<u8> = shelves
            .iter()
            .flat_map(|first| identities(*first).map(|identity| identity.as_bytes()[0]))
            .collect();
        assert!(taken.len() > 200, "{}", taken.len());
    }

    #[test]
    fn on_one_shelf_all_stand_in_their_order() {
        let identities: Vec<_> =
            (100_000..200_000).map(|id| identity(Shelving::One, "", &id.to_string())).collect();
        assert!(identities.is_sorted());
    }

    #[test]
    fn events_of_equal_rank_have_identities_of_their_own() {
        let ids = ["a-123456", "b-123456", "a-0123456", "a:123456", "123456"];
        let sources = ["", "a", "b"];
        for shelving in [Shelving::One, Shelving::Many] {
            let identity = |source, id| identity(shelving, source, id);
            let all: BTreeSet<_> =
                sources.iter().flat_map(|source| ids.map(|id| identity(source, id))).collect();
            let place = shelving.place(123_456).to_be_bytes();
            assert_eq!(all.len(), ids.len() * sources.len());
            assert!(all.iter().all(|identity| identity.as_bytes()[..6] == place[2..]));
        }
    }
}
