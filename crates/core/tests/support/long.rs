//! How many cases a property is tested with. The one place that decides it, for tests only.

/// Cases of a property: 100,000 if `ACCRUE_TEST_LONG` is set, and `by_default` otherwise.
#[expect(clippy::disallowed_methods, reason = "a long run is asked for from outside")]
pub(crate) fn cases(by_default: u32) -> u32 {
    if std::env::var("ACCRUE_TEST_LONG").is_ok() { 100_000 } else { by_default }
}
