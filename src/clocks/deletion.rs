//! Deletes the customers of a test clock, one after the other, each with everything of theirs or not at all.

use accrue_core::id::{CustomerId, TestClockId};
use accrue_platform::{gate::Gate, outbox, queue};

use super::store;
use crate::app::{JobContext, JobError, lock_all};

/// Safe to be killed anywhere, and to be done again: what is gone is not found.
pub(super) async fn delete_customers(context: &JobContext, clock: TestClockId) -> Result<(), JobError> {
    // What has not begun would find nothing of what it is about.
    let tx = context.begin().await?;
    queue::delete_waiting(&tx, context.tenant, clock).await?;
    context.commit(tx).await?;
    let db = context.app.db.reader();
    loop {
        let mut customers = store::some_customers(db, context.tenant, clock).await?;
        if customers.is_empty() {
            // What was under way while its customer was deleted may have told something.
            customers.extend(outbox::customer_of_test_clock(db, context.tenant, clock).await?);
        }
        if customers.is_empty() {
            break;
        }
        for customer in customers {
            delete_customer(context, customer).await?;
        }
    }
    let tx = context.begin().await?;
    queue::delete_of_test_clock(&tx, context.tenant, clock).await?;
    store::set_emptied(&tx, context.tenant, clock, context.app.now()).await?;
    context.commit(tx).await
}

async fn delete_customer(context: &JobContext, customer: CustomerId) -> Result<(), JobError> {
    let (app, tenant) = (&context.app, context.tenant);
    for take_out in app.work.belongings.iter().filter_map(|belongings| belongings.take_out) {
        while take_out(&app.db, tenant, customer).await? {}
    }
    let tx = context.begin().await?;
    // In the order of all locks: nobody takes usage of the customer, or tells what happened to them, from here on.
    Gate::Usage.close(&tx, tenant).await?;
    outbox::next_sequence(&tx, tenant).await?;
    lock_all(&tx, tenant, customer, app.work.customer_locks).await?;
    for belongings in app.work.belongings {
        (belongings.delete)(&tx, tenant, customer).await?;
    }
    outbox::delete_of_customer(&tx, tenant, customer).await?;
    context.commit(tx).await
}
