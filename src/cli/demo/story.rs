//! What the demo does, step by step.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use chrono::{DateTime, Months, TimeDelta, TimeZone, Utc};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::{client::Client, receiver::Receiver};

const EVENTS_PER_WEEK: i64 = 2_000;
const BATCH: i64 = 500;
/// Of the left column: as wide as `2026-02-01 09:00`.
const WIDTH: usize = 16;

/// The story of one customer's first month.
pub(super) struct Story<'a> {
    client: Client,
    receiver: &'a Receiver,
    folder: &'a Path,
    start: DateTime<Utc>,
    now: DateTime<Utc>,
    clock: String,
    step: u32,
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

impl<'a> Story<'a> {
    /// It begins on the morning of the day of `today`.
    pub(super) fn new(
        client: Client,
        receiver: &'a Receiver,
        folder: &'a Path,
        today: DateTime<Utc>,
    ) -> Self {
        let morning = today.date_naive().and_hms_opt(9, 0, 0).expect("a time of day");
        let start = Utc.from_utc_datetime(&morning);
        Self { client, receiver, folder, start, now: start, clock: String::new(), step: 0 }
    }

    pub(super) async fn tell(mut self) -> anyhow::Result<()> {
        println!("Accrue demo: one customer's first month, through the public API");
        self.listen_for_webhooks().await?;
        self.make_catalogue().await?;
        let subscription = self.sign_up().await?;
        self.use_it_for_a_month(&subscription).await?;
        self.entitlements().await?;
        self.renew_with_a_bad_card().await?;
        self.recover().await?;
        self.explain().await?;
        self.close_the_books().await
    }

    fn step(&mut self, what: &str) {
        self.step += 1;
        println!("\n{:>2}. {what}", self.step);
    }

    /// A line of the story in two columns: what, and what became of it.
    #[expect(clippy::unused_self, reason = "reads like the other parts of the story")]
    fn say(&self, what: &str, line: impl std::fmt::Display) {
        println!("    {what:<WIDTH$} {line}");
    }

    async fn listen_for_webhooks(&mut self) -> anyhow::Result<()> {
        self.step("Your product listens for webhooks");
        let endpoint = self
            .client
            .post("/v1/webhook_endpoints", &json!({"url": self.receiver.url, "events": ["*"]}))
            .await?;
        let secret = text(&endpoint["secret"]);
        self.receiver.expect_secret(secret.parse().context("the endpoint's secret")?);
        self.say("endpoint", &self.receiver.url);
        self.say("its secret", format!("{}…", secret.get(..12).unwrap_or_default()));
        Ok(())
    }

    async fn make_catalogue(&mut self) -> anyhow::Result<()> {
        self.step("A catalogue: a metric, features, a tax, a plan");
        let account = json!({
            "name": "Nimbus Cloud", "invoice_prefix": "NIM",
            "issuer": {"name": "Nimbus Cloud Ltd", "address": ["1 Harbour Street", "Dublin 2", "Ireland"],
                       "tax_ids": [{"kind": "eu_vat", "value": "IE1234567T"}], "email": "billing@nimbus.example"},
        });
        self.patch_account(&account).await?;
        let things = [
            (
                "/v1/metrics",
                json!({"code": "api_calls", "name": "API calls", "event_name": "api.request.completed", "aggregation": "count"}),
            ),
            ("/v1/features", json!({"code": "seats", "name": "Seats", "kind": "limit"})),
            ("/v1/features", json!({"code": "sso", "name": "Single sign-on", "kind": "switch"})),
            (
                "/v1/features",
                json!({"code": "calls", "name": "API calls", "kind": "metered", "metric": "api_calls"}),
            ),
            ("/v1/taxes", json!({"code": "vat", "name": "VAT", "rate": "23", "default": true})),
        ];
        for (path, body) in &things {
            self.client.post(path, body).await?;
        }
        let plan = json!({
            "code": "team", "name": "Team", "currency": "USD", "interval": {"unit": "month", "count": 1},
            "prices": [
                {"code": "base", "name": "Base fee", "kind": "fixed", "timing": "advance", "model": {"type": "flat", "amount": "49.00"}},
                {"code": "seats", "name": "Seats", "kind": "seat", "timing": "advance", "model": {"type": "per_unit", "unit_price": "12"}},
                {"code": "calls", "name": "API calls", "kind": "usage", "timing": "arrears", "metric": "api_calls",
                 "model": {"type": "graduated", "tiers": [
                    {"up_to": "1000", "unit_price": "0"}, {"up_to": "5000", "unit_price": "0.01"}, {"up_to": null, "unit_price": "0.0075"}]}},
            ],
            "features": [{"feature": "seats", "value": 10}, {"feature": "sso", "value": true}, {"feature": "calls", "value": 100_000}],
        });
        self.client.post("/v1/plans", &plan).await?;
        self.say("plan team", "$49.00 a month, $12.00 a seat, API calls in three tiers, 1,000 free");
        self.say("tax", "VAT 23%");
        Ok(())
    }

    async fn patch_account(&self, body: &Value) -> anyhow::Result<()> {
        self.client.patch("/v1/account", body).await.map(drop)
    }

    async fn sign_up(&mut self) -> anyhow::Result<String> {
        self.step("Acme signs up for five seats with a good card, on a test clock");
        let clock = self.client.post("/v1/test_clocks", &json!({"now": self.start, "name": "demo"})).await?;
        text(&clock["id"]).clone_into(&mut self.clock);
        let customer = json!({
            "external_id": "acme", "name": "Acme Corp", "email": "accounts@acme.example", "test_clock": self.clock,
            "address": {"line1": "350 Fifth Avenue", "city": "New York", "region": "NY", "postal_code": "10118", "country": "US"},
        });
        self.client.post("/v1/customers", &customer).await?;
        self.client
            .post("/v1/payment_methods", &json!({"customer": "acme", "token": "tok_visa", "default": true}))
            .await?;
        let subscription = self
            .client
            .post(
                "/v1/subscriptions",
                &json!({"customer": "acme", "plan": "team", "quantities": {"seats": "5"}}),
            )
            .await?;
        self.advance(self.start + TimeDelta::minutes(1)).await?;
        self.show_newest_invoice("paid").await?;
        Ok(text(&subscription["id"]).to_owned())
    }

    async fn use_it_for_a_month(&mut self, subscription: &str) -> anyhow::Result<()> {
        self.step("Acme uses the product for four weeks");
        let total = u64::try_from(4 * EVENTS_PER_WEEK).unwrap_or(0);
        let style = ProgressStyle::with_template("    {bar:32} {pos}/{len} events")?;
        let bar = ProgressBar::new(total).with_style(style);
        for week in 1..=4 {
            let from = self.now;
            self.advance(self.start + TimeDelta::weeks(week)).await?;
            self.ingest_week(week, from, &bar).await?;
        }
        bar.finish_and_clear();
        let again =
            self.client.post("/v1/usage_events", &event("w1-0", self.start + TimeDelta::minutes(1))).await?;
        self.say("events", format!("{total} taken"));
        ensure!(again["duplicates"] == json!(1), "an event was counted twice: {again}");
        self.say("sent twice", "1, counted once");
        let usage = self.client.get(&format!("/v1/subscriptions/{subscription}/usage")).await?;
        for row in usage["usage"].as_array().into_iter().flatten() {
            let so_far =
                format!("{} {}, ${}", text(&row["quantity"]), text(&row["name"]), text(&row["amount"]));
            self.say("so far", so_far);
        }
        Ok(())
    }

    async fn ingest_week(&self, week: i64, from: DateTime<Utc>, bar: &ProgressBar) -> anyhow::Result<()> {
        let apart = (self.now - from) / i32::try_from(EVENTS_PER_WEEK)?;
        for first in (0..EVENTS_PER_WEEK).step_by(usize::try_from(BATCH)?) {
            let events: Vec<Value> = (first..first + BATCH)
                .map(|number| {
                    let at = from + apart * i32::try_from(number).unwrap_or_default();
                    event(&format!("w{week}-{number}"), at)
                })
                .collect();
            let answer = self.client.post("/v1/usage_events", &json!({"events": events})).await?;
            ensure!(answer["accepted"] == json!(BATCH), "events were not taken: {answer}");
            bar.inc(u64::try_from(BATCH)?);
        }
        Ok(())
    }

    async fn entitlements(&mut self) -> anyhow::Result<()> {
        self.step("What may Acme use?");
        self.show_entitlements().await
    }

    async fn show_entitlements(&self) -> anyhow::Result<()> {
        let answer = self.client.get("/v1/customers/acme/entitlements").await?;
        let features = answer["features"].as_object().cloned().unwrap_or_default();
        for (name, feature) in &features {
            let value = match text(&feature["kind"]) {
                "metered" => format!("{} of {} used", plain(&feature["used"]), plain(&feature["limit"])),
                "switch" if feature["value"] == json!(true) => "on".to_owned(),
                _ => plain(&feature["value"]),
            };
            self.say(name, value);
        }
        Ok(())
    }

    async fn renew_with_a_bad_card(&mut self) -> anyhow::Result<()> {
        self.step("Acme's card is replaced by one that will be declined once; the month ends");
        let method = json!({"customer": "acme", "token": "tok_decline_then_ok", "default": true});
        self.client.post("/v1/payment_methods", &method).await?;
        let renewal = self.start.checked_add_months(Months::new(1)).context("a date")?;
        self.advance(renewal + TimeDelta::minutes(1)).await?;
        self.show_newest_invoice("open").await?;
        self.show_payment().await?;
        self.show_entitlements().await
    }

    async fn recover(&mut self) -> anyhow::Result<()> {
        self.step("A day later dunning tries again");
        self.advance(self.now + TimeDelta::days(1)).await?;
        self.show_newest_invoice("paid").await?;
        self.show_payment().await
    }

    async fn explain(&mut self) -> anyhow::Result<()> {
        self.step("Why this amount?");
        let invoice = self.newest_invoice().await?;
        let explained = self.client.get(&format!("/v1/invoices/{}/explain", text(&invoice["id"]))).await?;
        for line in explained["lines"].as_array().into_iter().flatten() {
            println!("    {:<44} ${:>10}", text(&line["description"]), text(&line["amount"]));
            let tiers = line["tiers"].as_array().map(Vec::as_slice).unwrap_or_default();
            for tier in tiers.iter().filter(|_| tiers.len() > 1) {
                let up_to = tier["up_to"]
                    .as_str()
                    .map_or_else(|| "above".to_owned(), |bound| format!("up to {bound}"));
                let (quantity, price) = (plain(&tier["quantity"]), plain(&tier["unit_price"]));
                let amount = plain(&tier["amount"]);
                println!("      {up_to:<12} {quantity:>6} × ${price:<8} {:>8} ${amount:>10}", "=");
            }
        }
        Ok(())
    }

    async fn close_the_books(&mut self) -> anyhow::Result<()> {
        self.step("The books");
        let balance = self.client.get("/v1/ledger/trial_balance").await?;
        for currency in balance["currencies"].as_array().into_iter().flatten() {
            self.show_balance(currency)?;
        }
        let mails = std::fs::read_dir(self.folder.join("mails"))?.filter_map(Result::ok);
        let mut names: Vec<_> = mails.map(|file| file.path()).collect();
        names.sort();
        ensure!(!names.is_empty(), "no mail was written");
        for path in &names {
            self.say("mail", path.display());
        }
        Ok(())
    }

    /// A table of what was debited and credited in one currency.
    fn show_balance(&self, balance: &Value) -> anyhow::Result<()> {
        let row = |name: &str, row: &Value| {
            println!("    {name:<24} {:>12} {:>12}", text(&row["debit"]), text(&row["credit"]));
        };
        println!("    {:<24} {:>12} {:>12}", text(&balance["currency"]), "debit", "credit");
        for account in balance["rows"].as_array().into_iter().flatten() {
            row(text(&account["account_code"]), account);
        }
        row("total", balance);
        ensure!(balance["debit"] == balance["credit"], "the books do not balance");
        self.say("in balance", "debits equal credits");
        Ok(())
    }

    /// Moves the test clock and shows what happened, and what the webhook receiver got.
    async fn advance(&mut self, to: DateTime<Utc>) -> anyhow::Result<()> {
        let path = format!("/v1/test_clocks/{}/advance", self.clock);
        let moved = self.client.post(&path, &json!({"to": to})).await?;
        self.now = to;
        for entry in moved["timeline"].as_array().into_iter().flatten() {
            let day = text(&entry["at"]).get(..16).unwrap_or_default().replace('T', " ");
            self.say(&day, text(&entry["type"]));
        }
        self.show_deliveries()
    }

    fn show_deliveries(&self) -> anyhow::Result<()> {
        let deliveries = self.receiver.take();
        ensure!(deliveries.iter().all(|delivery| delivery.verified), "a webhook's signature is wrong");
        let mut kinds: BTreeMap<String, u32> = BTreeMap::new();
        for delivery in deliveries {
            *kinds.entry(delivery.kind).or_default() += 1;
        }
        if !kinds.is_empty() {
            let total: u32 = kinds.values().sum();
            let names: Vec<_> = kinds.into_keys().collect();
            self.say("webhooks", format!("{total} received, signatures verified:"));
            for names in names.chunks(4) {
                self.say("", names.join(", "));
            }
        }
        Ok(())
    }

    async fn newest_invoice(&self) -> anyhow::Result<Value> {
        let list = self.client.get("/v1/invoices?customer=acme&limit=1").await?;
        list["data"].get(0).cloned().context("there is no invoice")
    }

    async fn show_newest_invoice(&self, expected: &str) -> anyhow::Result<()> {
        let invoice = self.newest_invoice().await?;
        let (number, status) = (text(&invoice["number"]), text(&invoice["status"]));
        ensure!(status == expected, "invoice {number} is {status}, not {expected}");
        let pdf = self.client.bytes(&format!("/v1/invoices/{}.pdf", text(&invoice["id"]))).await?;
        let path = self.write_pdf(&format!("{number}-{status}.pdf"), &pdf)?;
        let (total, tax) = (text(&invoice["total"]), text(&invoice["tax_total"]));
        self.say(number, format!("${total} with ${tax} tax: {status}"));
        self.say("", path.display());
        Ok(())
    }

    fn write_pdf(&self, name: &str, pdf: &[u8]) -> anyhow::Result<PathBuf> {
        let folder = self.folder.join("invoices");
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(name);
        std::fs::write(&path, pdf)?;
        Ok(path)
    }

    async fn show_payment(&self) -> anyhow::Result<()> {
        let list = self.client.get("/v1/payments?customer=acme&limit=1").await?;
        let payment = list["data"].get(0).cloned().context("there is no payment")?;
        for attempt in payment["attempts"].as_array().into_iter().flatten() {
            let code = attempt["decline_code"].as_str().map(|code| format!(" ({code})")).unwrap_or_default();
            let what = format!("attempt {}", plain(&attempt["position"]));
            self.say(&what, format!("{}{code}", text(&attempt["status"])));
        }
        Ok(())
    }
}

fn event(id: &str, at: DateTime<Utc>) -> Value {
    json!({"event_id": id, "customer_id": "acme", "event_name": "api.request.completed", "timestamp": at})
}

/// A value without JSON's quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
