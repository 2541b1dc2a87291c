//! Where the log goes and how it looks.

use std::io::IsTerminal as _;

/// Logs to stderr: human on a terminal, JSON otherwise.
pub fn init(format: &str, level: &str) {
    let filter =
        tracing_subscriber::EnvFilter::try_new(level).unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let human = match format {
        "human" => true,
        "json" => false,
        _ => std::io::stderr().is_terminal(),
    };
    // A log that cannot be written must cost nothing else: the default complaint about it panics.
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    let installed = if human { builder.try_init() } else { builder.json().try_init() };
    // A second call (tests start several gateways) keeps the first.
    let _ = installed;
}
