//! `accrue import customers` and `accrue import subscriptions`.

use std::{fmt::Write as _, fs};

use rstest::rstest;
use serde_json::{Value, json};

use super::{errors, import, installed, path, stop, write};
use crate::support::{Engine, Engine::*, process::Installation, text};

const CUSTOMERS: &str = "\u{feff}Account,Name,email,address.city,address.country,metadata.tier,tax_ids,Comment
acme,Acme,pay@acme.example,Berlin,DE,gold,\"[{\"\"kind\"\":\"\"eu_vat\"\",\"\"value\"\":\"\"DE136695976\"\"}]\",\"two
lines\"
beta,'=Beta,,,,,,
acme,Acme,,,,,,
acme,Other,,Paris,DE,gold,,
,Nobody,,,,,,
gamma, ,nobody,,Germany,,,
delta,Delta,,,,,[,
eps
";

const MAPS: [&str; 3] = ["--map=Account=external_id", "--map=Name=name", "--map=Comment=-"];

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn customers_are_tried_out_then_made_once_and_each_bad_line_is_told(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some((installed, server)) = installed(on).await else { return };
    stop(server);
    let file = write(&installed, "customers.csv", CUSTOMERS);
    let arguments = [&["--mode=test", file.as_str()], MAPS.as_slice()].concat();
    let dry = [arguments.as_slice(), &["--dry-run"]].concat();
    let bad = [
        "6 acme /external_id conflict",
        "7 - /external_id required",
        "8 gamma /name blank",
        "8 gamma /email malformed",
        "8 gamma /address/country malformed",
        "9 -  malformed",
        "10 -  malformed",
    ];
    for (arguments, summary) in [
        (&dry, "8 2 1 5"),
        (&dry, "8 2 1 5"),
        (&arguments, "8 2 1 5"),
        (&arguments, "8 0 3 5"),
        (&dry, "8 0 3 5"),
    ] {
        assert_eq!(import(&installed, "customers", arguments), (1, summary.to_owned()));
        assert_eq!(errors(&installed, "customers.csv"), bad);
    }
    let detail = fs::read_to_string(path(&installed, "customers.csv.errors.ndjson")).unwrap();
    assert!(detail.contains("has another name, another address"), "{detail}");

    let server = installed.serve().await;
    let customers = installed.all(&server, "/v1/customers").await;
    assert_eq!(customers.len(), 2);
    let acme = installed.send(&server, "GET", "/v1/customers/acme", &Value::Null).await;
    assert_eq!((&acme["address"]["city"], &acme["metadata"]["tier"]), (&json!("Berlin"), &json!("gold")));
    assert_eq!(acme["tax_ids"][0]["value"], "DE136695976");
    let beta = installed.send(&server, "GET", "/v1/customers/beta", &Value::Null).await;
    assert_eq!(beta["name"], "=Beta");
    let events = installed.all(&server, "/v1/events").await;
    assert_eq!(events.iter().filter(|event| event["type"] == "customer.created").count(), 2);
    let audit = installed.all(&server, "/v1/audit_log").await;
    let entries: Vec<_> = audit.iter().filter(|entry| entry["action"] == "import customers").collect();
    assert_eq!(entries.len(), 1, "{audit:?}");
    assert_eq!(
        (&entries[0]["actor"], &entries[0]["object_id"]),
        (&json!("command line"), &json!("2 customers"))
    );
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_nobody_knows_is_told_before_anything_is_made(#[values(Sqlite, Postgres)] on: Engine) {
    let Some((installed, server)) = installed(on).await else { return };
    stop(server);
    for (header, told) in [
        ("external_id,name,Plan", "nobody knows what the column Plan is"),
        ("external_id", "no column holds the name"),
        ("name", "no column holds the external_id"),
        ("external_id,name,metadata,metadata.x", "beside columns of what is in it"),
    ] {
        let file = write(&installed, "odd.csv", &format!("{header}\n"));
        let (code, printed) = import(&installed, "customers", &["--mode=test", &file]);
        assert!(code == 1 && printed.contains(told), "{header}: {printed}");
    }
    let file = write(&installed, "customers.ndjson", "{\"external_id\": \"a\", \"name\": \"A\"}\n");
    let (code, printed) = import(&installed, "customers", &["--mode=test", &file, "--map=a=name"]);
    assert!(code == 1 && printed.contains("--map is for CSV"), "{printed}");
    assert_eq!(import(&installed, "customers", &["--mode=test", &file]), (0, "1 1 0 0".to_owned()));
}

/// Customers `c0` to `c2` on a test clock that stands at the beginning of 2026.
async fn with_customers(on: Engine) -> Option<(Installation, String)> {
    let (installed, server) = installed(on).await?;
    let clock = json!({"now": "2026-01-01T00:00:00Z"});
    let clock = text(&installed.send(&server, "POST", "/v1/test_clocks", &clock).await["id"]);
    for number in 0..3 {
        let customer = json!({"external_id": format!("c{number}"), "name": "C", "test_clock": clock});
        installed.send(&server, "POST", "/v1/customers", &customer).await;
    }
    stop(server);
    Some((installed, clock))
}

const SUBSCRIPTIONS: &str =
    "external_id,customer,plan,start_at,quantities.seats,trial_end,alignment,net_terms_days
s0,c0,pro,2026-02-01T00:00:00Z,3,,anniversary,14
s1,c1,pro,2025-12-01T00:00:00Z,,,,
s2,c2,pro,2026-02-01T00:00:00Z,1.5,2026-03-01T00:00:00Z,\"{\"\"day_of_month\"\":15}\",
s3,c0,max,2026-02-01T00:00:00Z,,,,
s4,nobody,pro,2026-02-01T00:00:00Z,,,,
s5,c1,none,2026-02-01T00:00:00Z,,,,
s0,c0,pro,2026-02-01T00:00:00Z,4,,,
s6,c1,max,2026-02-01T00:00:00Z,many,,,
";

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_are_made_once_and_the_past_is_billed_only_on_request(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some((installed, clock)) = with_customers(on).await else { return };
    let file = write(&installed, "subscriptions.csv", SUBSCRIPTIONS);
    let arguments = ["--mode=test", file.as_str()];
    let dry = ["--mode=test", file.as_str(), "--dry-run"];
    let past = ["--mode=test", file.as_str(), "--bill-past"];
    let bad = [
        "3 s1 /start_at past",
        "5 s3 /plan metric_taken",
        "6 s4 /customer unknown",
        "7 s5 /plan unknown",
        "8 s0 /external_id conflict",
        "9 s6 /quantities/seats malformed",
    ];
    for (arguments, summary) in [(&dry[..], "8 2 0 6"), (&arguments, "8 2 0 6"), (&arguments, "8 0 2 6")] {
        assert_eq!(import(&installed, "subscriptions", arguments), (1, summary.to_owned()));
        assert_eq!(errors(&installed, "subscriptions.csv"), bad);
    }
    assert_eq!(import(&installed, "subscriptions", &past), (1, "8 1 2 5".to_owned()));

    let server = installed.serve().await;
    let made = installed.all(&server, "/v1/subscriptions").await;
    assert_eq!(made.len(), 3);
    let s0 = installed.send(&server, "GET", "/v1/subscriptions/s0", &Value::Null).await;
    assert_eq!((&s0["quantities"]["seats"], &s0["net_terms_days"]), (&json!("3"), &json!(14)));
    assert_eq!(s0["status"], "pending");
    let s2 = installed.send(&server, "GET", "/v1/subscriptions/s2", &Value::Null).await;
    assert_eq!((&s2["alignment"]["day_of_month"], &s2["quantities"]["seats"]), (&json!(15), &json!("1.5")));
    // The past is billed, and nothing else is: 5.00 for December and for January.
    let advance = json!({"to": "2026-01-15T00:00:00Z"});
    installed.send(&server, "POST", &format!("/v1/test_clocks/{clock}/advance"), &advance).await;
    let invoices = installed.all(&server, "/v1/invoices").await;
    let totals: Vec<_> = invoices.iter().map(|invoice| text(&invoice["total"])).collect();
    assert_eq!(totals, ["5.00", "5.00"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_import_of_customers_that_is_killed_goes_on_where_it_was(#[values(Sqlite, Postgres)] on: Engine) {
    let Some((installed, server)) = installed(on).await else { return };
    stop(server);
    let mut lines = String::from("external_id,name,email\n");
    for number in 0..5_000 {
        let email = if number % 1000 == 999 { "nobody" } else { "a@b.example" };
        writeln!(lines, "c{number},Customer {number},{email}").unwrap();
    }
    let file = write(&installed, "customers.csv", &lines);
    let state = path(&installed, "customers.csv.import.json");
    let command = ["import", "customers", "--mode", "test", &file];
    assert!(installed.run_until(&command, &state).await, "it was too quick to be killed");

    let (code, summary) = import(&installed, "customers", &["--mode=test", &file]);

    let numbers: Vec<u64> = summary.split(' ').map(|number| number.parse().unwrap()).collect();
    let [lines, accepted, duplicates, rejected] = numbers.as_slice() else { panic!("{summary}") };
    assert_eq!((code, *lines, accepted + duplicates, *rejected), (1, 5_000, 4_995, 5));
    assert_eq!(errors(&installed, "customers.csv").len(), 5);
    assert!(!state.exists());
    let again = import(&installed, "customers", &["--mode=test", &file]);
    assert_eq!(again, (1, "5000 0 4995 5".to_owned()));
}
