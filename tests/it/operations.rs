//! What whoever runs the program relies on: health, a quiet end, compressed answers, the commands.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use accrue_platform::db::{Db, DbConfig, OpenError};
use rstest::rstest;
use sea_orm::{ConnectionTrait, DatabaseBackend, Statement};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Engine,
    Engine::*,
    Reply, World,
    process::{Installation, Process},
    text,
};

/// What an operator waits before the machine is taken away.
const END_WITHIN: Duration = Duration::from_secs(25);

async fn readiness(home: &Installation, process: &Process) -> (u16, Value) {
    let reply = home.try_send(process, "GET", "/readyz", &Value::Null).await.unwrap();
    (reply.status, reply.json())
}

async fn until_ready(home: &Installation, process: &Process) {
    let started = Instant::now();
    while readiness(home, process).await.0 != 200 {
        assert!(started.elapsed() < Duration::from_mins(1), "{:?}", readiness(home, process).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_ready_when_every_part_is_there(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(home) = Installation::new(on).await else { return };
    let process = home.serve().await;
    until_ready(&home, &process).await;
    let (status, body) = readiness(&home, &process).await;
    let parts = json!({"database": "ok", "migrations": "ok", "scheduler": "ok"});
    assert_eq!((status, body), (200, json!({"status": "ready", "checks": parts})));
}

/// A debug build takes 17 MiB: 7 are addresses that the loader wrote into the program, 4 the allocator keeps at hand
/// (decision 0040). What the threads of a server once kept of building the OpenAPI document each was more than this.
#[cfg(target_os = "linux")]
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_server_at_rest_takes_little_memory(#[values(Sqlite, Postgres)] on: Engine) {
    const OWN_MEMORY_MAX_KIB: u64 = 24 * 1024;
    let Some(home) = Installation::new(on).await else { return };
    let process = home.serve().await;
    until_ready(&home, &process).await;

    let own = process.own_memory_kib();

    assert!(own < OWN_MEMORY_MAX_KIB, "{own} KiB");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_leads_the_scheduler_is_not_ready(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let reply = Reply::of(world.request("GET", "/readyz")).await;
    assert_eq!((reply.status, &reply.json()["status"]), (503, &json!("not_ready")));
    let why = text(&reply.json()["checks"]["scheduler"]);
    assert!(why.contains("role all or worker"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_database_is_gone_is_alive_but_not_ready() {
    let Some(home) = Installation::new(Postgres).await else { return };
    let process = home.serve().await;
    until_ready(&home, &process).await;

    home.drop_database().await;

    let (status, body) = readiness(&home, &process).await;
    assert_eq!(status, 503);
    assert_eq!(body["checks"]["database"], "the database cannot be reached");
    assert_eq!(home.try_send(&process, "GET", "/healthz", &Value::Null).await.unwrap().status, 200);
    let asked = home.try_send(&process, "GET", "/v1/customers", &Value::Null).await.unwrap();
    assert_eq!((asked.status, asked.header("retry-after")), (503, "1"), "{}", asked.text);
}

/// A request of which the server has the head, and waits for the body.
struct HalfSent {
    stream: TcpStream,
    body: String,
}

impl HalfSent {
    fn begin(home: &Installation, process: &Process, path: &str, body: &Value) -> Self {
        let address = process.url.trim_start_matches("http://");
        let body = body.to_string();
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\
             connection: close\r\n\r\n",
            home.key,
            body.len()
        )
        .unwrap();
        let mut line = String::new();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 100"), "{line}");
        Self { stream, body }
    }

    fn finish(mut self) -> String {
        self.stream.write_all(self.body.as_bytes()).unwrap();
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_asked_to_end_finishes_what_it_has_begun(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(mut home) = Installation::new(on).await else { return };
    let mut process = home.serve_with(&["--set", "gateway_timeout_ms=5000"]).await;
    let price =
        json!({"code": "base", "name": "Base", "kind": "fixed", "model": {"type": "flat", "amount": "5"}});
    let interval = json!({"unit": "month", "count": 1});
    let plan =
        json!({"code": "pro", "name": "Pro", "currency": "USD", "interval": interval, "prices": [price]});
    home.send(&process, "POST", "/v1/plans", &plan).await;
    home.send(&process, "POST", "/v1/customers", &json!({"external_id": "acme", "name": "Acme"})).await;
    let method = json!({"customer": "acme", "token": "tok_slow"});
    home.send(&process, "POST", "/v1/payment_methods", &method).await;
    let request =
        HalfSent::begin(&home, &process, "/v1/customers", &json!({"external_id": "late", "name": "Late"}));
    home.send(&process, "POST", "/v1/subscriptions", &json!({"customer": "acme", "plan": "pro"})).await;
    // A job is in the middle of a charge that takes two seconds.
    until_attempt(&home, &process, |status| status == "started").await;

    let asked_at = Instant::now();
    home.hang_up();
    process.ask_to_end();
    let answer = request.finish();
    let code = process.wait();

    assert!(answer.contains(" 201 Created"), "{answer}");
    assert_eq!(code, Some(0));
    assert!(asked_at.elapsed() < END_WITHIN, "{:?}", asked_at.elapsed());
    // Somebody who only looks: no worker runs that could settle the attempt now.
    let reader = home.serve_with(&["--role", "api"]).await;
    until_attempt(&home, &reader, |status| status == "succeeded").await;
    home.send(&reader, "GET", "/v1/customers/late", &Value::Null).await;
}

async fn until_attempt(home: &Installation, process: &Process, is_so: fn(&str) -> bool) {
    let started = Instant::now();
    loop {
        let payments = home.send(process, "GET", "/v1/payments", &Value::Null).await;
        if payments["data"][0]["attempts"][0]["status"].as_str().is_some_and(is_so) {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{payments}");
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_compressed_for_who_takes_it(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let plain = Reply::of(world.request("GET", "/openapi.json")).await;
    let asked = world.request("GET", "/openapi.json").header("accept-encoding", "gzip");
    let packed = Reply::of(asked).await;
    assert_eq!((plain.header("content-encoding"), packed.header("content-encoding")), ("", "gzip"));
    assert_eq!(packed.bytes[..2], [0x1f, 0x8b], "gzip's own mark");
    assert!(packed.bytes.len() * 4 < plain.bytes.len(), "{} of {}", packed.bytes.len(), plain.bytes.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_on_postgresql_may_run_as_long_as_the_settings_say() {
    let Some(world) = World::with(Postgres, &[("database_statement_timeout_ms", "1234")]).await else {
        return;
    };
    let shown = Statement::from_string(DatabaseBackend::Postgres, "show statement_timeout");
    let row = world.app.db.reader().query_one_raw(shown).await.unwrap().unwrap();
    assert_eq!(row.try_get_by_index::<String>(0).unwrap(), "1234ms");
}

/// Parts of a page that a browser would fetch.
fn fetched(page: &str) -> Vec<&str> {
    let values = ["src=\"", "href=\"", "url: \"", "url(", "@import \""];
    let of = |mark: &'static str| page.split(mark).skip(1).filter_map(|rest| rest.split(['"', ')']).next());
    values.into_iter().flat_map(of).collect()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_reference_is_read_without_another_server(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let page = Reply::of(world.request("GET", "/docs")).await;
    assert_eq!(page.status, 200);
    let parts = fetched(&page.text);
    assert!(parts.len() > 3, "{parts:?}");
    for part in parts {
        assert!(!part.contains("//"), "{part}");
        let path = if part.starts_with('/') { part.to_owned() } else { format!("/docs/{part}") };
        let got = Reply::of(world.request("GET", &path)).await;
        assert_eq!(got.status, 200, "{path}");
        if path.ends_with("initializer.js") {
            assert!(got.text.contains("/openapi.json") && !got.text.contains("https://"), "{}", got.text);
        }
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_server_counts_its_requests_and_writes_a_line_of_json_for_each(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(home) = Installation::new(on).await else { return };
    let process = home.serve_with(&["--set", "log=info", "--set", "log_format=json"]).await;
    let made =
        home.try_send(&process, "POST", "/v1/customers", &json!({"name": "Acme"})).await.expect("it runs");
    home.send(&process, "GET", &format!("/v1/customers/{}", text(&made.json()["id"])), &Value::Null).await;

    let counted = home.try_send(&process, "GET", "/metrics", &Value::Null).await.unwrap().text;

    let of_route = |method: &str, route: &str| {
        let wanted = [format!("method=\"{method}\""), format!("path=\"{route}\"")];
        let line = counted.lines().find(|line| {
            line.starts_with("http_request_duration_seconds_count")
                && wanted.iter().all(|each| line.contains(each))
        });
        line.and_then(|line| line.rsplit(' ').next()).map(str::to_owned)
    };
    assert_eq!(of_route("POST", "/v1/customers").as_deref(), Some("1"), "{counted}");
    assert_eq!(of_route("GET", "/v1/customers/{id}").as_deref(), Some("1"), "{counted}");
    let log = std::fs::read_to_string(home.folder.path().join("serve.log")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let id = made.header("x-request-id");
    assert!(!id.is_empty() && lines.iter().any(|line| line.to_string().contains(id)), "{id} in {log}");
    assert!(!log.contains(&home.key), "no key in a log");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn who_never_finishes_the_head_of_a_request_is_let_go(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::with(on, &[("request_head_timeout_ms", "200")]).await else { return };
    let mut stream = TcpStream::connect(world.url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: accrue\r\n").unwrap();

    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();

    assert!(answer.starts_with("HTTP/1.1 408"), "{answer:?}");
}

/// The program in a folder, with no settings but those of its arguments.
fn accrue(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_accrue"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ACCRUE_")) {
        command.env_remove(name);
    }
    command.args(arguments).current_dir(folder).output().unwrap()
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_in(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}

#[test]
fn the_demo_tells_its_story_twice_and_every_file_it_names_is_there() {
    let folder = TempDir::new().unwrap();
    for _ in 0..2 {
        let story = printed(&accrue(folder.path(), &["demo", "--exit", "--listen", "127.0.0.1:0"]));
        let named: Vec<_> = story
            .split_whitespace()
            .map(|word| folder.path().join(word))
            .filter(|path| path.extension().is_some_and(|extension| extension == "pdf" || extension == "eml"))
            .collect();
        assert!(named.len() >= 6, "{story}");
        for file in named {
            let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let is_pdf = file.extension().is_some_and(|extension| extension == "pdf");
            assert!(bytes.len() > 1000 && bytes.starts_with(b"%PDF-") == is_pdf, "{}", file.display());
        }
        for part in ["declined", "succeeded", "signatures verified", "debits equal credits"] {
            assert!(story.contains(part), "{part} in {story}");
        }
        assert!(!story.contains('{'), "no raw JSON: {story}");
    }
    let runs = std::fs::read_dir(folder.path().join("accrue-demo")).unwrap().count();
    assert_eq!(runs, 2, "no run overwrites another");
}

#[test]
fn the_doctor_changes_nothing_on_a_new_machine() {
    let folder = TempDir::new().unwrap();
    let said = printed(&accrue(folder.path(), &["doctor"]));
    for check in ["settings", "database", "mail", "gateway"] {
        assert!(said.lines().any(|line| line.starts_with("ok") && line.contains(check)), "{check} in {said}");
    }
    assert_eq!(files_in(folder.path()), Vec::<PathBuf>::new());
}

#[test]
fn the_doctor_says_what_is_wrong_and_what_to_do() {
    let folder = TempDir::new().unwrap();
    let output = accrue(folder.path(), &["doctor", "--json", "--set", "smtp_url=smtp://127.0.0.1:1"]);
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &said["ok"]), (Some(1), &json!(false)));
    let checks = said["checks"].as_array().unwrap();
    let mail = checks.iter().find(|check| check["name"] == "mail").unwrap();
    assert!(mail["ok"] == false && text(&mail["detail"]).contains("does not answer"), "{mail}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_and_the_verifier_find_a_running_installation_well(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(home) = Installation::new(on).await else { return };
    let process = home.serve().await;
    home.send(&process, "POST", "/v1/customers", &json!({"name": "Acme"})).await;
    let said = home.run(&["doctor"]);
    assert!(said.contains("schema") && !said.contains("WRONG"), "{said}");
    process.kill();

    let said: Value = serde_json::from_str(&home.run(&["verify", "--json"])).unwrap();
    assert_eq!(said["ok"], true);
    let modes: Vec<_> =
        said["tenants"].as_array().unwrap().iter().map(|tenant| &tenant["livemode"]).collect();
    assert_eq!(modes.len(), 2);
    assert!(home.run(&["verify"]).contains("books balance"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_a_sqlite_file_is_refused_whatever_link_leads_there() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let open =
        async |name: &str| Db::open(&DbConfig::new(format!("sqlite://{}", path(name).display()))).await;
    std::os::unix::fs::symlink(path("accrue.db"), path("link.db")).unwrap();
    std::os::unix::fs::symlink(folder.path(), path("folder")).unwrap();

    // Through a link first: the file itself is not there yet.
    let first = open("link.db").await.unwrap();
    for name in ["accrue.db", "link.db", "folder/accrue.db"] {
        assert!(matches!(open(name).await, Err(OpenError::InUse(_))), "{name}");
    }
    first.close().await.unwrap();
    open("folder/link.db").await.unwrap();
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_says_that_it_answers_no_requests(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::with(on, &[("role", "worker")]).await else { return };
    let asked = Reply::of(world.request("GET", "/v1/customers")).await;
    assert_eq!(asked.status, 404);
    assert!(text(&asked.json()["detail"]).contains("the role `worker`"), "{}", asked.text);
    assert_eq!(Reply::of(world.request("HEAD", "/healthz")).await.status, 200);
    assert_eq!(Reply::of(world.request("POST", "/healthz")).await.status, 405);
}
