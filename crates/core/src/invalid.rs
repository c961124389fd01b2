//! A mistake in somebody's input: where, what kind, and in words. Mistakes are collected, not thrown one by one.

use serde::Serialize;

/// One mistake, as the API reports it (RFC 9457 `errors`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Invalid {
    /// A JSON pointer from the checked object: `/tiers/1/up_to`. Empty for the object itself.
    pub pointer: String,
    /// A stable word that programs may branch on.
    pub code: &'static str,
    /// The mistake in words, lower case, without a full stop.
    pub detail: String,
}

impl Invalid {
    /// A mistake at a pointer from the checked object.
    pub fn new(pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), code, detail: detail.into() }
    }

    /// The same mistake, seen from an object that holds the checked one at `prefix`.
    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        self.pointer.insert_str(0, prefix);
        self
    }
}
