//! Customers and subscriptions: made one after the other as requests make them, some in each transaction.

use std::sync::Arc;

use accrue_core::clock::Clock;
use accrue_platform::{
    db::Db,
    problem::{FieldError, Problem},
    request::caused_by,
};
use anyhow::Result;
use sea_orm::{DatabaseTransaction, TransactionTrait};
use serde::Serialize;

use super::run::{Group, Taker, failed};
use crate::{
    app::{Record, Taken},
    auth::{
        self, Tenant,
        service::{COMMAND_LINE, Deed},
    },
    customers,
    metering::Line,
    subscriptions,
};

/// What stands in the file.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    Customers,
    Subscriptions { bill_past: bool },
}

/// Something that is wrong with a line.
#[derive(Serialize)]
pub(super) struct Refused {
    line: u64,
    external_id: Option<String>,
    #[serde(flatten)]
    error: FieldError,
}

/// Takes objects.
pub(super) struct Objects {
    db: Db,
    clock: Arc<dyn Clock>,
    tenant: Tenant,
    /// What is imported, for the audit log and the events.
    name: String,
    what: What,
    /// Where a dry run does all that it says, to undo it at the end: what a line comes to depends on those before it.
    trial: Option<DatabaseTransaction>,
}

impl Objects {
    pub async fn open(
        db: Db,
        clock: Arc<dyn Clock>,
        tenant: Tenant,
        name: String,
        (what, dry_run): (What, bool),
    ) -> Result<Self> {
        let trial = if dry_run { Some(db.begin().await?) } else { None };
        Ok(Self { db, clock, tenant, name, what, trial })
    }

    /// Takes lines within a transaction. What was begun of a line that cannot be taken is undone.
    async fn take_within(&self, tx: &DatabaseTransaction, lines: &[Line]) -> Result<Group<Refused>> {
        let mut group = Group::default();
        for Line { number: line, json } in lines {
            let (external_id, problem) = match json {
                Err(detail) => (None, Problem::field("", "malformed", detail.clone())),
                Ok(json) => {
                    let savepoint = tx.begin().await?;
                    let taken = self.take_one(&savepoint, json).await;
                    match taken {
                        Ok(taken) => {
                            savepoint.commit().await?;
                            match taken {
                                Taken::New => group.accepted += 1,
                                Taken::Known => group.duplicates += 1,
                            }
                            continue;
                        }
                        Err(problem) => {
                            savepoint.rollback().await?;
                            (name_of(json), problem)
                        }
                    }
                }
            };
            if problem.kind.status >= 500 {
                return Err(failed(&problem));
            }
            group.rejected += 1;
            let refused = errors(problem).into_iter();
            group.refused.extend(refused.map(|error| Refused {
                line: *line,
                external_id: external_id.clone(),
                error,
            }));
        }
        Ok(group)
    }

    async fn take_one(&self, tx: &DatabaseTransaction, json: &str) -> Result<Taken, Problem> {
        let record = Record::read(json)?;
        match self.what {
            What::Customers => customers::import::take(tx, &*self.clock, &self.tenant, record).await,
            What::Subscriptions { bill_past } => {
                subscriptions::import::take(tx, &*self.clock, &self.tenant, record, bill_past).await
            }
        }
    }

    async fn take_for_good(&self, lines: &[Line]) -> Result<Group<Refused>> {
        let tx = self.db.begin().await?;
        let group = self.take_within(&tx, lines).await?;
        if group.accepted > 0 {
            let (action, object_id) = match self.what {
                What::Customers => ("import customers", format!("{} customers", group.accepted)),
                What::Subscriptions { .. } => {
                    ("import subscriptions", format!("{} subscriptions", group.accepted))
                }
            };
            let deed = Deed { actor: COMMAND_LINE, action, object_id };
            auth::service::audit(&tx, self.tenant.id, self.clock.now(), deed).await?;
        }
        tx.commit().await?;
        Ok(group)
    }
}

impl Taker for Objects {
    type Refused = Refused;

    /// Customers are locked as long as a subscription of theirs waits for the others of its transaction.
    const AT_ONCE: usize = 200;

    async fn take(&mut self, lines: &[Line]) -> Result<Group<Refused>> {
        let cause = format!("{COMMAND_LINE} {}", self.name);
        let work = async {
            match &self.trial {
                Some(trial) => self.take_within(trial, lines).await,
                None => self.take_for_good(lines).await,
            }
        };
        caused_by(self.name.clone(), cause, work).await
    }

    async fn end(self) -> Result<()> {
        if let Some(trial) = self.trial {
            trial.rollback().await?;
        }
        Ok(())
    }
}

fn name_of(json: &str) -> Option<String> {
    Record::read(json).ok()?.take_text("external_id")
}

/// What is wrong, each by itself.
fn errors(problem: Problem) -> Vec<FieldError> {
    if problem.errors.is_empty() {
        let detail = problem.detail.unwrap_or_else(|| problem.kind.title.to_owned());
        return vec![FieldError::new("", problem.kind.code, detail)];
    }
    problem.errors
}
