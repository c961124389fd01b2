//! Asking which usage comes to nothing.

use accrue_platform::{
    body::Query,
    page::{Page, PageQuery},
    problem::ProblemBody,
};
use actix_web::get;

use crate::{
    auth::{Answer, Read, resource},
    metering::{body::UnmatchedUsageBody, service},
};

/// List usage that nothing counts, or nothing bills.
///
/// Of each name of events that were taken and that come to nothing, how many there were and why. What no metric counts is
/// there at once; whether what is counted is billed is looked at every hour. Names that were not seen for 90 days are
/// forgotten. What a single event came to, its explanation tells.
#[utoipa::path(
    tag = "usage",
    params(PageQuery),
    responses(
        (status = 200, description = "A page of names, the last to appear first", body = Page<UnmatchedUsageBody>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/usage_events/unmatched")]
pub(super) async fn list_unmatched(read: Read<resource::Usage>, page: Query<PageQuery>) -> Answer {
    read.list("/v1/usage_events/unmatched", page.0, async move |read, page| {
        let unmatched = service::list_unmatched(read.db(), read.tenant_id(), page).await?;
        let body = |counted| UnmatchedUsageBody::new(counted, read.tenant.livemode);
        Ok(unmatched.into_iter().map(body).collect())
    })
    .await
}
