//! The binary `antiphon`. Everything it does is in the library, so that other binaries can do it too.

use std::process::ExitCode;

fn main() -> ExitCode {
    antiphon_server::cli::run(std::env::args_os())
}
