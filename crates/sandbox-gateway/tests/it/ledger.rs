//! Refunds, and the books that must add up.

use accrue_sandbox_gateway::{DisputeStatus, EntryKind, Sandbox, SandboxError};

use crate::support::{all_entries, assert_adds_up, card, charge, now, open, refund, request};

#[tokio::test]
async fn partial_refunds_add_up_to_the_captured_amount_and_no_further() {
    let (_file, sandbox) = open().await;
    let method = card(&sandbox, "tok_visa").await;
    let mut authorize = request("key", &method);
    authorize.capture = false;
    let held = sandbox.charge(&authorize, now()).await.unwrap();
    let paid = sandbox.capture(&held.reference, 1000, now()).await.unwrap();

    sandbox.refund(&refund("r1", &paid, 300), now()).await.unwrap();
    let second = sandbox.refund(&refund("r2", &paid, 699), now()).await.unwrap();
    let too_much = sandbox.refund(&refund("r3", &paid, 2), now()).await;
    assert!(matches!(too_much, Err(SandboxError::RefundTooLarge { requested_minor: 2, available_minor: 1 })));

    assert_eq!(sandbox.refund(&refund("r2", &paid, 699), now()).await.unwrap(), second);
    assert_eq!(sandbox.find_refund_by_idempotency_key("r2").await.unwrap(), Some(second));
    assert_eq!(sandbox.find_refund_by_idempotency_key("r3").await.unwrap(), None);
    sandbox.refund(&refund("r3", &paid, 1), now()).await.unwrap();
    assert_eq!(sandbox.fetch(&paid.reference).await.unwrap().refunded_minor, 1000);
    assert_eq!(sandbox.balances().await.unwrap()["USD"], 0);
    assert_adds_up(&sandbox).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn refunds_at_once_do_not_exceed_the_captured_amount() {
    let (file, first) = open().await;
    let second = Sandbox::open(file.path()).await.unwrap();
    let method = card(&first, "tok_visa").await;
    let paid = charge(&first, "key", &method).await.unwrap();

    let calls: Vec<_> = (0..20)
        .map(|call| {
            let sandbox = if call % 2 == 0 { first.clone() } else { second.clone() };
            let request = refund(&format!("r{call}"), &paid, 500);
            tokio::spawn(async move { sandbox.refund(&request, now()).await.is_ok() })
        })
        .collect();
    let mut refunded = 0;
    for call in calls {
        refunded += i64::from(call.await.unwrap());
    }

    assert_eq!(refunded, 3);
    assert_eq!(first.balances().await.unwrap()["USD"], 499);
    assert_adds_up(&first).await;
}

#[tokio::test]
async fn what_took_no_money_or_is_disputed_cannot_be_refunded() {
    let (_file, sandbox) = open().await;
    let stolen = card(&sandbox, "tok_decline_stolen").await;
    let declined = charge(&sandbox, "declined", &stolen).await.unwrap();
    let contested = card(&sandbox, "tok_dispute").await;
    let disputed = charge(&sandbox, "disputed", &contested).await.unwrap();

    let nothing = sandbox.refund(&refund("r1", &declined, 1), now()).await;
    assert!(matches!(nothing, Err(SandboxError::RefundTooLarge { available_minor: 0, .. })));
    let zero = sandbox.refund(&refund("r1", &declined, 0), now()).await;
    assert!(matches!(zero, Err(SandboxError::InvalidRequest(_))));
    let gone = sandbox.refund(&refund("r1", &disputed, 1), now()).await;
    assert!(matches!(gone, Err(SandboxError::Disputed)));

    let won = sandbox.close_dispute(&disputed.reference, true, now()).await.unwrap();
    assert_eq!(won.dispute.as_ref().unwrap().status, DisputeStatus::Won);
    sandbox.refund(&refund("r1", &won, 1999), now()).await.unwrap();
    assert_adds_up(&sandbox).await;
}

#[tokio::test]
async fn balances_are_kept_per_currency_and_declines_leave_no_entry() {
    let (_file, sandbox) = open().await;
    let visa = card(&sandbox, "tok_visa").await;
    let stolen = card(&sandbox, "tok_decline_stolen").await;
    for (key, currency, amount_minor) in
        [("a", "USD", 1999), ("b", "EUR", 5), ("c", "JPY", 120_000), ("d", "USD", 1)]
    {
        let mut paid = request(key, &visa);
        paid.amount_minor = amount_minor;
        currency.clone_into(&mut paid.currency);
        sandbox.charge(&paid, now()).await.unwrap();
    }
    charge(&sandbox, "declined", &stolen).await.unwrap();

    let balances = sandbox.balances().await.unwrap();

    let expected = [("EUR", 5), ("JPY", 120_000), ("USD", 2000)];
    assert_eq!(balances, expected.map(|(currency, minor)| (currency.to_owned(), minor)).into());
    assert_eq!(sandbox.succeeded().await.unwrap().len(), 4);
    assert!(all_entries(&sandbox).await.iter().all(|entry| entry.kind == EntryKind::Capture));
    assert_adds_up(&sandbox).await;
}
