//! Usage in the database.

pub(super) mod archives;
pub(super) mod builds;
pub(super) mod closings;
pub(super) mod days;
pub(super) mod erasing;
pub(super) mod events;
pub(super) mod kept_days;
pub(super) mod listing;
pub(super) mod looks;
pub(super) mod months;
pub(super) mod packs;
pub(super) mod partitions;
pub(super) mod rollups;
pub(super) mod runs;
pub(super) mod unmatched;
pub(super) mod versions;
pub(super) mod watches;
