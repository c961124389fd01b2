//! Whose numbers begin with which prefix. A series counts the documents of one issuer and of one kind, for ever: a prefix
//! that somebody has had is nobody else's, so that every series is gapless by itself (RULES 35).

use accrue_core::id::{IssuerId, TenantId};
use accrue_platform::counter;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, Statement};

use super::model::{Numbered, Tenant};

/// A prefix belongs to somebody else, or numbers other documents.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{prefix}` begins other numbers already")]
pub struct SeriesTaken {
    pub numbered: Numbered,
    pub prefix: String,
}

/// From here on, until the transaction ends, nobody else takes a prefix of the tenant: taken before all other locks.
pub async fn take_turns(tx: &DatabaseTransaction, tenant: TenantId) -> Result<(), DbErr> {
    counter::take(tx, tenant, "number_series", 0).await.map(drop)
}

const CLAIM: &str = "
insert into number_series (tenant_id, id, kind, issuer_id) values ($1, $2, $3, $4)
on conflict (tenant_id, id) do nothing";

const OWNER: &str = "select kind, issuer_id from number_series where tenant_id = $1 and id = $2";

const FREE: &str = "delete from number_series where tenant_id = $1 and issuer_id = $2";

/// The prefix is this issuer's from now on, or the account's own; `Err` if it is not to be had.
pub async fn claim(
    tx: &DatabaseTransaction,
    tenant: TenantId,
    owner: Option<IssuerId>,
    numbered: Numbered,
    prefix: &str,
) -> Result<Result<(), SeriesTaken>, DbErr> {
    let backend = tx.get_database_backend();
    let values = [tenant.into(), prefix.into(), numbered.word().into(), owner.into()];
    tx.execute_raw(Statement::from_sql_and_values(backend, CLAIM, values)).await?;
    let asked = Statement::from_sql_and_values(backend, OWNER, [tenant.into(), prefix.into()]);
    let row = tx.query_one_raw(asked).await?.ok_or_else(|| DbErr::RecordNotFound(prefix.to_owned()))?;
    let (kind, owned_by): (String, Option<IssuerId>) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
    if kind == numbered.word() && owned_by == owner {
        return Ok(Ok(()));
    }
    Ok(Err(SeriesTaken { numbered, prefix: prefix.to_owned() }))
}

/// The same for both series that the account has now.
pub async fn claim_own(tx: &DatabaseTransaction, tenant: &Tenant) -> Result<Result<(), SeriesTaken>, DbErr> {
    let own = [
        (Numbered::Invoice, &tenant.settings.invoice_prefix),
        (Numbered::CreditNote, &tenant.settings.credit_note_prefix),
    ];
    for (numbered, prefix) in own {
        if let Err(taken) = claim(tx, tenant.id, None, numbered, prefix).await? {
            return Ok(Err(taken));
        }
    }
    Ok(Ok(()))
}

/// An issuer that never issued anything gives its prefixes back.
pub async fn free(tx: &DatabaseTransaction, tenant: TenantId, owner: IssuerId) -> Result<(), DbErr> {
    let statement =
        Statement::from_sql_and_values(tx.get_database_backend(), FREE, [tenant.into(), owner.into()]);
    tx.execute_raw(statement).await.map(drop)
}
