//! The account's own endpoints: settings, keys, the audit log, jobs that died, sweeps.

mod account;
mod audit;
mod jobs;
mod keys;
pub mod said;
mod sweeps;

use accrue_platform::{
    problem::{self, Problem},
    routes::Routes,
};

use super::{model::Numbered, series::SeriesTaken, service::AuthError};

/// Mounts the endpoints.
pub fn routes(routes: &mut Routes) {
    routes
        .service(account::get_account)
        .service(account::update_account)
        .service(keys::create_key)
        .service(keys::list_keys)
        .service(keys::revoke_key)
        .service(audit::list_audit)
        .service(jobs::list_jobs)
        .service(jobs::retry_job)
        .service(jobs::discard_job)
        .service(sweeps::list_sweeps)
        .service(sweeps::run_sweep);
}

impl From<SeriesTaken> for Problem {
    fn from(taken: SeriesTaken) -> Self {
        let pointer = match taken.numbered {
            Numbered::Invoice => "/invoice_prefix",
            Numbered::CreditNote => "/credit_note_prefix",
        };
        Self::field(pointer, "taken", taken.to_string())
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::NoSuchKey(_) => Self::not_found("key"),
            AuthError::NoSuchTenant(_) => Self::new(&problem::UNAUTHENTICATED, error.to_string()),
            AuthError::NoSuchScope { index, .. } => {
                Self::field(format!("/scopes/{index}"), "unknown", error.to_string())
            }
            AuthError::NotOwn(_) => Self::new(&problem::SCOPE_MISSING, error.to_string()),
            AuthError::LastSecretKey => Self::new(&problem::CONFLICT, error.to_string()),
            AuthError::SeriesTaken(taken) => taken.into(),
            AuthError::Database(error) => error.into(),
        }
    }
}
