//! The verbs of a subscription's life, every line to the cent, and what each preview promised.

mod changes;
mod ends;
mod pauses;
mod seams;
mod terms_of_plans;
mod trials;

use accrue::{
    auth::{self, Mode},
    invoices,
};
use serde_json::{Value, json};

use crate::support::{Engine, World, text};

/// A customer on a test clock who has one subscription.
struct Life {
    world: World,
    clock: String,
    id: String,
}

/// A fixed price in advance.
fn fee(code: &str, amount: &str) -> Value {
    json!({"code": code, "name": code, "kind": "fixed", "timing": "advance",
        "model": {"type": "flat", "amount": amount}})
}

fn seats(unit_price: &str) -> Value {
    json!({"code": "seats", "name": "Seats", "kind": "seat", "timing": "advance",
        "model": {"type": "per_unit", "unit_price": unit_price}})
}

fn calls(unit_price: &str) -> Value {
    json!({"code": "calls", "name": "Calls", "kind": "usage", "metric": "calls",
        "model": {"type": "per_unit", "unit_price": unit_price}})
}

fn plan(code: &str, unit: &str, prices: &[Value]) -> Value {
    json!({"code": code, "name": code, "currency": "USD", "interval": {"unit": unit, "count": 1}, "prices": prices})
}

/// `basic` costs 10.00 a month, 0.25 for each call, and 5.00 for each seat; `business` 30.00, 0.10, and 4.00; `yearly`
/// 300.00 a year and 0.05 for each call.
async fn world(on: Engine) -> Option<World> {
    let world = World::new(on).await?;
    let metric = json!({"code": "calls", "name": "Calls", "event_name": "call", "aggregation": "count"});
    world.create("/v1/metrics", metric).await;
    for plan in [
        plan("basic", "month", &[fee("base", "10"), seats("5"), calls("0.25")]),
        plan("business", "month", &[fee("base", "30"), seats("4"), calls("0.10")]),
        plan("yearly", "year", &[fee("base", "300"), calls("0.05")]),
    ] {
        world.create("/v1/plans", plan).await;
    }
    Some(world)
}

impl Life {
    /// Acme has `basic` without seats from 2026-04-01 on, or what `more` says.
    async fn new(on: Engine, more: Value) -> Option<Self> {
        Some(Self::begin(world(on).await?, "2026-04-01T00:00:00Z", more).await)
    }

    async fn begin(world: World, now: &str, more: Value) -> Self {
        let clock = world.test_clock(now).await;
        let acme = json!({"external_id": "acme", "name": "Acme", "timezone": "UTC", "test_clock": clock});
        world.create("/v1/customers", acme).await;
        let mut body = json!({"customer": "acme", "plan": "basic", "quantities": {"seats": "0"},
            "collection": "send_invoice", "net_terms_days": 365});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let promised = world.send("POST", "/v1/subscriptions/preview", &body).await.expect(200);
        let made = world.create("/v1/subscriptions", body).await;
        world.work().await;
        let life = Self { world, clock, id: text(&made["id"]) };
        assert_eq!(Self::told(&promised["invoices"]), life.invoices().await);
        life
    }

    async fn advance(&self, to: &str) {
        self.world.advance(&self.clock, to).await;
    }

    async fn subscription(&self) -> Value {
        self.world.get(&format!("/v1/subscriptions/{}", self.id)).await
    }

    /// Does a verb, which does what its preview said and nothing else; answers with what it billed and gave back.
    async fn act(&self, verb: &str, body: Value) -> Vec<String> {
        let path = format!("/v1/subscriptions/{}/{verb}", self.id);
        let before = self.subscription().await;
        let (invoices, notes) = (self.invoices().await, self.notes().await);
        let promised = self.world.send("POST", &format!("{path}/preview"), &body).await.expect(200);
        assert_eq!(self.subscription().await, before, "a preview changes nothing");
        assert_eq!((self.invoices().await, self.notes().await), (invoices.clone(), notes.clone()));

        let done = self.world.send("POST", &path, &body).await.expect(200);
        assert_eq!(promised["subscription"], done);
        assert_eq!(self.subscription().await, done);
        let billed = self.invoices().await.split_off(invoices.len());
        let given = self.notes().await.split_off(notes.len());
        assert_eq!(Self::told(&promised["invoices"]), billed);
        assert_eq!(Self::given(&promised["credit_notes"]), given);

        self.world.work().await;
        assert_eq!(self.subscription().await, done, "jobs find nothing to do");
        let all = [self.invoices().await.len(), self.notes().await.len()];
        assert_eq!(all, [invoices.len() + billed.len(), notes.len() + given.len()]);
        given.into_iter().chain(billed.into_iter().flatten()).collect()
    }

    /// What a verb that is not allowed is answered with.
    async fn refused(&self, verb: &str, body: Value, status: u16) -> Vec<String> {
        let path = format!("/v1/subscriptions/{}/{verb}", self.id);
        for path in [format!("{path}/preview"), path.clone()] {
            self.world.send("POST", &path, &body).await.expect(status);
        }
        self.world.send("POST", &path, &body).await.errors()
    }

    /// The lines of each invoice, the oldest first: `code of its price: from – to: amount`.
    async fn invoices(&self) -> Vec<Vec<String>> {
        let mut all = self.world.list("/v1/invoices?limit=100").await;
        all.reverse();
        Self::told(&Value::from(all))
    }

    fn told(invoices: &Value) -> Vec<Vec<String>> {
        let line = |line: &Value| {
            let [start, end] = [&line["period"]["start"], &line["period"]["end"]].map(short);
            format!("{} {start} – {end}: {}", text(&line["description"]), text(&line["amount"]))
        };
        let lines = |invoice: &Value| invoice["lines"].as_array().unwrap().iter().map(line).collect();
        invoices.as_array().unwrap().iter().map(lines).collect()
    }

    /// What was given back, the oldest first: `kind description: amount`.
    async fn notes(&self) -> Vec<String> {
        let mut all = self.world.list("/v1/credit_notes?limit=100").await;
        all.reverse();
        Self::given(&Value::from(all))
    }

    fn given(notes: &Value) -> Vec<String> {
        let lines = |note: &Value| {
            let kind = text(&note["kind"]);
            let lines = note["lines"].as_array().unwrap().clone();
            let line = move |line: Value| {
                format!("{kind} {}: -{}", text(&line["description"]), text(&line["amount"]))
            };
            lines.into_iter().map(line).collect::<Vec<_>>()
        };
        notes.as_array().unwrap().iter().flat_map(lines).collect()
    }

    async fn call(&self, at: &str) {
        let event = json!({"event_id": at, "customer_id": "acme", "event_name": "call", "timestamp": at});
        let taken = self.world.post("/v1/usage_events?backfill=true", event).await;
        assert_eq!(taken["accepted"], 1, "{taken}");
    }

    async fn books_are_right(&self) {
        let db = self.world.app.db.reader();
        let tenant = auth::service::first_tenant(db, Mode::Test).await.unwrap().unwrap();
        assert_eq!(invoices::service::verify(db, tenant.id).await.unwrap(), Vec::<String>::new());
    }
}

/// An instant without what midnight ends in.
fn short(instant: &Value) -> String {
    text(instant).replace("T00:00:00Z", "")
}
