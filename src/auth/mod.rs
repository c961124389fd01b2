//! Auth says who calls: accounts with a live and a test tenant, API keys, scopes, the audit log. It does not
//! know what callers may own.

mod caller;
mod http;
mod listing;
mod model;
pub mod resource;
pub mod series;
pub mod service;
mod store;

pub use caller::{Answer, Bring, Interrupt, KnownCallers, Read, Write};
pub use http::{routes, said};
pub use model::{
    Account, Issuer, KeyKind, Mode, NewKey, Numbered, Tenant, TenantSettings, is_color, is_prefix,
};
pub use resource::Resource;
