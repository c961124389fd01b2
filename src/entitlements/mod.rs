//! entitlements
