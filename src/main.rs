//! The commands: parse, wire, run.

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

/// Events are many small texts, made on one thread and let go on another.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // The one TLS provider, for every client in the process.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        unreachable!("nothing ran before");
    }
    accrue::cli::Cli::parse().run()
}
