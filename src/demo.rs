//! `resin demo`.
use std::process::ExitCode;
pub async fn run(_once: bool) -> ExitCode {
    ExitCode::FAILURE
}
