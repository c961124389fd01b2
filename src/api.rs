//! Mounts each capability's routes and collects the OpenAPI document. A list, no logic.

use accrue_platform::routes::Routes;
use utoipa::openapi::{
    ContactBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder,
    security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    tag::TagBuilder,
};

use crate::{
    alerts, auth, calculate, catalog, clocks, credit_notes, customers, dunning, entitlements, invoices,
    issuers, ledger, lifecycle, metering, notifications, payments, subscriptions, system, timeline, webhooks,
};

/// Everything that is answered.
pub fn routes(routes: &mut Routes) {
    // Routes are tried one after the other: the one with the most requests comes first.
    metering::routes(routes);
    auth::routes(routes);
    catalog::routes(routes);
    clocks::routes(routes);
    issuers::routes(routes);
    customers::routes(routes);
    subscriptions::routes(routes);
    ledger::routes(routes);
    invoices::routes(routes);
    payments::routes(routes);
    credit_notes::routes(routes);
    lifecycle::routes(routes);
    dunning::routes(routes);
    entitlements::routes(routes);
    alerts::routes(routes);
    notifications::routes(routes);
    webhooks::routes(routes);
    timeline::routes(routes);
    calculate::routes(routes);
    system::routes(routes);
}

/// What the documentation says of each group of operations, in reading order.
const TAGS: &[(&str, &str)] = &[
    ("catalog", "What is sold: metrics, features, taxes, plans."),
    ("issuers", "Who bills: legal entities with their own numbers and documents."),
    ("customers", "Who is billed."),
    ("subscriptions", "Who has which plan since when."),
    ("usage", "What was used."),
    ("invoices", "What is owed."),
    ("payments", "Money that moves: payment methods, payments, refunds, dunning."),
    ("entitlements", "What customers may use now."),
    ("webhooks", "How your systems learn what happened."),
    ("notifications", "The mails that were sent."),
    ("ledger", "The books."),
    ("calculators", "What the rules of billing come to: nothing is read or written."),
    ("test clocks", "Time that is moved by hand, in test mode."),
    ("account", "Settings, keys, the audit log, jobs."),
    ("system", "Health, metrics, problems."),
];

/// The OpenAPI document as it is served. A test keeps it equal to [`openapi`], which takes memory to make.
pub const DOCUMENT: &str = include_str!("../openapi/openapi.json");

/// The OpenAPI document, made from the handlers.
pub fn openapi() -> OpenApi {
    let mut api = OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Accrue")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(
                    "Subscription and usage-metering billing. Amounts are decimal strings in major units, \
                     times are UTC, periods are half-open. Every POST takes an `Idempotency-Key`. A list with \
                     `Accept: text/csv` or `application/x-ndjson` is a file of all of it.",
                ))
                .contact(Some(ContactBuilder::new().name(Some("The Accrue developers")).build()))
                .license(Some(
                    LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build(),
                ))
                .build(),
        )
        .tags(Some(
            TAGS.iter().map(|(name, text)| TagBuilder::new().name(*name).description(Some(*text)).build()),
        ))
        .security(Some([SecurityRequirement::new("key", Vec::<String>::new())]))
        .build();
    actix_web::App::new().configure(|config| routes(&mut Routes::to_describe(config, &mut api)));
    name_operations(&mut api);
    let key = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    api.components.get_or_insert_default().add_security_scheme("key", key);
    api
}

/// Operations are named by the resource they are about and their handler, which is unique: `customers_create`.
fn name_operations(api: &mut OpenApi) {
    for (path, item) in &mut api.paths.paths {
        let resource =
            path.trim_start_matches("/v1").split('/').find(|part| !part.is_empty()).unwrap_or_default();
        let operations = [&mut item.get, &mut item.post, &mut item.patch, &mut item.put, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            let handler = operation.operation_id.take().unwrap_or_default();
            operation.operation_id = Some(format!("{resource}_{handler}"));
        }
    }
}
