//! `/v1/metrics`

use accrue_core::usage::{
    Aggregation, Conversion, FILTERS_MAX, MetricFilter, RawMetric, Rounding, VALUES_MAX,
};
use accrue_platform::{
    body::{Body, Query},
    check::{Check, Metadata},
    page::{Page, PageQuery},
    problem::{Problem, ProblemBody},
    routes::Routes,
};
use actix_web::{delete, get, http::StatusCode, patch, post, web::Path};
use serde::Deserialize;

use super::{ArchivedFilter, NAME_MAX, price_request::check_group_by};
use crate::{
    auth::{Answer, Read, Write, resource},
    catalog::{
        archiving,
        body::{MetricBody, RemovedBody},
        model::{GROUPINGS_MAX, LateEvents, MetricChange, NewMetric, check_property},
        service,
    },
};

pub(super) fn routes(routes: &mut Routes) {
    routes
        .service(create_metric)
        .service(list_metrics)
        .service(get_metric)
        .service(update_metric)
        .service(remove_metric)
        .service(archive_metric)
        .service(unarchive_metric);
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
    /// How events become one quantity.
    aggregation: Aggregation,
    /// Which property of an event holds the number, or the value that is unique; needed for all but `count`.
    #[schema(example = "tokens")]
    property: Option<String>,
    /// Whether what is there at a period's end is there at the next one's start.
    recurring: Option<bool>,
    /// Counts only events that match all of them; at most 20.
    #[schema(max_items = 20)]
    filters: Option<Vec<MetricFilter>>,
    /// From measured units to priced ones, once per quantity.
    conversion: Option<Conversion>,
    /// Of the aggregate, once, before its conversion.
    rounding: Option<Rounding>,
    /// What happens to an event that comes when its period was billed; unless given, the next invoice adds it.
    #[serde(default)]
    late_events: LateEvents,
    /// Sets of properties by which you will ask for its usage, as `group_by`: of these hours are kept, so that the answer
    /// is there at once however many events there are. Prices that filter or group add theirs. At most 8 sets of at most
    /// 5 properties; not for `unique_count`.
    #[schema(max_items = 8, example = json!([["model"]]))]
    #[serde(default)]
    group_by: Vec<Vec<String>>,
    #[serde(default)]
    metadata: Metadata,
}

/// What to change of a metric; what is not named stays. What it counts never changes: make another metric.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct UpdateMetric {
    #[schema(example = "Tokens")]
    name: Option<String>,
    late_events: Option<LateEvents>,
    /// More sets of properties by which you will ask for its usage; those that are there stay.
    #[schema(max_items = 8, example = json!([["model"]]))]
    #[serde(default)]
    group_by: Vec<Vec<String>>,
    /// Replaces all notes.
    metadata: Option<Metadata>,
}

impl UpdateMetric {
    fn check(self) -> Result<MetricChange, Problem> {
        let Self { name, late_events, group_by, metadata } = self;
        let mut check = Check::new();
        check.optional_text("/name", name.as_deref(), NAME_MAX);
        let group_by = check_groupings(&mut check, group_by);
        if let Some(metadata) = &metadata {
            check.metadata("/metadata", metadata);
        }
        check.finish()?;
        Ok(MetricChange { name, late_events, group_by, metadata })
    }
}

impl CreateMetric {
    fn check(self) -> Result<NewMetric, Problem> {
        let Self { code, name, event_name, aggregation, property, late_events, group_by, metadata, .. } =
            self;
        let mut check = Check::new();
        check.code("/code", &code);
        check.optional_text("/name", name.as_deref(), NAME_MAX);
        check.text("/event_name", &event_name, NAME_MAX);
        check.optional_text("/property", property.as_deref().filter(|text| !text.is_empty()), NAME_MAX);
        check.invalid("", check_property(aggregation, property.as_deref()));
        let filters = self.filters.unwrap_or_default();
        check_filters(&mut check, &filters);
        let raw = RawMetric {
            code: None,
            name: None,
            event_name: None,
            aggregation,
            property,
            recurring: self.recurring.unwrap_or_default(),
            filters,
            conversion: self.conversion,
            rounding: self.rounding,
        };
        let rules = raw.check().map_err(|mistakes| check.invalid("", mistakes));
        let group_by = check_groupings(&mut check, group_by);
        check.metadata("/metadata", &metadata);
        check.finish()?;
        let name = name.unwrap_or_else(|| code.clone());
        let rules = rules.expect("every mistake was reported");
        Ok(NewMetric { code, name, event_name, rules, late_events, group_by, metadata })
    }
}

/// Each set of properties sorted, as the same properties in another order are the same set.
fn check_groupings(check: &mut Check, mut group_by: Vec<Vec<String>>) -> Vec<Vec<String>> {
    if group_by.len() > GROUPINGS_MAX {
        let detail = format!("hours are kept apart in at most {GROUPINGS_MAX} ways that no price asks for");
        check.refuse("/group_by", "too_many", detail);
    }
    for (index, set) in group_by.iter_mut().take(GROUPINGS_MAX).enumerate() {
        let pointer = format!("/group_by/{index}");
        check_group_by(check, &pointer, set);
        if set.is_empty() {
            check.refuse(pointer, "blank", "names at least one property");
        }
        set.sort_unstable();
    }
    group_by
}

/// The lengths of what filters compare.
fn check_filters(check: &mut Check, filters: &[MetricFilter]) {
    for (index, filter) in filters.iter().take(FILTERS_MAX).enumerate() {
        if filter.property.chars().count() > NAME_MAX {
            let detail = format!("has at most {NAME_MAX} characters");
            check.refuse(format!("/filters/{index}/property"), "too_long", detail);
        }
        for (at, value) in filter.values.iter().take(VALUES_MAX).enumerate() {
            if value.chars().count() > NAME_MAX {
                let detail = format!("has at most {NAME_MAX} characters");
                check.refuse(format!("/filters/{index}/values/{at}"), "too_long", detail);
            }
        }
    }
}

/// Make a metric.
///
/// What a metric counts never changes: what was measured and billed stays true. Make another one instead.
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
    params(ArchivedFilter, PageQuery),
    responses(
        (status = 200, description = "A page of metrics", body = Page<MetricBody>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/metrics")]
async fn list_metrics(
    read: Read<resource::Catalog>,
    filter: Query<ArchivedFilter>,
    page: Query<PageQuery>,
) -> Answer {
    read.list("/v1/metrics", page.0, async move |read, page| {
        let metrics =
            service::list_metrics(read.db(), read.tenant_id(), filter.0.is_archived(), page).await?;
        let body = |metric| MetricBody::of(metric, read.tenant.livemode);
        Ok(metrics.into_iter().map(body).collect())
    })
    .await
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

/// Change a metric.
///
/// Its name and its notes, and what happens to events that come late, from now on.
#[utoipa::path(
    tag = "catalog",
    params(("id" = String, Path, description = "The metric's identifier or code")),
    request_body = UpdateMetric,
    responses(
        (status = 200, description = "The metric as it is now", body = MetricBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[patch("/v1/metrics/{id}")]
async fn update_metric(
    write: Write<resource::Catalog>,
    id: Path<String>,
    body: Body<UpdateMetric>,
) -> Answer {
    let change = body.0.check()?;
    let tx = write.begin().await?;
    let metric = service::update_metric(&tx, &write.tenant, &id, change).await?;
    let body = MetricBody::of(metric, write.tenant.livemode);
    write.commit(tx, StatusCode::OK, body.id, &body).await
}

/// Delete a metric, or archive it if it is used.
///
/// It is used if a price, a feature or an alert names it, or if it was there when usage events came. The code of what is
/// deleted is free again.
#[utoipa::path(
    tag = "catalog",
    params(("id" = String, Path, description = "The metric's identifier or code")),
    responses(
        (status = 200, description = "Which of the two happened", body = RemovedBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[delete("/v1/metrics/{id}")]
async fn remove_metric(write: Write<resource::Catalog>, id: Path<String>) -> Answer {
    let tx = write.begin().await?;
    let removed = archiving::remove_metric(&tx, write.app.now(), &write.tenant, &id).await?;
    let body = RemovedBody::of(removed, "metric", write.tenant.livemode);
    write.commit(tx, StatusCode::OK, &body.id, &body).await
}

/// Archive a metric.
///
/// No new price, feature or alert may name it, and lists leave it out. It goes on counting: for the plans, features and alerts
/// that have it, and for whoever asks. Its code stays taken. Archiving twice is the same as archiving once.
#[utoipa::path(
    tag = "catalog",
    params(("id" = String, Path, description = "The metric's identifier or code")),
    responses(
        (status = 200, description = "The metric as it is now", body = MetricBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/metrics/{id}/archive")]
async fn archive_metric(write: Write<resource::Catalog>, id: Path<String>) -> Answer {
    let now = write.app.now();
    let tx = write.begin().await?;
    let metric = archiving::archive_metric(&tx, &write.tenant, &id, Some(now)).await?;
    let body = MetricBody::of(metric, write.tenant.livemode);
    write.commit(tx, StatusCode::OK, body.id, &body).await
}

/// Take a metric back from the archive.
///
/// New prices, features and alerts may name it again.
#[utoipa::path(
    tag = "catalog",
    params(("id" = String, Path, description = "The metric's identifier or code")),
    responses(
        (status = 200, description = "The metric as it is now", body = MetricBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[post("/v1/metrics/{id}/unarchive")]
async fn unarchive_metric(write: Write<resource::Catalog>, id: Path<String>) -> Answer {
    let tx = write.begin().await?;
    let metric = archiving::archive_metric(&tx, &write.tenant, &id, None).await?;
    let body = MetricBody::of(metric, write.tenant.livemode);
    write.commit(tx, StatusCode::OK, body.id, &body).await
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
        assert_eq!((new.name.as_str(), new.rules.property), ("calls", None));
    }

    #[test]
    fn every_mistake_is_reported_with_its_place() {
        assert_eq!(
            mistakes(r#"{"code":"a b","name":" ","event_name":"","aggregation":"sum"}"#),
            ["/code malformed", "/name blank", "/event_name blank", "/property required"]
        );
        assert_eq!(
            mistakes(
                r#"{"code":"x","event_name":"e","aggregation":"count","property":"p",
                "filters":[{"property":""},{"property":"region","values":["eu"]}],
                "conversion":{"operation":"divide","factor":"0"},"rounding":{"mode":"ceil","precision":16}}"#
            ),
            [
                "/property unexpected",
                "/filters/0/property required",
                "/conversion/factor not_positive",
                "/rounding/precision out_of_range",
            ]
        );
    }
}
