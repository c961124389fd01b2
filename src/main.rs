//! The commands: parse, wire, run.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // The one TLS provider, for every client in the process.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        unreachable!("nothing ran before");
    }
    accrue::cli::Cli::parse().run()
}
