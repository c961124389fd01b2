//! `/v1/metrics`

use accrue_core::usage::Aggregation;
use accrue_platform::{
    body::{Body, Query},
    check::{Check, Metadata},
    page::{Page, PageQuery},
    problem::{Problem, ProblemBody},
};
use actix_web::{get, http::StatusCode, post, web::Path};
use serde::Deserialize;
use utoipa_actix_web::service_config::ServiceConfig;

use super::NAME_MAX;
use crate::{
    auth::{Answer, Read, Write, resource},
    catalog::{
        body::MetricBody,
        model::{NewMetric, check_metric},
        service,
    },
};

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(create_metric).service(list_metrics).service(get_metric);
}

/// A metric to be made.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateMetric {
    /// Your name for it, for programs.
    #[schema(example = "tokens")]
    code: String,
    /// For people; the code unless given.
    #[schema(example = "Tokens")]
    name: Option<String>,
    /// The events it counts.
    #[schema(example = "completion.finished")]
    event_name: String,
    /// `count` or `sum`.
    aggregation: Aggregation,
    /// Which property of an event holds the number that is summed up.
    #[schema(example = "tokens")]
    property: Option<String>,
    #[serde(default)]
    metadata: Metadata,
}

impl CreateMetric {
    fn check(self) -> Result<NewMetric, Problem> {
        let Self { code, name, event_name, aggregation, property, metadata } = self;
        let mut check = Check::new();
        check.code("/code", &code);
        check.optional_text("/name", name.as_deref(), NAME_MAX);
        check.text("/event_name", &event_name, NAME_MAX);
        check.optional_text("/property", property.as_deref(), NAME_MAX);
        check.invalid("", check_metric(aggregation, property.as_deref()));
        check.metadata("/metadata", &metadata);
        check.finish()?;
        let name = name.unwrap_or_else(|| code.clone());
        Ok(NewMetric { code, name, event_name, aggregation, property, metadata })
    }
}

/// Make a metric.
#[utoipa::path(
    tag = "catalog",
    request_body = CreateMetric,
    responses(
        (status = 201, description = "The metric", body = MetricBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/metrics")]
async fn create_metric(write: Write<resource::Catalog>, body: Body<CreateMetric>) -> Answer {
    let new = body.0.check()?;
    let tx = write.begin().await?;
    let metric = service::create_metric(&tx, write.app.now(), &write.tenant, new).await?;
    let body = MetricBody::of(metric, write.tenant.livemode);
    write.commit(tx, StatusCode::CREATED, body.id, &body).await
}

/// List metrics.
#[utoipa::path(
    tag = "catalog",
    params(PageQuery),
    responses(
        (status = 200, description = "A page of metrics", body = Page<MetricBody>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/metrics")]
async fn list_metrics(read: Read<resource::Catalog>, page: Query<PageQuery>) -> Answer {
    let metrics = service::list_metrics(read.db(), read.tenant_id(), &page.0).await?;
    let body = |metric| MetricBody::of(metric, read.tenant.livemode);
    read.answer(&Page::of(&page.0, "/v1/metrics", metrics, body))
}

/// Get a metric.
#[utoipa::path(
    tag = "catalog",
    params(("id" = String, Path, description = "The metric's identifier or code")),
    responses(
        (status = 200, description = "The metric", body = MetricBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/metrics/{id}")]
async fn get_metric(read: Read<resource::Catalog>, id: Path<String>) -> Answer {
    let metric = service::resolve_metric(read.db(), read.tenant_id(), &id).await?;
    read.answer(&MetricBody::of(metric, read.tenant.livemode))
}

#[cfg(test)]
mod tests {
    use accrue_platform::body::parse;

    use super::*;

    fn mistakes(json: &str) -> Vec<String> {
        let problem = parse::<CreateMetric>(json).and_then(CreateMetric::check).unwrap_err();
        problem.errors.iter().map(|error| format!("{} {}", error.pointer, error.code)).collect()
    }

    #[test]
    fn a_metric_is_named_by_its_code_unless_told_otherwise() {
        let json = r#"{"code":"calls","event_name":"api.request.completed","aggregation":"count"}"#;
        let new = parse::<CreateMetric>(json).unwrap().check().unwrap();
        assert_eq!((new.name.as_str(), new.property), ("calls", None));
    }

    #[test]
    fn every_mistake_is_reported_with_its_place() {
        assert_eq!(
            mistakes(r#"{"code":"a b","name":" ","event_name":"","aggregation":"sum"}"#),
            ["/code malformed", "/name blank", "/event_name blank", "/property required"]
        );
        assert_eq!(
            mistakes(r#"{"code":"x","event_name":"e","aggregation":"max","property":"p"}"#),
            ["/aggregation unsupported"]
        );
        assert_eq!(
            mistakes(r#"{"code":"x","event_name":"e","aggregation":"count","filters":[]}"#),
            ["/filters unknown_field"]
        );
    }
}
