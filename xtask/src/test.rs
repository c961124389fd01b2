//! `cargo xtask test`: which tests run, on which databases. The tests themselves decide what they need.

use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::{node, postgres, process, python};

#[derive(Args)]
pub(crate) struct Options {
    /// Test on one database only.
    #[arg(long)]
    only: Option<Database>,
    /// Also the tests that take long, and 100,000 cases per property.
    #[arg(long)]
    long: bool,
    /// Where random cases begin: the seed that an earlier run printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Run the tests whose name contains one of these.
    filters: Vec<String>,
    /// Arguments for `cargo test` instead of `--workspace`: `-- -p accrue-core`.
    #[arg(last = true)]
    cargo: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Database {
    Sqlite,
    Postgres,
}

impl Database {
    fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// The exit code is that of the tests, and their output comes last.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    python::find_or_install()?;
    let (python, modules) = (python::with_packages()?, node::with_packages()?);
    process::step("building the tests", || process::run(tests(options).arg("--no-run")))?;

    let server = match options.only {
        Some(Database::Sqlite) => None,
        Some(Database::Postgres) | None => Some(postgres::start(postgres::Purpose::Tests)?),
    };
    eprintln!("xtask: the seed is {0}, `--seed {0}` repeats it", seed(options));
    let mut tests = tests(options);
    tests.env("ACCRUE_TEST_PYTHON", python).env("ACCRUE_TEST_NODE_MODULES", modules);
    if let Some(server) = &server {
        tests.env("ACCRUE_TEST_POSTGRES", server.url());
    }
    let status = process::status(tests.arg("--").args(&options.filters))?;

    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Another one each time, unless one is wanted.
fn seed(options: &Options) -> u64 {
    options.seed.unwrap_or_else(|| std::process::id().into())
}

/// What a developer's own shell exports must not decide what is tested.
fn tests(options: &Options) -> Command {
    let mut command = process::cargo(&["test", "--no-fail-fast"]);
    if options.cargo.is_empty() {
        command.arg("--workspace");
    }
    command.args(&options.cargo);

    for name in ["POSTGRES", "PYTHON", "NODE_MODULES", "ONLY", "LONG"] {
        command.env_remove(format!("ACCRUE_TEST_{name}"));
    }
    if let Some(only) = options.only {
        command.env("ACCRUE_TEST_ONLY", only.name());
    }
    command.env("ACCRUE_TEST_SEED", seed(options).to_string());
    if options.long {
        command.env("ACCRUE_TEST_LONG", "1").env("PROPTEST_CASES", "100000");
    }
    command
}
