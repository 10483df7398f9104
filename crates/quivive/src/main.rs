//! The `quivive` program. Everything it does is in the library of the same name; here are the command line and the exit code.

mod cli;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before anything could want TLS: one provider for the whole program. It fails only when there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    cli::run()
}
