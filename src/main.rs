//! The program: memory settings before any thread, then the command line; its answer is the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    openclaw::sys::memory::tune();
    ExitCode::from(openclaw::cli::run(std::env::args_os().skip(1)))
}
