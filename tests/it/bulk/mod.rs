//! Customers and subscriptions from files, and lists as files.

mod export;
mod import;

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use crate::support::{
    Engine,
    process::{Installation, Process},
    text,
};

/// On SQLite nobody else may have the file.
fn stop(mut server: Process) {
    server.ask_to_end();
    assert_eq!(server.wait(), Some(0));
}

fn write(installed: &Installation, name: &str, content: &str) -> String {
    let path = installed.folder.path().join(name);
    fs::write(&path, content).unwrap();
    path.display().to_string()
}

fn path(installed: &Installation, name: &str) -> PathBuf {
    installed.folder.path().join(name)
}

/// Exit code, and `lines accepted duplicates rejected`; or what was printed instead.
fn import(installed: &Installation, what: &str, arguments: &[&str]) -> (i32, String) {
    let (code, printed) = installed.try_run(&[&["import", what, "--json"], arguments].concat());
    let Ok(summary) = serde_json::from_str::<Value>(&printed) else { return (code, printed) };
    let numbers = ["lines", "accepted", "duplicates", "rejected"].map(|name| summary[name].to_string());
    (code, numbers.join(" "))
}

/// `line external_id pointer code` of what was wrong.
fn errors(installed: &Installation, name: &str) -> Vec<String> {
    let file = fs::read_to_string(path(installed, &format!("{name}.errors.ndjson"))).unwrap_or_default();
    let line = |line: &str| {
        let error: Value = serde_json::from_str(line).unwrap();
        let name = error["external_id"].as_str().unwrap_or("-");
        format!("{} {name} {} {}", error["line"], text(&error["pointer"]), text(&error["code"]))
    };
    file.lines().map(line).collect()
}

/// A plan with seats and a metered price, as a request.
fn plan(code: &str) -> Value {
    let prices = json!([
        {"code": "seats", "name": "Seats", "kind": "seat", "model": {"type": "per_unit", "unit_price": "5"}},
        {"code": "calls", "name": "Calls", "kind": "usage", "metric": "calls",
         "model": {"type": "per_unit", "unit_price": "0.01"}},
    ]);
    let interval = json!({"unit": "month", "count": 1});
    json!({"code": code, "name": code, "currency": "EUR", "interval": interval, "prices": prices})
}

/// An installation with the plans `pro` and `max`, which meter the same usage.
async fn installed(on: Engine) -> Option<(Installation, Process)> {
    let installed = Installation::new(on).await?;
    let server = installed.serve().await;
    sell(&installed, &server).await;
    Some((installed, server))
}

async fn sell(installed: &Installation, server: &Process) {
    let metric = json!({"code": "calls", "name": "Calls", "event_name": "call", "aggregation": "count"});
    installed.send(server, "POST", "/v1/metrics", &metric).await;
    for code in ["pro", "max"] {
        installed.send(server, "POST", "/v1/plans", &plan(code)).await;
    }
}
