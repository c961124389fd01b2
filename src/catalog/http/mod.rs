//! The catalogue's endpoints.

mod features;
mod metrics;
mod plan_request;
mod plans;
mod price_request;
mod taxes;

use accrue_platform::{
    check::Check,
    problem::{self, FieldError, Problem},
    routes::Routes,
};

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::{
    model::NotGrouped,
    naming,
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

/// Which of the two to list.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct ArchivedFilter {
    /// `true` for what is archived, and nothing else; `false`, or not given, for what is not.
    #[param(example = false)]
    archived: Option<bool>,
}

impl ArchivedFilter {
    fn is_archived(&self) -> bool {
        self.archived.unwrap_or_default()
    }
}

/// Refuses what is archived where a body names it.
fn refuse_archived(
    check: &mut Check,
    pointer: impl Into<String>,
    what: &'static str,
    code: &str,
    archived_at: Option<DateTime<Utc>>,
) {
    if let Err(error) = naming::refuse_archived(what, code, archived_at) {
        check.refuse(pointer, "archived", error.to_string());
    }
}

impl From<CatalogError> for Problem {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::NotFound { what, .. } => Self::not_found(what),
            CatalogError::CodeTaken { .. } | CatalogError::TaxConflict(_) | CatalogError::IsDefault(_) => {
                Self::new(&problem::CONFLICT, error.to_string())
            }
            CatalogError::Archived { .. } => Self::new(&problem::ILLEGAL_TRANSITION, error.to_string()),
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
