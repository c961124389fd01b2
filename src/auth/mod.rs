//! Auth says who calls: accounts with a live and a test tenant, API keys, scopes, the audit log. It does not
//! know what callers may own.

mod caller;
mod http;
mod listing;
mod model;
pub mod resource;
pub mod service;
mod store;

pub use caller::{Answer, Bring, Interrupt, KnownCallers, Read, Write};
pub use http::routes;
pub use model::{Account, Issuer, KeyKind, Mode, NewKey, Tenant, TenantSettings};
pub use resource::Resource;
