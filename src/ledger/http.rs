//! The books, for reading.

use accrue_core::{
    id::{CustomerId, LedgerAccountId, LedgerEntryId, LedgerTransactionId},
    money::{Currency, Money},
};
use accrue_platform::{
    body::Query,
    page::{Page, PageQuery},
    problem::{Problem, ProblemBody},
    routes::Routes,
};
use actix_web::get;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{
    model::{Account, Entry, OpenAccount, TrialBalanceRow},
    service::{self, LedgerError},
};
use crate::auth::{Answer, Read, resource};

/// Mounts the endpoints.
pub fn routes(routes: &mut Routes) {
    routes.service(list_accounts).service(list_entries).service(trial_balance);
}

/// An account of the books.
#[derive(Serialize, utoipa::ToSchema)]
struct LedgerAccountBody {
    id: LedgerAccountId,
    #[schema(example = "ledger_account")]
    object: &'static str,
    livemode: bool,
    /// `receivable`, `revenue`, `tax_payable`, `gateway_cash`, `customer_credit`, `refunds` or `bad_debt`.
    #[schema(example = "receivable")]
    code: &'static str,
    /// Whose account it is, of `receivable` and `customer_credit`.
    customer: Option<CustomerId>,
    /// Where the money is, of `gateway_cash`.
    gateway: Option<String>,
    currency: Currency,
    /// All debits minus all credits.
    balance: Money,
    created_at: DateTime<Utc>,
}

impl LedgerAccountBody {
    fn new(account: OpenAccount, balance: Money, livemode: bool) -> Self {
        let OpenAccount { id, account, currency, created_at } = account;
        let code = account.code();
        let (customer, gateway) = match account {
            Account::Receivable(customer) | Account::CustomerCredit(customer) => (Some(customer), None),
            Account::GatewayCash(gateway) => (None, Some(gateway)),
            Account::Revenue
            | Account::TaxPayable
            | Account::Refunds
            | Account::BadDebt
            | Account::BalanceAdjustments => (None, None),
        };
        Self {
            id,
            object: "ledger_account",
            livemode,
            code,
            customer,
            gateway,
            currency,
            balance,
            created_at,
        }
    }
}

/// Which accounts to list.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct AccountFilter {
    /// `receivable`, `revenue`, …
    code: Option<String>,
    /// A customer's identifier or `external_id`.
    customer: Option<String>,
}

/// List the accounts of the books, with their balances.
#[utoipa::path(
    tag = "ledger",
    params(AccountFilter, PageQuery),
    responses(
        (status = 200, description = "A page of accounts", body = Page<LedgerAccountBody>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/ledger/accounts")]
async fn list_accounts(
    read: Read<resource::Ledger>,
    filter: Query<AccountFilter>,
    page: Query<PageQuery>,
) -> Answer {
    let AccountFilter { code, customer } = filter.0;
    read.list("/v1/ledger/accounts", page.0, async move |read, page| {
        let (code, customer) = (code.as_deref(), customer.as_deref());
        let accounts = service::list_accounts(read.db(), read.tenant_id(), code, customer, page).await?;
        let body = |(account, balance)| LedgerAccountBody::new(account, balance, read.tenant.livemode);
        Ok(accounts.into_iter().map(body).collect())
    })
    .await
}

/// One side of a fact.
#[derive(Serialize, utoipa::ToSchema)]
struct LedgerEntryBody {
    id: LedgerEntryId,
    #[schema(example = "ledger_entry")]
    object: &'static str,
    livemode: bool,
    account: LedgerAccountId,
    #[schema(example = "receivable")]
    account_code: &'static str,
    /// What the entries of one fact share; they add up to zero.
    transaction: LedgerTransactionId,
    #[schema(example = "invoice.finalized")]
    fact: String,
    /// What the fact is about.
    #[schema(example = "inv_01979f0c6a5e7c1f8f6d2b1a9e3c4d5f")]
    object_id: String,
    description: String,
    /// A debit is positive, a credit negative.
    amount: Money,
    currency: Currency,
    created_at: DateTime<Utc>,
}

impl LedgerEntryBody {
    fn new(entry: Entry, livemode: bool) -> Self {
        Self {
            id: entry.id,
            object: "ledger_entry",
            livemode,
            account: entry.account_id,
            account_code: entry.account.code(),
            transaction: entry.transaction_id,
            fact: entry.fact,
            object_id: entry.object_id,
            description: entry.description,
            amount: entry.amount,
            currency: entry.amount.currency(),
            created_at: entry.created_at,
        }
    }
}

/// Which entries to list.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct EntryFilter {
    /// An account's identifier.
    account: Option<String>,
}

/// List the entries of the books.
///
/// An entry is never changed and never deleted.
#[utoipa::path(
    tag = "ledger",
    params(EntryFilter, PageQuery),
    responses(
        (status = 200, description = "A page of entries", body = Page<LedgerEntryBody>),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/ledger/entries")]
async fn list_entries(
    read: Read<resource::Ledger>,
    filter: Query<EntryFilter>,
    page: Query<PageQuery>,
) -> Answer {
    let account = filter.0.account.as_deref().map(str::parse).transpose()?;
    read.list("/v1/ledger/entries", page.0, async move |read, page| {
        let entries = service::list_entries(read.db(), read.tenant_id(), account, page).await?;
        let body = |entry| LedgerEntryBody::new(entry, read.tenant.livemode);
        Ok(entries.into_iter().map(body).collect())
    })
    .await
}

/// The books added up: in each currency all debits equal all credits.
#[derive(Serialize, utoipa::ToSchema)]
struct TrialBalanceBody {
    #[schema(example = "trial_balance")]
    object: &'static str,
    livemode: bool,
    as_of: DateTime<Utc>,
    currencies: Vec<CurrencyBalanceBody>,
}

/// The books in one currency.
#[derive(Serialize, utoipa::ToSchema)]
struct CurrencyBalanceBody {
    currency: Currency,
    rows: Vec<TrialBalanceRowBody>,
    debit: Money,
    credit: Money,
    /// Debits minus credits: zero.
    balance: Money,
}

/// All accounts of one code.
#[derive(Serialize, utoipa::ToSchema)]
struct TrialBalanceRowBody {
    #[schema(example = "receivable")]
    account_code: String,
    debit: Money,
    credit: Money,
    /// Debits minus credits.
    balance: Money,
}

impl TrialBalanceBody {
    /// `rows` are sorted by currency.
    fn new(rows: &[TrialBalanceRow], as_of: DateTime<Utc>, livemode: bool) -> Result<Self, LedgerError> {
        let by_currency = rows.chunk_by(|one, next| one.debit.currency() == next.debit.currency());
        let currencies = by_currency.map(CurrencyBalanceBody::new).collect::<Result<_, _>>()?;
        Ok(Self { object: "trial_balance", livemode, as_of, currencies })
    }
}

impl CurrencyBalanceBody {
    fn new(rows: &[TrialBalanceRow]) -> Result<Self, LedgerError> {
        let currency = rows[0].debit.currency();
        let debit = Money::sum(currency, rows.iter().map(|row| row.debit))?;
        let credit = Money::sum(currency, rows.iter().map(|row| row.credit))?;
        let row = |row: &TrialBalanceRow| {
            let TrialBalanceRow { code, debit, credit } = row.clone();
            Ok(TrialBalanceRowBody { account_code: code, debit, credit, balance: debit.checked_sub(credit)? })
        };
        let rows = rows.iter().map(row).collect::<Result<_, LedgerError>>()?;
        Ok(Self { currency, rows, debit, credit, balance: debit.checked_sub(credit)? })
    }
}

/// The trial balance.
///
/// For each currency and kind of account what was debited and credited. Both add up to the same.
#[utoipa::path(
    tag = "ledger",
    responses(
        (status = 200, description = "The trial balance", body = TrialBalanceBody),
        (status = "4XX", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
#[get("/v1/ledger/trial_balance")]
async fn trial_balance(read: Read<resource::Ledger>) -> Answer {
    let rows = service::trial_balance(read.db(), read.tenant_id()).await?;
    read.answer(&TrialBalanceBody::new(&rows, read.app.now(), read.tenant.livemode)?)
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::NoSuchAccount(_) => Self::not_found("ledger account"),
            LedgerError::Customer(error) => error.into(),
            LedgerError::Page(error) => error.into(),
            LedgerError::Database(error) => error.into(),
            LedgerError::Unbalanced { .. } | LedgerError::Money(_) => Self::internal(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(code: &str, debit: i64, credit: i64, currency: Currency) -> TrialBalanceRow {
        let [debit, credit] = [debit, credit].map(|minor| Money::from_minor(minor, currency));
        TrialBalanceRow { code: code.to_owned(), debit, credit }
    }

    #[test]
    fn the_trial_balance_adds_up_each_currency_alone() {
        let rows = [
            row("receivable", 1190, 0, Currency::EUR),
            row("revenue", 0, 1190, Currency::EUR),
            row("receivable", 500, 500, Currency::JPY),
        ];
        let body = TrialBalanceBody::new(&rows, "2026-01-01T00:00:00Z".parse().unwrap(), false).unwrap();
        let currencies = serde_json::to_value(&body).unwrap()["currencies"].take();
        assert_eq!(currencies[0]["rows"][1]["balance"], "-11.90");
        let totals = |index: usize| {
            let total = &currencies[index];
            json!([total["currency"], total["debit"], total["credit"], total["balance"]])
        };
        assert_eq!(totals(0), json!(["EUR", "11.90", "11.90", "0.00"]));
        assert_eq!(totals(1), json!(["JPY", "500", "500", "0"]));
    }
}
