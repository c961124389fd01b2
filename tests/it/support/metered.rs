//! A customer on a test clock who pays for the events `call` by one price, from February on.

use serde_json::{Value, json};

use super::{World, text};

pub struct Metered {
    pub world: World,
    pub clock: String,
    pub subscription: String,
}

impl Metered {
    /// Sells the plan to `acme`. The metric is there already; invoices are due in a year.
    pub async fn subscribe(world: World, metric: &str, model: Value) -> Self {
        let price =
            json!({"code": "calls", "name": "Calls", "kind": "usage", "metric": metric, "model": model});
        Self::subscribe_to(world, price).await
    }

    /// The same with a price of one's own.
    pub async fn subscribe_to(world: World, price: Value) -> Self {
        let plan = json!({"code": "api", "name": "API", "currency": "USD",
            "interval": {"unit": "month", "count": 1}, "prices": [price]});
        world.create("/v1/plans", plan).await;
        let clock = world.test_clock("2026-02-01T00:00:00Z").await;
        world
            .create("/v1/customers", json!({"external_id": "acme", "name": "Acme", "test_clock": clock}))
            .await;
        let body =
            json!({"customer": "acme", "plan": "api", "collection": "send_invoice", "net_terms_days": 365});
        let subscription = text(&world.create("/v1/subscriptions", body).await["id"]);
        world.work().await;
        Self { world, clock, subscription }
    }

    /// An event with the property `n`, which is taken.
    pub async fn call(&self, event_id: &str, n: &str, at: &str) {
        let event = json!({"event_id": event_id, "customer_id": "acme", "event_name": "call", "timestamp": at,
            "metadata": {"n": n}});
        let answer = self.world.post("/v1/usage_events", event).await;
        assert_eq!(answer["accepted"], 1, "{answer}");
    }

    pub async fn advance(&self, to: &str) {
        self.world.advance(&self.clock, to).await;
    }

    /// Every line of every invoice, the oldest first: `reason kind month quantity amount`.
    pub async fn lines(&self) -> Vec<String> {
        let mut invoices = self.world.list("/v1/invoices?limit=100").await;
        invoices.reverse();
        let line = |invoice: &Value, line: &Value| {
            let start = &line["period"]["start"];
            let words = [&invoice["reason"], &line["kind"], start, &line["quantity"], &line["amount"]];
            words.map(text).join(" ").replace("-01T00:00:00Z", "")
        };
        let lines = |invoice: &Value| invoice["lines"].as_array().unwrap().clone();
        invoices
            .iter()
            .flat_map(|of| lines(of).into_iter().map(|each| line(of, &each)).collect::<Vec<_>>())
            .collect()
    }
}
