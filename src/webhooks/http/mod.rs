//! The endpoints of the API about webhooks.

use accrue_platform::{
    problem::{self, Problem},
    routes::Routes,
};

use super::service::WebhookError;

mod deliveries;
mod endpoints;
mod events;

/// Mounts the endpoints.
pub fn routes(routes: &mut Routes) {
    endpoints::routes(routes);
    deliveries::routes(routes);
    events::routes(routes);
}

impl From<WebhookError> for Problem {
    fn from(error: WebhookError) -> Self {
        match error {
            WebhookError::NoSuchEndpoint(_) => Self::not_found("webhook endpoint"),
            WebhookError::NoSuchDelivery(_) => Self::not_found("webhook delivery"),
            WebhookError::TooManyEndpoints => Self::new(&problem::CONFLICT, error.to_string()),
            WebhookError::Disabled(_) | WebhookError::Illegal(_) => {
                Self::new(&problem::ILLEGAL_TRANSITION, error.to_string())
            }
            WebhookError::Database(error) => error.into(),
        }
    }
}
