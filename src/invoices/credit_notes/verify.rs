//! Do credit notes agree with their lines, with their invoices, and with the rule that numbers have no gaps?

use accrue_core::id::TenantId;
use accrue_platform::counter;
use sea_orm::ConnectionTrait;

use super::{service::NUMBERS, store};
use crate::invoices::{service::InvoiceError, store::removed_numbers, verify::of_numbers};

/// What is wrong with a tenant's credit notes, one sentence each; nothing if all is well (RULES 33).
pub(in crate::invoices) async fn verify(
    db: &impl ConnectionTrait,
    tenant: TenantId,
) -> Result<Vec<String>, InvoiceError> {
    let mut findings = Vec::new();
    for note in store::unlike_their_lines(db, tenant).await? {
        findings.push(format!("the sums of {note} are not those of its lines"));
    }
    for invoice in store::unlike_their_notes(db, tenant).await? {
        findings.push(format!("{invoice} says something else of credit notes than these do"));
    }
    let mut numbers = store::numbers(db, tenant).await?;
    numbers.extend(removed_numbers(db, tenant, "credit note").await?);
    findings.extend(of_numbers("credit note", &numbers, &counter::given(db, tenant, NUMBERS).await?));
    Ok(findings)
}
