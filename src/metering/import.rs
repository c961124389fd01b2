//! Events from files: taken by the same code as events that are sent, as a backfill.

use std::sync::Arc;

use accrue_core::clock::Clock;
use accrue_platform::{db::Db, problem::Problem};

use super::{
    deeds::SentBy,
    http::read_line,
    intake::{Grouping, Intake},
    memory::Expectation,
    model::{Ingested, Rejection, Terms},
    taking::{self, Sent},
};
use crate::auth::{self, Tenant};

/// Takes a tenant's events from a file. What it has answered for is durable.
pub struct Importer {
    db: Db,
    clock: Arc<dyn Clock>,
    intake: Intake,
    tenant: Tenant,
    /// What is imported, for the audit log.
    name: String,
}

/// A line of a file.
#[derive(Clone, Debug)]
pub struct Line {
    pub number: u64,
    /// The event as JSON, or why there is none.
    pub json: Result<String, String>,
}

/// What became of lines.
#[derive(Debug)]
pub struct Imported {
    pub accepted: u64,
    /// Known already, with the same body.
    pub duplicates: u64,
    pub refused: Vec<Refused>,
}

/// A line that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Refused {
    pub line: u64,
    pub event_id: Option<String>,
    pub code: String,
    /// Where in the event, as a JSON pointer.
    pub pointer: String,
    pub detail: String,
}

impl Importer {
    /// `name` is what is imported, as the audit log calls it.
    pub fn new(db: Db, clock: Arc<dyn Clock>, tenant: Tenant, name: String) -> Self {
        let intake = Intake::start(&db, &clock, &Arc::default(), Grouping::default());
        Self { db, clock, intake, tenant, name }
    }

    /// Takes events, each once however often it is brought.
    pub async fn take(&self, lines: &[Line]) -> Result<Imported, Problem> {
        let bytes = lines.iter().filter_map(|line| line.json.as_ref().ok()).map(String::len).sum();
        let ingested = self.intake.take(self.sent(lines), false, bytes).await?;
        Ok(told(ingested, lines))
    }

    /// Says what would become of events, and takes none.
    pub async fn try_out(&self, lines: &[Line]) -> Result<Imported, Problem> {
        let tx = self.db.begin().await?;
        let (memory, sent) = (&self.intake.memory, [self.sent(lines)]);
        let taken = taking::ingest(&tx, &*self.clock, memory, (&sent, None), Expectation::NOTHING).await?;
        tx.rollback().await?;
        let ingested = taken.outcomes.into_iter().next().expect("an outcome for each request");
        Ok(told(ingested, lines))
    }

    fn sent(&self, lines: &[Line]) -> Sent {
        let by = SentBy {
            actor: auth::service::COMMAND_LINE.to_owned(),
            action: "import events",
            request_id: self.name.clone(),
        };
        let read = |(index, line): (usize, &Line)| match &line.json {
            Ok(json) => read_line(index, json),
            Err(detail) => Err(Rejection {
                index,
                event_id: None,
                error: accrue_platform::problem::FieldError::new("", "malformed", detail.clone()),
            }),
        };
        Sent {
            tenant: self.tenant.id,
            events: lines.iter().enumerate().map(read).collect(),
            terms: Terms::of(&self.tenant.settings, true),
            by: Some(by),
        }
    }
}

fn told(ingested: Ingested, lines: &[Line]) -> Imported {
    let refused = |Rejection { index, event_id, error }: Rejection| Refused {
        line: lines[index].number,
        event_id,
        code: error.code,
        pointer: error.pointer,
        detail: error.detail,
    };
    Imported {
        accepted: ingested.accepted as u64,
        duplicates: ingested.duplicates as u64,
        refused: ingested.rejected.into_iter().map(refused).collect(),
    }
}
