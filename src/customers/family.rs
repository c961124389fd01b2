//! Who pays for whom: a customer's parent pays for it, the parent's parent for both. Usage, subscriptions and entitlements
//! stay everybody's own (decision 0053).

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use accrue_core::{
    id::{CustomerId, TenantId},
    money::Currency,
};
use accrue_platform::counter;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::{model::Customer, service::CustomerError, store};

/// How many stand above each other at most.
pub const LEVELS_MAX: usize = 5;

/// Why a customer cannot be another one's child.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FamilyError {
    #[error("is the customer itself, or one that it pays for")]
    Circle,
    #[error("has too many above it, or the customer below: at most {LEVELS_MAX} levels")]
    TooDeep,
    #[error("goes by another clock than the customer")]
    OtherClock,
    #[error("bills its own children: a customer with a parent has no other issuer")]
    OwnIssuer,
    #[error("is billed in {0}, and the customer in another currency")]
    Currency(Currency),
}

/// From here on, until the transaction ends, nobody else changes who pays for whom: two that become each other's parents at
/// once would both be right. Taken before all other locks.
pub async fn take_turns(tx: &DatabaseTransaction, tenant: TenantId) -> Result<(), DbErr> {
    counter::take(tx, tenant, "customer_family", 0).await.map(drop)
}

/// Everybody above a customer, the nearest first.
pub async fn above(db: &impl ConnectionTrait, customer: &Customer) -> Result<Vec<Customer>, DbErr> {
    let mut above: Vec<Customer> = Vec::new();
    let mut next = customer.parent_id;
    while let Some(id) = next.filter(|_| above.len() <= LEVELS_MAX) {
        let found = store::find(db, customer.tenant_id, id).await?;
        let found = found.ok_or_else(|| DbErr::RecordNotFound(id.to_string()))?;
        next = found.parent_id;
        above.push(found);
    }
    Ok(above)
}

/// Who pays for a customer: whoever is above all others, or the customer alone.
pub async fn payer<'a>(
    db: &impl ConnectionTrait,
    customer: &'a Customer,
) -> Result<Cow<'a, Customer>, DbErr> {
    Ok(above(db, customer).await?.pop().map_or(Cow::Borrowed(customer), Cow::Owned))
}

/// Who pays for some customers, of those that have a parent. Asks once for each level.
pub async fn payers(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    customers: &[Customer],
) -> Result<HashMap<CustomerId, Customer>, DbErr> {
    let mut known: HashMap<CustomerId, Customer> = HashMap::new();
    let mut asked: HashSet<CustomerId> = customers.iter().filter_map(|customer| customer.parent_id).collect();
    for _ in 0..LEVELS_MAX {
        if asked.is_empty() {
            break;
        }
        let found = store::all_of(db, tenant, asked.into_iter().collect()).await?;
        asked = found.iter().filter_map(|customer| customer.parent_id).collect();
        known.extend(found.into_iter().map(|customer| (customer.id, customer)));
        asked.retain(|id| !known.contains_key(id));
    }
    let mut payers = HashMap::new();
    for customer in customers {
        let mut payer = customer.parent_id.and_then(|id| known.get(&id));
        while let Some(above) = payer.and_then(|payer| payer.parent_id).and_then(|id| known.get(&id)) {
            payer = Some(above);
        }
        payers.extend(payer.map(|payer| (customer.id, payer.clone())));
    }
    Ok(payers)
}

/// Whether a customer can be where it says that it is. The caller has the turn.
pub(super) async fn check(tx: &DatabaseTransaction, customer: &Customer) -> Result<(), CustomerError> {
    if customer.parent_id.is_none() {
        return Ok(());
    }
    if customer.issuer_id.is_some() {
        return Err(FamilyError::OwnIssuer.into());
    }
    if customer.parent_id == Some(customer.id) {
        return Err(FamilyError::Circle.into());
    }
    let above = above(tx, customer).await?;
    if above.iter().any(|one| one.id == customer.id) {
        return Err(FamilyError::Circle.into());
    }
    if above.iter().any(|one| one.test_clock_id != customer.test_clock_id) {
        return Err(FamilyError::OtherClock.into());
    }
    let mut levels = above.len() + 1;
    let mut lowest = vec![customer.id];
    while levels <= LEVELS_MAX {
        lowest = store::children_of(tx, customer.tenant_id, lowest).await?;
        if lowest.is_empty() {
            return Ok(());
        }
        levels += 1;
    }
    Err(FamilyError::TooDeep.into())
}

/// Everybody above a locked customer is billed in its currency from now on, or already: they pay for it. Refuses another
/// one. A customer is locked before those above it.
pub(super) async fn agree(tx: &DatabaseTransaction, customer: &Customer) -> Result<(), CustomerError> {
    let Some(currency) = customer.currency else { return Ok(()) };
    let mut next = customer.parent_id;
    while let Some(id) = next {
        let found = store::find_for_update(tx, customer.tenant_id, id).await?;
        let mut above = found.ok_or_else(|| CustomerError::NotFound(id.to_string()))?;
        match above.currency {
            Some(same) if same == currency => {}
            Some(other) => return Err(FamilyError::Currency(other).into()),
            None => {
                above.currency = Some(currency);
                store::save(tx, &above).await?;
            }
        }
        next = above.parent_id;
    }
    Ok(())
}
