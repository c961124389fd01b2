//! The catalogue's endpoints.

mod features;
mod metrics;
mod plan_request;
mod plans;
mod price_request;
mod taxes;

use accrue_platform::{
    problem::{self, FieldError, Problem},
    routes::Routes,
};

use super::{
    model::NotGrouped,
    service::{CatalogError, TooManySplits},
};

/// How long a name may be.
const NAME_MAX: usize = 200;

/// Mounts the endpoints.
pub fn routes(routes: &mut Routes) {
    metrics::routes(routes);
    features::routes(routes);
    taxes::routes(routes);
    plans::routes(routes);
}

impl From<CatalogError> for Problem {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::NotFound { what, .. } => Self::not_found(what),
            CatalogError::CodeTaken { .. } | CatalogError::DefaultTaken(_) => {
                Self::new(&problem::CONFLICT, error.to_string())
            }
            CatalogError::TooManySplits(prices) => {
                let refused = |price: &TooManySplits| {
                    FieldError::new(format!("/prices/{}", price.price), "too_many_splits", price.to_string())
                };
                Self::invalid(prices.iter().map(refused).collect())
            }
            CatalogError::NotGrouped(why) => {
                let code = match why {
                    NotGrouped::TooMany(_) => "too_many_splits",
                    NotGrouped::NoHours => "not_kept",
                };
                Self::field("/group_by", code, why.to_string())
            }
            CatalogError::Database(error) => error.into(),
        }
    }
}
