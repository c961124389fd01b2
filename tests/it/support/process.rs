//! The program as a process of its own, which can be killed.
#![expect(clippy::disallowed_methods, reason = "processes are waited for by the machine's time")]

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{Engine, Reply, database, install_tls};

const READY_WITHIN: Duration = Duration::from_mins(1);

/// Everything that outlives a process: its database, its files, its key.
pub struct Installation {
    pub folder: TempDir,
    pub database_url: String,
    pub key: String,
    client: reqwest::Client,
}

/// A running `accrue serve`.
pub struct Process {
    child: Child,
    pub url: String,
}

impl Installation {
    /// `None` if this run leaves that database out.
    pub async fn new(engine: Engine) -> Option<Self> {
        let mut made = Self::empty(engine).await?;
        let printed = made.run(&["keys", "create", "--mode", "test", "--json"]);
        let key: Value = serde_json::from_str(&printed).unwrap();
        made.key = super::text(&key["key"]);
        Some(made)
    }

    /// The same without an account, and so without a key.
    pub async fn empty(engine: Engine) -> Option<Self> {
        install_tls();
        let folder = TempDir::new().unwrap();
        let database_url = database::create(engine, folder.path()).await?;
        let client = reqwest::Client::new();
        Some(Self { folder, database_url, key: String::new(), client })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let path = |name: &str| self.folder.path().join(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_accrue"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("ACCRUE_DATABASE_URL", &self.database_url)
            .env("ACCRUE_SECRET_KEY", "5".repeat(64))
            .env("ACCRUE_MAIL_DIR", path("outbox"))
            .env("ACCRUE_USAGE_ARCHIVE_DIR", path("usage-archive"))
            .env("ACCRUE_SANDBOX_GATEWAY_FILE", path("sandbox-gateway.db"))
            .env("ACCRUE_GATEWAY_TIMEOUT_MS", "1000")
            .env("ACCRUE_JOB_LEASE_MS", "1500")
            .env("ACCRUE_WEBHOOK_ALLOW", "127.0.0.0/8")
            .env("ACCRUE_LOG", "warn");
        command
    }

    pub fn gateway_file(&self) -> std::path::PathBuf {
        self.folder.path().join("sandbox-gateway.db")
    }

    /// Runs a command to its end and gives what it printed.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{arguments:?}: {printed}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        printed
    }

    /// Runs a command to its end and gives its exit code and what it printed, mistakes last.
    pub fn try_run(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.command(arguments).output().unwrap();
        let printed = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8_lossy(&printed).into_owned())
    }

    /// Starts a command, and kills it when a file is there; `false` if it ended before.
    pub async fn run_until(&self, arguments: &[&str], file: &Path) -> bool {
        let mut child = self.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while !file.exists() {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        true
    }

    /// Lets go of the connections that wait for another request: a server that ends waits for them.
    pub fn hang_up(&mut self) {
        self.client = reqwest::Client::new();
    }

    /// Takes the PostgreSQL database away from whoever uses it.
    pub async fn drop_database(&self) {
        database::drop(&self.database_url).await;
    }

    /// Starts the server and waits until it answers.
    pub async fn serve(&self) -> Process {
        self.serve_with(&[]).await
    }

    /// The same with flags.
    pub async fn serve_with(&self, flags: &[&str]) -> Process {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listen = format!("127.0.0.1:{port}");
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("serve.log"))
            .unwrap();
        let child = self
            .command(&["serve", "--listen", &listen])
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        let process = Process { child, url: format!("http://{listen}") };
        self.wait_until_ready(&process).await;
        process
    }

    async fn wait_until_ready(&self, process: &Process) {
        let started = Instant::now();
        loop {
            let answer = self.client.get(format!("{}/healthz", process.url)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            assert!(
                started.elapsed() < READY_WITHIN,
                "not ready: {}",
                read(&self.folder.path().join("serve.log"))
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A request that may fail because the process is killed.
    pub async fn try_send(&self, process: &Process, method: &str, path: &str, body: &Value) -> Option<Reply> {
        self.try_send_to(&process.url, method, path, body).await
    }

    /// The same to wherever a process listens, or did.
    pub async fn try_send_to(&self, url: &str, method: &str, path: &str, body: &Value) -> Option<Reply> {
        let request = self.client.request(method.parse().unwrap(), format!("{url}{path}"));
        let answer = request.bearer_auth(&self.key).json(body).send().await.ok()?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let bytes = answer.bytes().await.ok()?.to_vec();
        Some(Reply { status, headers, text: String::from_utf8_lossy(&bytes).into_owned(), bytes })
    }

    pub async fn send(&self, process: &Process, method: &str, path: &str, body: &Value) -> Value {
        let reply = self.try_send(process, method, path, body).await.expect("the process runs");
        assert!(reply.status < 300, "{method} {path}: {}", reply.text);
        reply.json()
    }

    /// Every object of a list, whatever the number of pages.
    pub async fn all(&self, process: &Process, path: &str) -> Vec<Value> {
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let page = self.send(process, "GET", &format!("{path}?limit=100{after}"), &Value::Null).await;
            let data = page["data"].as_array().unwrap();
            found.extend(data.iter().cloned());
            if page["has_more"] != true {
                return found;
            }
            after = format!("&starting_after={}", super::text(&data.last().unwrap()["id"]));
        }
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

impl Process {
    /// Memory that is the process's own, not a file's, in KiB; as Linux counts it.
    pub fn own_memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux tells it");
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// SIGTERM: the process may finish what it has begun.
    pub fn ask_to_end(&self) {
        let sent = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until the process has ended, and gives its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// SIGKILL: nothing is said goodbye to.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Killed already, or the test failed: either way nothing may stay behind.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Is this run one of the long ones?
pub fn is_long() -> bool {
    std::env::var("ACCRUE_TEST_LONG").is_ok()
}

/// A promise about time: to the letter in a long run, which has a quiet machine. Beside all the other tests it may
/// take five times as long, which is still far from the sweeps that would make good for what was forgotten.
pub fn promised(on_a_quiet_machine: Duration) -> Duration {
    if is_long() { on_a_quiet_machine } else { on_a_quiet_machine * 5 }
}

/// A small generator of random numbers; its seed is printed, so that a failure can be repeated.
pub struct Chance(u64);

impl Chance {
    #[expect(clippy::print_stderr, reason = "a failed run must be repeatable")]
    pub fn new() -> Self {
        let seed = std::env::var("ACCRUE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) * 0x9E37_79B9);
        eprintln!("ACCRUE_TEST_SEED={seed}");
        Self(seed | 1)
    }

    /// Another generator, for work beside this one's.
    pub fn split(&mut self) -> Self {
        Self(self.below(u64::MAX) | 1)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
