//! The account's own endpoints: settings, keys, the audit log, jobs that died, sweeps.

mod account;
mod audit;
mod jobs;
mod keys;
mod sweeps;

use accrue_platform::{
    problem::{self, Problem},
    routes::Routes,
};

use super::service::AuthError;

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
            AuthError::Database(error) => error.into(),
        }
    }
}
