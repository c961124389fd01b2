//! `accrue import events`: usage from files.

use std::{fmt::Write as _, fs, io::Write as _, path::PathBuf};

use flate2::{Compression, write::GzEncoder};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{
    Engine::{self, *},
    process::{Installation, Process},
    text,
};

/// An installation with a customer `acme` and a metric that sums up the `tokens` of the events `call`.
async fn installed(on: Engine) -> Option<Installation> {
    let installed = Installation::new(on).await?;
    let server = installed.serve().await;
    installed.send(&server, "POST", "/v1/customers", &json!({"external_id": "acme", "name": "Acme"})).await;
    let metric = json!({"code": "tokens", "name": "Tokens", "event_name": "call", "aggregation": "sum",
        "property": "tokens"});
    installed.send(&server, "POST", "/v1/metrics", &metric).await;
    stop(server);
    Some(installed)
}

/// On SQLite nobody else may have the file.
fn stop(mut server: Process) {
    server.ask_to_end();
    assert_eq!(server.wait(), Some(0));
}

fn write(installed: &Installation, name: &str, content: &[u8]) -> PathBuf {
    let path = installed.folder.path().join(name);
    fs::write(&path, content).unwrap();
    path
}

/// Exit code, and `lines accepted duplicates rejected`.
fn import(installed: &Installation, arguments: &[&str]) -> (i32, String) {
    let all = [&["import", "events", "--mode", "test", "--json"], arguments].concat();
    let (code, printed) = installed.try_run(&all);
    let Ok(summary) = serde_json::from_str::<Value>(&printed) else { return (code, printed) };
    let numbers = ["lines", "accepted", "duplicates", "rejected"].map(|name| summary[name].to_string());
    (code, numbers.join(" "))
}

/// `line event_id code pointer` of each line that was not taken.
fn errors(installed: &Installation, name: &str) -> Vec<String> {
    let file = fs::read_to_string(installed.folder.path().join(name)).unwrap_or_default();
    let line = |line: &str| {
        let error: Value = serde_json::from_str(line).unwrap();
        let event_id = error["event_id"].as_str().unwrap_or("-");
        format!("{} {event_id} {} {}", error["line"], text(&error["code"]), text(&error["pointer"]))
    };
    file.lines().map(line).collect()
}

/// Of the year 2025.
async fn tokens(installed: &Installation) -> String {
    let server = installed.serve().await;
    let year = "start=2025-01-01T00:00:00Z&end=2026-01-01T00:00:00Z";
    let path = format!("/v1/customers/acme/usage?metric=tokens&{year}");
    let quantity = text(&installed.send(&server, "GET", &path, &Value::Null).await["quantity"]);
    stop(server);
    quantity
}

const CSV: &str = "\u{feff}ID,Account,when,tokens,Comment
a,acme,2025-03-01T10:00:00Z,1.50,\"two
lines\"
b,nobody,2025-03-01T10:00:00Z,2,
c,acme,yesterday,2,
d,acme,2025-03-01T10:00:00Z,many,
e,acme
f,acme,2025-03-01T11:00:00+01:00,1234567890123456789012.25,
a,acme,2025-03-01T10:00:00Z,1.50,
";

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_csv_file_is_tried_out_then_taken_once_and_each_bad_line_is_told(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(installed) = installed(on).await else { return };
    let file = write(&installed, "usage.csv", CSV.as_bytes());
    let file = file.to_str().unwrap();
    let maps = ["ID=event_id", "Account=customer_id", "when=timestamp", "Comment=-"]
        .map(|map| format!("--map={map}"));
    let mut arguments = vec![file, "--event-name=call"];
    arguments.extend(maps.iter().map(String::as_str));

    let dry = [arguments.as_slice(), &["--dry-run"]].concat();
    for _ in 0..2 {
        assert_eq!(import(&installed, &dry), (1, "7 2 1 4".to_owned()));
    }
    assert_eq!(tokens(&installed).await, "0");
    for summary in ["7 2 1 4", "7 0 3 4"] {
        assert_eq!(import(&installed, &arguments), (1, summary.to_owned()));
        assert_eq!(
            errors(&installed, "usage.csv.errors.ndjson"),
            [
                "4 b unknown_customer /customer_id",
                "5 c malformed /timestamp",
                "6 d malformed_number /metadata/tokens",
                "7 - malformed ",
            ]
        );
    }
    assert_eq!(tokens(&installed).await, "1234567890123456789013.75");
    let server = installed.serve().await;
    let event = installed.send(&server, "GET", "/v1/usage_events/f", &Value::Null).await;
    assert_eq!(event["timestamp"], "2025-03-01T10:00:00Z");
    let audit = installed.all(&server, "/v1/audit_log").await;
    let entries: Vec<_> =
        audit.iter().map(|entry| format!("{} {}", text(&entry["actor"]), text(&entry["action"]))).collect();
    assert_eq!(
        entries.iter().filter(|entry| *entry == "command line import events").count(),
        2,
        "{entries:?}"
    );
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_packed_ndjson_file_holds_the_events_that_may_be_sent(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(installed) = installed(on).await else { return };
    let event = json!({"event_id": "a", "customer_id": "acme", "event_name": "call",
        "timestamp": "2025-06-01T00:00:00Z", "metadata": {"tokens": 7}});
    let server = installed.serve().await;
    installed.send(&server, "POST", "/v1/usage_events?backfill=true", &event).await;
    stop(server);
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    let other = event.to_string().replace(r#""a""#, r#""b""#).replace('7', "8");
    write!(packed, "{event}\n\n{other}\n{}\n[]", event.to_string().replace('7', "9")).unwrap();
    let file = write(&installed, "usage.ndjson.gz", &packed.finish().unwrap());
    let file = file.to_str().unwrap();

    assert_eq!(import(&installed, &[file]), (1, "4 1 1 2".to_owned()));

    let not_taken = ["4 a conflict /event_id", "5 - malformed "];
    assert_eq!(errors(&installed, "usage.ndjson.gz.errors.ndjson"), not_taken);
    assert_eq!(tokens(&installed).await, "15");
    let (code, told) = import(&installed, &[file, "--map=a=event_id"]);
    assert!(code == 1 && told.contains("for CSV"), "{told}");
    let endless = format!("event_id,customer_id,event_name\n\"a,{}", "b,acme,call\n".repeat(200_000));
    let endless = write(&installed, "endless.csv", endless.as_bytes());
    let (code, told) = import(&installed, &[endless.to_str().unwrap()]);
    assert!(code == 1 && told.contains("does a quote not end?"), "{told}");
    let (code, told) = import(&installed, &["usage.txt"]);
    assert!(code == 1 && told.contains("cannot open"), "{told}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_killed_goes_on_where_it_was(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(installed) = installed(on).await else { return };
    let mut lines = String::from("event_id,customer_id,event_name,timestamp,tokens\n");
    for number in 0..40_000 {
        let customer = if number % 1000 == 999 { "nobody" } else { "acme" };
        writeln!(lines, "e{number},{customer},call,2025-06-{:02}T10:00:00Z,2", 1 + number % 28).unwrap();
    }
    let file = write(&installed, "usage.csv", lines.as_bytes());
    let (state, file) = (installed.folder.path().join("usage.csv.import.json"), file.to_str().unwrap());
    let command = ["import", "events", "--mode", "test", file];
    assert!(installed.run_until(&command, &state).await, "it was too quick to be killed");
    let stood: Value = serde_json::from_str(&fs::read_to_string(&state).unwrap()).unwrap();
    assert!(stood["lines"].as_u64().unwrap() >= 10_000, "{stood}");
    // As if it had been killed between writing what was not taken and noting it.
    let errors_file = installed.folder.path().join("usage.csv.errors.ndjson");
    fs::write(&errors_file, fs::read_to_string(&errors_file).unwrap() + "{\"half").unwrap();

    let (code, told) = import(&installed, &[file, "--source=other"]);
    assert!(code == 1 && told.contains("--restart"), "{told}");
    let (code, summary) = import(&installed, &[file]);

    let numbers: Vec<u64> = summary.split(' ').map(|number| number.parse().unwrap()).collect();
    let [events, accepted, duplicates, rejected] = numbers.as_slice() else { panic!("{summary}") };
    assert_eq!((code, *events, accepted + duplicates, *rejected), (1, 40_000, 39_960, 40));
    let told = errors(&installed, "usage.csv.errors.ndjson");
    assert_eq!((told.len(), told[39].as_str()), (40, "40001 e39999 unknown_customer /customer_id"));
    assert!(!state.exists());
    assert_eq!(tokens(&installed).await, "79920");
}
