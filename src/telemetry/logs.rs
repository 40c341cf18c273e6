//! Logs to standard error, for people or for machines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Libraries that tell at level info what nobody asked for; a filter that names them has its way.
const CHATTY: [&str; 2] = ["tokio_postgres", "refinery_core"];

/// Starts logging. A second call changes nothing.
pub fn init(filter: &str, format: LogFormat) {
    let quiet: String = CHATTY.map(|name| format!("{name}=warn,")).concat();
    let filter = EnvFilter::try_new(format!("{quiet}{filter}")).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let _already_started = match format {
        LogFormat::Human => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
