//! The `peregrine` binary. Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    peregrine::cli::main()
}
