//! The commands: parse, wire, run.

use std::process::ExitCode;

use clap::Parser;

/// Much of what one thread asks for another gives back, in SQLite too (decision 0040).
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // The one TLS provider, for every client in the process.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        unreachable!("nothing ran before");
    }
    accrue::cli::Cli::parse().run()
}
