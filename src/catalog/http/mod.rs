//! The catalogue's endpoints.

mod features;
mod metrics;
mod plan_request;
mod plans;
mod price_request;
mod taxes;

use accrue_platform::problem::{self, Problem};
use utoipa_actix_web::service_config::ServiceConfig;

use super::service::CatalogError;

/// How long a name may be.
const NAME_MAX: usize = 200;

/// Mounts the endpoints.
pub fn routes(config: &mut ServiceConfig) {
    metrics::routes(config);
    features::routes(config);
    taxes::routes(config);
    plans::routes(config);
}

impl From<CatalogError> for Problem {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::NotFound { what, .. } => Self::not_found(what),
            CatalogError::CodeTaken { .. } | CatalogError::DefaultTaken(_) => {
                Self::new(&problem::CONFLICT, error.to_string())
            }
            CatalogError::Database(error) => error.into(),
        }
    }
}
