//! A shop with one plan of 30.00 USD a month in advance, and one customer on a test clock.

use accrue::auth::{self, Mode};
use accrue_platform::{
    outbox::{self, EventFilter},
    page::PageQuery,
};
use accrue_sandbox_gateway::{Charge, Sandbox};
use serde_json::{Value, json};

use super::{World, text};

/// When the customer subscribes.
pub const OPENING: &str = "2026-02-01T09:30:00Z";

pub struct Shop {
    pub world: World,
    pub clock: String,
    pub subscription: String,
    pub invoice: String,
}

impl Shop {
    /// Lets the customer subscribe with this card, or without one, and does what is due at once.
    pub async fn open(world: World, token: Option<&str>) -> Self {
        let clock = world.test_clock(OPENING).await;
        let customer =
            json!({"external_id": "acme", "name": "Acme", "email": "pay@acme.example", "test_clock": clock});
        Self::sell(world, clock, customer, token).await
    }

    /// The same for a customer who lives by the real time.
    pub async fn open_by_the_wall_clock(world: World, token: &str) -> Self {
        let customer = json!({"external_id": "acme", "name": "Acme", "email": "pay@acme.example"});
        Self::sell(world, String::new(), customer, Some(token)).await
    }

    async fn sell(world: World, clock: String, customer: Value, token: Option<&str>) -> Self {
        let price = json!({"code": "base", "name": "Base", "kind": "fixed", "model": {"type": "flat", "amount": "30"}});
        let interval = json!({"unit": "month", "count": 1});
        world
            .create(
                "/v1/plans",
                json!({"code": "pro", "name": "Pro", "currency": "USD", "interval": interval, "prices": [price]}),
            )
            .await;
        world.create("/v1/customers", customer).await;
        if let Some(token) = token {
            attach(&world, token).await;
        }
        let subscription =
            world.create("/v1/subscriptions", json!({"customer": "acme", "plan": "pro"})).await;
        world.work().await;
        let invoice = text(&world.list("/v1/invoices").await[0]["id"]);
        Self { world, clock, subscription: text(&subscription["id"]), invoice }
    }

    /// Another card, which is charged from now on.
    pub async fn attach(&self, token: &str) -> Value {
        attach(&self.world, token).await
    }

    pub async fn advance(&self, to: &str) -> Vec<String> {
        self.world.advance(&self.clock, to).await
    }

    pub async fn invoice(&self) -> Value {
        self.world.get(&format!("/v1/invoices/{}", self.invoice)).await
    }

    pub async fn subscription(&self) -> Value {
        self.world.get(&format!("/v1/subscriptions/{}", self.subscription)).await
    }

    /// The invoice's payment.
    pub async fn payment(&self) -> Value {
        self.world.list(&format!("/v1/payments?invoice={}", self.invoice)).await[0].clone()
    }

    /// Of each attempt: `1 declined insufficient_funds`.
    pub async fn attempts(&self) -> Vec<String> {
        let payment = self.payment().await;
        let line = |attempt: &Value| {
            let code = attempt["decline_code"].as_str().unwrap_or_default();
            format!("{} {} {code}", text(&attempt["reason"]), text(&attempt["status"])).trim_end().to_owned()
        };
        payment["attempts"].as_array().unwrap().iter().map(line).collect()
    }

    /// The gateway's own books, opened beside the program.
    pub async fn gateway(&self) -> Sandbox {
        Sandbox::open(&self.world.app.config.sandbox_gateway_file).await.unwrap()
    }

    /// What the gateway took, as it says itself.
    pub async fn taken(&self) -> Vec<Charge> {
        self.gateway().await.succeeded().await.unwrap()
    }

    /// The events of a type, the newest first.
    pub async fn events(&self, kind: &str) -> Vec<Value> {
        let db = self.world.app.db.reader();
        let tenant = auth::service::first_tenant(db, Mode::Test).await.unwrap().unwrap();
        let filter = EventFilter { kind: Some(kind.to_owned()), ..EventFilter::default() };
        let events = outbox::list(db, tenant.id, filter, &PageQuery::default()).await.unwrap();
        events.iter().map(|event| serde_json::from_str(&event.data).unwrap()).collect()
    }

    /// An account's balances in the books: all of them, whoever's they are.
    pub async fn balances(&self, code: &str) -> Vec<String> {
        let accounts = self.world.list("/v1/ledger/accounts?limit=100").await;
        let of = accounts.iter().filter(|account| account["code"] == code);
        of.map(|account| text(&account["balance"])).collect()
    }
}

async fn attach(world: &World, token: &str) -> Value {
    world.create("/v1/payment_methods", json!({"customer": "acme", "token": token, "default": true})).await
}
