//! The settings of the program, and the only reader of the environment.
//!
//! Every setting is a line of `accrue.toml`, a variable `ACCRUE_…` (or `ACCRUE_…_FILE`, a file that holds
//! it), or a flag; the later wins.

use std::{
    collections::BTreeMap, fmt::Write as _, num::NonZeroU32, path::PathBuf, str::FromStr, time::Duration,
};

use accrue_platform::{db::DbConfig, egress::IpNet, telemetry::LogFormat};
use secrecy::SecretString;

/// A setting as the README lists it.
pub struct Setting {
    /// As in `accrue.toml`; the variable is `ACCRUE_` and this in capitals.
    pub name: &'static str,
    pub default: &'static str,
    pub secret: bool,
    pub help: &'static str,
}

const fn setting(name: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting { name, default, secret: false, help }
}

const fn secret(name: &'static str, help: &'static str) -> Setting {
    Setting { name, default: "", secret: true, help }
}

/// Every setting there is.
pub const SETTINGS: &[Setting] = &[
    secret("database_url", "`sqlite://path` or `postgres://…`; the file `accrue.db` unless given"),
    setting("database_connections", "16", "connections to PostgreSQL, or readers of SQLite"),
    setting("database_statement_timeout_ms", "30000", "how long a statement may run on PostgreSQL"),
    setting(
        "database_allow_unsafe_commit",
        "false",
        "start although PostgreSQL has `synchronous_commit` off",
    ),
    setting("listen", "127.0.0.1:8080", "address and port to serve on"),
    setting("public_url", "", "how others reach this server; `http://` and `listen` unless given"),
    setting("role", "all", "`api` answers requests, `worker` does the work behind them, `all` does both"),
    secret(
        "secret_key",
        "32 bytes that seal secrets, hexadecimal or base64; made beside the SQLite file when absent, required with PostgreSQL",
    ),
    secret("smtp_url", "`smtp://user:password@host:587?tls=required`; mails become files when absent"),
    setting("mail_dir", "outbox", "where mails are written as `.eml` files when there is no SMTP"),
    setting("mail_from", "Accrue <billing@localhost>", "the sender of mails"),
    setting(
        "webhook_allow",
        "",
        "addresses (CIDR, comma separated) that webhooks may reach beside public ones",
    ),
    setting(
        "sandbox_gateway_file",
        "",
        "the sandbox gateway's own ledger; beside the SQLite file, or `sandbox-gateway.db`, unless given",
    ),
    setting("gateway_timeout_ms", "20000", "how long a gateway may take before its answer counts as unknown"),
    setting("request_head_timeout_ms", "10000", "how long a client may take to send the head of a request"),
    setting(
        "usage_retention_months",
        "0",
        "whole months that live usage events stay in the database before they are archived; 0 keeps them for ever",
    ),
    setting("usage_archive_dir", "usage-archive", "where archived usage events are written"),
    setting("http_workers", "2", "threads that answer requests"),
    setting("workers", "8", "jobs that run at once in this process"),
    setting("job_lease_ms", "30000", "how long a dead worker's job waits before another takes it"),
    setting(
        "log",
        "info,sqlx=warn,sea_orm=warn,sea_orm_migration=warn",
        "which log lines are written, like `info,accrue=debug`",
    ),
    setting("log_format", "json", "`json` or `text`"),
];

/// Which parts of the program a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    All,
    Api,
    Worker,
}

/// The settings in force.
#[derive(Clone, Debug)]
pub struct Config {
    pub database: DbConfig,
    pub listen: String,
    pub public_url: String,
    pub role: Role,
    pub secret_key: Option<SecretString>,
    pub smtp_url: Option<SecretString>,
    pub mail_dir: PathBuf,
    pub mail_from: String,
    pub webhook_allow: Vec<IpNet>,
    pub sandbox_gateway_file: PathBuf,
    pub gateway_timeout: Duration,
    pub request_head_timeout: Duration,
    /// `None` keeps them for ever.
    pub usage_retention_months: Option<NonZeroU32>,
    pub usage_archive_dir: PathBuf,
    pub http_workers: usize,
    pub workers: usize,
    job_lease: Duration,
    pub log: String,
    pub log_format: LogFormat,
    values: BTreeMap<&'static str, String>,
}

/// Mistakes in the settings, one line each.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct Mistakes(pub Vec<String>);

impl Config {
    /// Reads `accrue.toml` in the working directory, then the environment, then `flags`.
    pub fn load(flags: BTreeMap<&'static str, String>) -> Result<Self, Mistakes> {
        let mut values = read_file("accrue.toml")?;
        values.extend(read_environment()?);
        values.extend(flags);
        Self::from_values(values)
    }

    /// Only `values` and defaults: for tests and for the demo.
    pub fn from_values(mut values: BTreeMap<&'static str, String>) -> Result<Self, Mistakes> {
        for setting in SETTINGS {
            values.entry(setting.name).or_insert_with(|| setting.default.to_owned());
        }
        let mut read = Reader { values: &values, mistakes: Vec::new() };
        let config = read.config();
        if read.mistakes.is_empty() {
            values.insert("database_url", config.database.url.clone());
            values.insert("public_url", config.public_url.clone());
            values.insert("sandbox_gateway_file", config.sandbox_gateway_file.display().to_string());
            return Ok(Self { values, ..config });
        }
        Err(Mistakes(read.mistakes))
    }

    pub fn job_lease(&self) -> Duration {
        self.job_lease
    }

    /// What is in force, as lines of `accrue.toml`, with secrets masked.
    pub fn masked(&self) -> String {
        let mut text = String::new();
        for setting in SETTINGS {
            let value = &self.values[setting.name];
            let shown = if setting.secret { mask(value) } else { value.clone() };
            writeln!(text, "{} = {shown:?}", setting.name).expect("a string takes it");
        }
        text
    }
}

/// Hides a secret; of an address only the password.
fn mask(value: &str) -> String {
    match url::Url::parse(value) {
        _ if value.is_empty() => String::new(),
        _ if value.starts_with("sqlite://") => value.to_owned(),
        Ok(mut address) if address.has_host() => {
            let hidden = address.password().is_none() || address.set_password(Some("********")).is_ok();
            if hidden { address.to_string() } else { "********".to_owned() }
        }
        _ => "********".to_owned(),
    }
}

struct Reader<'a> {
    values: &'a BTreeMap<&'static str, String>,
    mistakes: Vec<String>,
}

impl Reader<'_> {
    fn config(&mut self) -> Config {
        let url = self.text("database_url").unwrap_or_else(|| "sqlite://accrue.db".to_owned());
        let listen = self.text("listen").unwrap_or_default();
        let config = Config {
            database: DbConfig {
                connections_max: self.parse("database_connections", "a number from 1 to 1000", 16),
                statement_timeout: self.millis("database_statement_timeout_ms"),
                allow_unsafe_commit: self.parse("database_allow_unsafe_commit", "true or false", false),
                ..DbConfig::new(url.clone())
            },
            public_url: self
                .text("public_url")
                .map_or_else(|| format!("http://{listen}"), |url| url.trim_end_matches('/').to_owned()),
            listen,
            role: self.choose("role", &[("all", Role::All), ("api", Role::Api), ("worker", Role::Worker)]),
            secret_key: self.text("secret_key").map(SecretString::from),
            smtp_url: self.text("smtp_url").map(SecretString::from),
            mail_dir: self.text("mail_dir").unwrap_or_default().into(),
            mail_from: self.text("mail_from").unwrap_or_default(),
            webhook_allow: self.networks("webhook_allow"),
            sandbox_gateway_file: self
                .text("sandbox_gateway_file")
                .map_or_else(|| beside(&url), PathBuf::from),
            gateway_timeout: self.millis("gateway_timeout_ms"),
            request_head_timeout: self.millis("request_head_timeout_ms"),
            usage_retention_months: NonZeroU32::new(self.parse(
                "usage_retention_months",
                "a number of months",
                0,
            )),
            usage_archive_dir: self.text("usage_archive_dir").unwrap_or_default().into(),
            http_workers: self.parse::<usize>("http_workers", "a number from 1 on", 2).max(1),
            workers: self.parse::<usize>("workers", "a number from 1 on", 8).max(1),
            job_lease: self.millis("job_lease_ms"),
            log: self.text("log").unwrap_or_default(),
            log_format: self.choose("log_format", &[("json", LogFormat::Json), ("text", LogFormat::Text)]),
            values: BTreeMap::new(),
        };
        self.check(&config);
        config
    }

    /// What each setting alone does not show.
    fn check(&mut self, config: &Config) {
        let url = &config.database.url;
        let postgres = url.starts_with("postgres://") || url.starts_with("postgresql://");
        if !postgres && !url.starts_with("sqlite://") {
            self.mistakes.push("database_url: begins with sqlite:// or postgres://".to_owned());
        }
        if postgres && config.secret_key.is_none() {
            self.mistakes.push(
                "secret_key: is required with PostgreSQL; make one with `openssl rand -hex 32` and keep it safe".to_owned(),
            );
        }
        if config.listen.to_socket_addrs_text().is_none() {
            self.mistakes
                .push(format!("listen: `{}` is not address:port, like 127.0.0.1:8080", config.listen));
        }
        if url::Url::parse(&config.public_url).is_err() {
            self.mistakes.push(format!("public_url: `{}` is not a URL", config.public_url));
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        self.values.get(name).filter(|value| !value.is_empty()).cloned()
    }

    fn parse<T: FromStr>(&mut self, name: &str, wanted: &str, fallback: T) -> T {
        let value = self.text(name).unwrap_or_default();
        value.parse().unwrap_or_else(|_| {
            self.mistakes.push(format!("{name}: `{value}` is not {wanted}"));
            fallback
        })
    }

    fn millis(&mut self, name: &str) -> Duration {
        Duration::from_millis(self.parse::<u64>(name, "a number of milliseconds", 0).max(1))
    }

    fn choose<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> T {
        let value = self.text(name).unwrap_or_default();
        let found = choices.iter().find(|(word, _)| *word == value);
        found
            .unwrap_or_else(|| {
                let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
                self.mistakes.push(format!("{name}: `{value}` is not one of {}", words.join(", ")));
                &choices[0]
            })
            .1
    }

    fn networks(&mut self, name: &str) -> Vec<IpNet> {
        let value = self.text(name).unwrap_or_default();
        let mut networks = Vec::new();
        for word in value.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word.parse() {
                Ok(network) => networks.push(network),
                Err(_) => self.mistakes.push(format!("{name}: `{word}` is not a network like 127.0.0.0/8")),
            }
        }
        networks
    }
}

trait SocketText {
    fn to_socket_addrs_text(&self) -> Option<()>;
}

impl SocketText for String {
    /// Is it `host:port`? Names are resolved when the server binds.
    fn to_socket_addrs_text(&self) -> Option<()> {
        let (host, port) = self.rsplit_once(':')?;
        (!host.is_empty() && port.parse::<u16>().is_ok()).then_some(())
    }
}

/// The sandbox gateway's file stands beside the SQLite file.
fn beside(database_url: &str) -> PathBuf {
    match database_url.strip_prefix("sqlite://") {
        Some(_) => {
            let path = PathBuf::from(accrue_platform::db::sqlite_path(database_url));
            path.with_file_name(format!(
                "{}-sandbox-gateway.db",
                path.file_stem().map_or("accrue".into(), |stem| stem.to_string_lossy())
            ))
        }
        None => PathBuf::from("sandbox-gateway.db"),
    }
}

fn known(name: &str) -> Option<&'static str> {
    SETTINGS.iter().find(|setting| setting.name == name).map(|setting| setting.name)
}

fn read_file(path: &str) -> Result<BTreeMap<&'static str, String>, Mistakes> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(Mistakes(vec![format!("{path}: {error}")])),
    };
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| Mistakes(vec![format!("{path}: {}", error.message())]))?;
    let (mut values, mut mistakes) = (BTreeMap::new(), Vec::new());
    for (name, value) in table {
        let Some(name) = known(&name) else {
            mistakes.push(format!("{path}: there is no setting `{name}`"));
            continue;
        };
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        values.insert(name, text);
    }
    if mistakes.is_empty() { Ok(values) } else { Err(Mistakes(mistakes)) }
}

fn read_environment() -> Result<BTreeMap<&'static str, String>, Mistakes> {
    let (mut values, mut mistakes) = (BTreeMap::new(), Vec::new());
    for (variable, value) in std::env::vars() {
        let Some(name) = variable.strip_prefix("ACCRUE_").map(str::to_ascii_lowercase) else { continue };
        if let Some(name) = known(&name) {
            values.insert(name, value);
        } else if let Some(name) = name.strip_suffix("_file").and_then(known) {
            match std::fs::read_to_string(&value) {
                Ok(text) => {
                    values.entry(name).or_insert_with(|| text.trim().to_owned());
                }
                Err(error) => mistakes.push(format!("{variable}: {value}: {error}")),
            }
        } else if !name.starts_with("test_") {
            mistakes.push(format!("{variable}: there is no such setting; `accrue config --help` lists them"));
        }
    }
    if mistakes.is_empty() { Ok(values) } else { Err(Mistakes(mistakes)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&'static str, &str)]) -> Result<Config, Mistakes> {
        Config::from_values(pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect())
    }

    #[test]
    fn nothing_needs_to_be_set() {
        let config = with(&[]).unwrap();
        assert_eq!(config.database.url, "sqlite://accrue.db");
        assert_eq!(config.public_url, "http://127.0.0.1:8080");
        assert_eq!(config.sandbox_gateway_file, PathBuf::from("accrue-sandbox-gateway.db"));
    }

    #[test]
    fn every_mistake_is_one_line() {
        let mistakes = with(&[
            ("database_url", "mysql://x"),
            ("listen", "8080"),
            ("workers", "many"),
            ("role", "boss"),
            ("webhook_allow", "10.0.0.0/8, x"),
        ])
        .unwrap_err();
        assert_eq!(mistakes.0.len(), 5, "{mistakes}");
        assert!(mistakes.0.iter().all(|line| !line.contains('\n')));
    }

    #[test]
    fn postgresql_needs_a_secret_key() {
        assert!(with(&[("database_url", "postgres://x")]).is_err());
        assert!(with(&[("database_url", "postgres://x"), ("secret_key", &"a".repeat(64))]).is_ok());
    }

    #[test]
    fn secrets_are_masked() {
        let config = with(&[("smtp_url", "smtp://user:hunter2@host")]).unwrap();
        assert!(!config.masked().contains("hunter2"));
        assert!(config.masked().contains("smtp_url = \"smtp://user:********@host\""));
        assert!(config.masked().contains("database_url = \"sqlite://accrue.db\""));
        assert_eq!(mask(&"5".repeat(64)), "********");
    }
}
