//! What a merchant can ask after it lost an answer, and what it reconciles with.

use accrue_sandbox_gateway::SandboxError;
use chrono::TimeDelta;

use crate::support::{card, now, open, refund, request};

#[tokio::test]
async fn a_charge_is_found_by_its_reference_its_key_and_its_metadata() {
    let (_file, sandbox) = open().await;
    let method = card(&sandbox, "tok_visa").await;
    let mut tagged = request("tagged", &method);
    tagged.metadata.insert("invoice \"№ 1\"".to_owned(), "inv_1".to_owned());
    tagged.metadata.insert("attempt".to_owned(), "att_1".to_owned());
    let tagged = sandbox.charge(&tagged, now()).await.unwrap();
    let mut other = request("other", &method);
    other.metadata.insert("invoice \"№ 1\"".to_owned(), "inv_2".to_owned());
    other.metadata.insert("attempt".to_owned(), "inv_1".to_owned());
    sandbox.charge(&other, now()).await.unwrap();

    assert_eq!(tagged.metadata.len(), 2);
    assert_eq!(tagged.created_at, now());
    assert_eq!(sandbox.fetch(&tagged.reference).await.unwrap(), tagged);
    assert_eq!(sandbox.find_by_idempotency_key("tagged").await.unwrap(), Some(tagged.clone()));
    assert_eq!(sandbox.find_by_metadata("invoice \"№ 1\"", "inv_1").await.unwrap(), [tagged]);
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let (_file, sandbox) = open().await;

    let fetched = sandbox.fetch("ch_none").await;
    assert!(matches!(fetched, Err(SandboxError::NotFound { kind: "charge", .. })));
    assert_eq!(sandbox.find_by_idempotency_key("none").await.unwrap(), None);
    assert!(sandbox.find_by_metadata("attempt", "none").await.unwrap().is_empty());
    assert!(sandbox.methods("cus_nobody").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_list_holds_its_first_instant_and_not_its_last() {
    let (_file, sandbox) = open().await;
    let method = card(&sandbox, "tok_visa").await;
    let mut charges = Vec::new();
    for second in 0..4 {
        let at = now() + TimeDelta::seconds(second);
        charges.push(sandbox.charge(&request(&format!("key-{second}"), &method), at).await.unwrap());
    }
    let mut refunds = Vec::new();
    for (second, charge) in (0..).zip(&charges) {
        let at = now() + TimeDelta::seconds(second);
        refunds.push(sandbox.refund(&refund(&charge.reference, charge, 1), at).await.unwrap());
    }

    let (since, until) = (now() + TimeDelta::seconds(1), now() + TimeDelta::seconds(3));
    let keys = |charges: &[accrue_sandbox_gateway::Charge]| -> Vec<String> {
        charges.iter().map(|charge| charge.idempotency_key.clone()).collect()
    };
    assert_eq!(keys(&sandbox.list(since, until).await.unwrap()), keys(&charges[1..3]));
    assert_eq!(sandbox.list_refunds(since, until).await.unwrap(), refunds[1..3]);
    assert_eq!(sandbox.entries(since, until).await.unwrap().len(), 4);
}
