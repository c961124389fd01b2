//! Mounting endpoints, and describing them if somebody wants to know.
//!
//! Every thread of the server mounts the endpoints, and the description of all of them takes more memory than the
//! rest of a server at rest. So it is made only where it is asked for.

use actix_web::{dev::HttpServiceFactory, web::ServiceConfig};
use utoipa::openapi::OpenApi;
use utoipa_actix_web::OpenApiFactory;

/// Where capabilities mount their endpoints.
pub struct Routes<'a> {
    config: &'a mut ServiceConfig,
    document: Option<&'a mut OpenApi>,
}

impl<'a> Routes<'a> {
    /// For requests.
    pub fn to_serve(config: &'a mut ServiceConfig) -> Self {
        Self { config, document: None }
    }

    /// For the document, to which each endpoint is added.
    pub fn to_describe(config: &'a mut ServiceConfig, document: &'a mut OpenApi) -> Self {
        Self { config, document: Some(document) }
    }

    /// Mounts an endpoint.
    pub fn service(&mut self, endpoint: impl HttpServiceFactory + OpenApiFactory + 'static) -> &mut Self {
        if let Some(document) = &mut self.document {
            let mut schemas = Vec::new();
            endpoint.schemas(&mut schemas);
            document.paths.merge(endpoint.paths());
            document.components.get_or_insert_default().schemas.extend(schemas);
        }
        self.config.service(endpoint);
        self
    }
}
