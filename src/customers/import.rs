//! Customers from files: made as requests make them, each once.

use accrue_core::{clock::Clock, id::CustomerId};
use accrue_platform::problem::Problem;
use sea_orm::{DatabaseTransaction, DbErr};

use super::{
    http::{issuer_of, parent_of},
    model::Customer,
    request::CreateCustomer,
    service::{self, NewCustomer},
    store,
};
use crate::{
    app::{Record, Taken, differs, nameless},
    auth::Tenant,
    clocks,
};

/// Makes the customer that stands in a file, unless it is there already: known by its `external_id`, or by its `id` in the
/// account that it was exported from. One that is there is never changed: if the file says something else of it, that is a
/// conflict.
pub async fn take(
    tx: &DatabaseTransaction,
    clock: &dyn Clock,
    tenant: &Tenant,
    mut record: Record,
) -> Result<Taken, Problem> {
    let id = record.take_text("id");
    let mut body: CreateCustomer = record.body()?;
    let (test_clock, issuer, parent) = (body.test_clock.take(), body.issuer.take(), body.parent.take());
    let mut new = body.check()?;
    new.parent = parent_of(tx, tenant.id, parent.as_deref()).await?;
    new.issuer = issuer_of(tx, tenant.id, None, issuer.as_deref()).await?.map(|issuer| issuer.id);
    new.test_clock = clocks::service::resolve(tx, tenant, test_clock.as_deref())
        .await
        .map_err(|error| Problem::from(error).named_at("/test_clock"))?;
    if let Some(known) = find(tx, tenant, new.external_id.as_deref(), id.as_deref()).await? {
        let others = differences(&new, &known, |name| record.has(name));
        return if others.is_empty() { Ok(Taken::Known) } else { Err(differs("customer", &others)) };
    }
    if new.external_id.is_none() {
        return Err(nameless());
    }
    let now = clocks::service::now_of(tx, clock, tenant.id, new.test_clock).await?;
    service::create(tx, now, tenant, new).await?;
    Ok(Taken::New)
}

async fn find(
    tx: &DatabaseTransaction,
    tenant: &Tenant,
    external_id: Option<&str>,
    id: Option<&str>,
) -> Result<Option<Customer>, DbErr> {
    match (external_id, id.and_then(|id| id.parse::<CustomerId>().ok())) {
        (Some(name), _) => store::find_by_external_id(tx, tenant.id, name).await,
        (None, Some(id)) => store::find(tx, tenant.id, id).await,
        (None, None) => Ok(None),
    }
}

/// The fields that the file speaks of and that are otherwise.
fn differences(new: &NewCustomer, known: &Customer, is_given: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let same = [
        ("parent", new.parent == known.parent_id),
        ("issuer", new.issuer == known.issuer_id),
        ("net_terms_days", new.net_terms_days == known.net_terms_days),
        ("name", new.name == known.name),
        ("email", new.email == known.email),
        ("invoice_contacts", new.invoice_contacts == known.invoice_contacts),
        ("currency", new.currency == known.currency),
        ("timezone", new.timezone == known.timezone),
        ("locale", new.locale == known.locale),
        ("address", new.address == known.address),
        ("tax_ids", new.tax_ids == known.tax_ids),
        ("exemption", new.exemption == known.exemption),
        ("test_clock", new.test_clock == known.test_clock_id),
        ("metadata", new.metadata == known.metadata),
    ];
    same.into_iter().filter(|(name, same)| !same && is_given(name)).map(|(name, _)| name).collect()
}
