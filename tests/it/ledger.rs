//! The books: balanced, and never rewritten.

use accrue::{
    auth::{self, Mode, Tenant},
    ledger::{
        Account, Finding, Posting,
        service::{self, LedgerError},
    },
};
use accrue_core::{
    id::{CustomerId, LedgerEntryId},
    money::{Currency, Money},
};
use accrue_platform::db::is_unique_violation;
use futures_util::future::join_all;
use rstest::rstest;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Reply, World, text};

/// A world with a customer.
async fn world_of_acme(on: Engine) -> Option<(World, Tenant, CustomerId)> {
    let world = World::new(on).await?;
    let made = world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme"})).await;
    let tenant = auth::service::first_tenant(world.app.db.reader(), Mode::Test).await.unwrap().unwrap();
    Some((world, tenant, text(&made["id"]).parse().unwrap()))
}

/// An invoice of `net` and `tax` cents.
fn invoiced(object_id: &str, customer: CustomerId, net: i64, tax: i64, currency: Currency) -> Posting {
    let money = |minor| Money::from_minor(minor, currency);
    Posting {
        fact: "invoice.finalized",
        object_id: object_id.to_owned(),
        description: format!("Invoice {object_id}"),
        entries: vec![
            (Account::Receivable(customer), money(net + tax)),
            (Account::Revenue, money(-net)),
            (Account::TaxPayable, money(-tax)),
        ],
    }
}

async fn post(world: &World, tenant: &Tenant, posting: Posting) -> Result<(), LedgerError> {
    let tx = world.app.db.begin().await?;
    service::post(&tx, world.app.now(), tenant.id, posting).await?;
    Ok(tx.commit().await?)
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_fact_is_seen_in_accounts_entries_and_the_trial_balance(#[values(Sqlite, Postgres)] on: Engine) {
    let Some((world, tenant, acme)) = world_of_acme(on).await else { return };
    post(&world, &tenant, invoiced("inv_1", acme, 1000, 190, Currency::EUR)).await.unwrap();
    post(&world, &tenant, invoiced("inv_2", acme, 500, 0, Currency::EUR)).await.unwrap();
    post(&world, &tenant, invoiced("inv_3", acme, 7, 0, Currency::JPY)).await.unwrap();

    let of_receivable = |account: &Account| match account {
        Account::Receivable(customer) => Some(*customer),
        _ => None,
    };
    let expected =
        [(acme, Money::from_minor(1689, Currency::EUR)), (acme, Money::from_minor(1, Currency::EUR))];
    let reader = world.app.db.reader();
    let unlike = service::unlike(reader, tenant.id, of_receivable, expected).await.unwrap();
    let yen = |minor| Money::from_minor(minor, Currency::JPY);
    assert_eq!(unlike, [(acme, yen(0), yen(7))], "euros are as expected, nobody expected yen");

    let accounts = world.list("/v1/ledger/accounts?customer=acme").await;
    let line = |account: &Value| {
        assert_eq!(
            (&account["code"], &account["customer"]),
            (&json!("receivable"), &json!(acme.to_string()))
        );
        format!("{} {}", text(&account["currency"]), text(&account["balance"]))
    };
    assert_eq!(accounts.iter().map(line).collect::<Vec<_>>(), ["JPY 7", "EUR 16.90"]);
    assert_eq!(world.list("/v1/ledger/accounts").await.len(), 5);

    let path = format!("/v1/ledger/entries?account={}", text(&accounts[1]["id"]));
    let entries = world.list(&path).await;
    let line = |entry: &Value| {
        format!("{} {} {}", text(&entry["object_id"]), text(&entry["amount"]), text(&entry["fact"]))
    };
    assert_eq!(
        entries.iter().map(line).collect::<Vec<_>>(),
        ["inv_2 5.00 invoice.finalized", "inv_1 11.90 invoice.finalized"]
    );
    assert_eq!(world.list("/v1/ledger/entries").await.len(), 7, "an entry of zero is left out");

    let trial = world.get("/v1/ledger/trial_balance").await;
    let euro = &trial["currencies"][0];
    assert_eq!(
        (&euro["debit"], &euro["credit"], &euro["balance"]),
        (&json!("16.90"), &json!("16.90"), &json!("0.00"))
    );
    let row = |row: &Value| {
        format!("{} {} {}", text(&row["account_code"]), text(&row["debit"]), text(&row["credit"]))
    };
    let rows: Vec<_> = euro["rows"].as_array().unwrap().iter().map(row).collect();
    assert_eq!(rows, ["receivable 16.90 0.00", "revenue 0.00 15.00", "tax_payable 0.00 1.90"]);
    assert_eq!(service::verify(world.app.db.reader(), tenant.id).await.unwrap(), []);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_balance_or_is_posted_twice_is_refused(#[values(Sqlite, Postgres)] on: Engine) {
    let Some((world, tenant, acme)) = world_of_acme(on).await else { return };
    let good = invoiced("inv_1", acme, 1000, 190, Currency::EUR);
    let mut bad = invoiced("inv_2", acme, 1000, 190, Currency::EUR);
    bad.entries.pop();
    post(&world, &tenant, good.clone()).await.unwrap();

    let refused = post(&world, &tenant, bad).await.unwrap_err();
    assert_eq!(refused.to_string(), "the entries of invoice.finalized inv_2 do not add up to zero");
    let twice = post(&world, &tenant, good).await.unwrap_err();
    assert!(matches!(&twice, LedgerError::Database(error) if is_unique_violation(error)), "{twice:?}");
    let nothing = Posting { entries: Vec::new(), ..invoiced("inv_3", acme, 0, 0, Currency::EUR) };
    post(&world, &tenant, nothing.clone()).await.unwrap();
    post(&world, &tenant, nothing).await.unwrap();

    assert_eq!(world.list("/v1/ledger/entries").await.len(), 3);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_database_refuses_to_rewrite_the_books(#[values(Sqlite, Postgres)] on: Engine) {
    let Some((world, tenant, acme)) = world_of_acme(on).await else { return };
    post(&world, &tenant, invoiced("inv_1", acme, 1000, 190, Currency::EUR)).await.unwrap();
    let before = world.list("/v1/ledger/entries").await;

    for table in ["ledger_accounts", "ledger_transactions", "ledger_entries"] {
        for change in [format!("update {table} set created_at = created_at"), format!("delete from {table}")]
        {
            let tx = world.app.db.begin().await.unwrap();
            let error = tx.execute_unprepared(&change).await.unwrap_err().to_string();
            assert!(error.contains(&format!("{table} is append-only")), "{change}: {error}");
            tx.rollback().await.unwrap();
        }
    }
    assert_eq!(world.list("/v1/ledger/entries").await, before);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_was_smuggled_in_is_found(#[values(Sqlite, Postgres)] on: Engine) {
    const SMUGGLE: &str = "
        insert into ledger_entries (tenant_id, id, transaction_id, account_id, amount_minor, currency, created_at)
        select tenant_id, $1, transaction_id, account_id, amount_minor, currency, created_at
        from ledger_entries where amount_minor > 0";
    let Some((world, tenant, acme)) = world_of_acme(on).await else { return };
    post(&world, &tenant, invoiced("inv_1", acme, 1000, 190, Currency::EUR)).await.unwrap();
    let transaction = text(&world.list("/v1/ledger/entries").await[0]["transaction"]);

    let tx = world.app.db.begin().await.unwrap();
    let values = [LedgerEntryId::new(world.app.now()).into()];
    let smuggle = Statement::from_sql_and_values(tx.get_database_backend(), SMUGGLE, values);
    tx.execute_raw(smuggle).await.unwrap();
    tx.commit().await.unwrap();

    let found = service::verify(world.app.db.reader(), tenant.id).await.unwrap();
    let sum = Money::from_minor(1190, Currency::EUR);
    assert_eq!(found, [Finding::Transaction(transaction.parse().unwrap(), sum), Finding::Total(sum)]);
    assert_eq!(found[0].to_string(), format!("{transaction} adds up to 11.90 EUR, not to zero"));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_first_postings_to_an_account_may_come_at_once(#[values(Sqlite, Postgres)] on: Engine) {
    let Some((world, tenant, acme)) = world_of_acme(on).await else { return };
    let names: Vec<_> = (0..8).map(|number| format!("inv_{number}")).collect();
    let post_turned = async |(number, name): (usize, &String)| {
        let mut posting = invoiced(name, acme, 100, 19, Currency::EUR);
        if number % 2 == 1 {
            posting.entries.reverse();
        }
        post(&world, &tenant, posting).await
    };

    let outcomes = join_all(names.iter().enumerate().map(post_turned)).await;

    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let accounts = world.list("/v1/ledger/accounts").await;
    let balances: Vec<_> = accounts.iter().map(|account| text(&account["balance"])).collect();
    assert_eq!(balances.len(), 3);
    assert!(balances.contains(&"9.52".to_owned()), "{balances:?}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_books_are_not_there(#[values(Sqlite, Postgres)] on: Engine) {
    let Some((world, tenant, acme)) = world_of_acme(on).await else { return };
    post(&world, &tenant, invoiced("inv_1", acme, 1000, 190, Currency::EUR)).await.unwrap();
    let account = text(&world.list("/v1/ledger/accounts").await[0]["id"]);
    let stranger = world.stranger().await;

    for path in ["/v1/ledger/accounts", "/v1/ledger/entries"] {
        let page = Reply::of(world.request_as(&stranger, "GET", path)).await.expect(200);
        assert_eq!(page["data"], json!([]), "{path}");
    }
    let trial = Reply::of(world.request_as(&stranger, "GET", "/v1/ledger/trial_balance")).await.expect(200);
    assert_eq!(trial["currencies"], json!([]));
    for path in
        [format!("/v1/ledger/entries?account={account}"), "/v1/ledger/accounts?customer=acme".to_owned()]
    {
        assert_eq!(Reply::of(world.request_as(&stranger, "GET", &path)).await.status, 404, "{path}");
    }
}
