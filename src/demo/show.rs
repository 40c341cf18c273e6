//! How the demo looks: plain lines, a tree of attempts per request, colour only on a terminal.
//!
//! A reader that has gone (`resin demo | head`) is no reason to end: what cannot be printed is not printed.

use std::{
    env,
    error::Error,
    fmt::Display,
    io::{IsTerminal, Write, stdout},
    time::Duration,
};

use super::world::{Trip, World};
use crate::{
    app::App,
    proto::{RequestLog, RetryDetail, UpstreamPhase, UpstreamStage},
};

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";

pub(super) struct Show {
    colour: bool,
}

impl Show {
    pub(super) fn on_standard_output() -> Self {
        let colour = stdout().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { colour }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(super) fn title(&self) {
        line(self.paint(BOLD, "resin demo: a pool of three nodes, two of them bad"));
        line("");
    }

    /// Something that takes a while.
    pub(super) fn step(&self, what: &str) {
        let _nobody_reads = write!(stdout(), "  {what} … ").and_then(|()| stdout().flush());
    }

    pub(super) fn done(&self, took: Duration) {
        line(self.paint(DIM, &format!("{:.1} s", took.as_secs_f64())));
    }

    pub(super) fn world(&self, world: &World) {
        line("");
        line(format_args!("  origin         http://{}", world.origin));
        let [good, dead, refusing] = world.nodes();
        for ((tag, address), what) in [
            (good, "a working proxy"),
            (dead, "nobody listens there"),
            (refusing, "answers 502 to every CONNECT"),
        ] {
            line(format_args!("  {tag:<14} http://{address}   {}", self.paint(DIM, what)));
        }
    }

    pub(super) fn platform(&self, name: &str, max_retries: i32) {
        let most = max_retries + 1;
        line(format_args!(
            "  platform       {name}, max_retries = {max_retries}: at most {most} attempts a request"
        ));
        line("");
        line("  Each request picks a node at random. Where an attempt fails before anything of the request");
        line("  was written to the network, another node is tried. This is what the log stream says:");
        line("");
    }

    /// A request with its attempts.
    pub(super) fn record(&self, trip: Trip, record: &RequestLog) {
        let (path, what) = match trip {
            Trip::Forward => ("forward", format!("GET {}", record.target_url)),
            Trip::Reverse => ("reverse", format!("GET {}", record.target_url)),
            Trip::Connect => ("connect", format!("CONNECT {}:{}", record.target_host, record.target_port)),
        };
        let took = self.paint(DIM, &format!("{:.1} ms in all", millis(record.duration.as_ref())));
        line(format_args!("  {} {what}   {took}", self.paint(BOLD, &format!("{path:<8}"))));
        for (at, attempt) in record.retry_details.iter().enumerate() {
            line(format_args!("    ├─ {}", self.failed(at + 1, attempt)));
        }
        line(format_args!("    └─ {}", self.last(trip, record)));
    }

    fn failed(&self, number: usize, attempt: &RetryDetail) -> String {
        let stage = UpstreamStage::try_from(attempt.stage).unwrap_or_default().as_str_name();
        let stage = stage.trim_start_matches("UPSTREAM_STAGE_").to_ascii_lowercase();
        let phase = UpstreamPhase::try_from(attempt.phase).unwrap_or_default().as_str_name();
        let phase = phase.trim_start_matches("UPSTREAM_PHASE_").to_ascii_lowercase();
        let error = self.paint(RED, &format!("{:<18}", attempt.err_kind));
        let place = self.paint(DIM, &format!("{:<33}", format!("{stage}, {phase}")));
        let took = self.paint(DIM, &format!("{:>5.1} ms", millis(attempt.duration.as_ref())));
        format!("attempt {number}  {:<13}  {error}  {place} {took}", attempt.node_tag)
    }

    /// What the last attempt took is what the failed ones have left of the whole.
    fn last(&self, trip: Trip, record: &RequestLog) -> String {
        let failed: f64 = record.retry_details.iter().map(|attempt| millis(attempt.duration.as_ref())).sum();
        let took = (millis(record.duration.as_ref()) - failed).max(0.0);
        let (good, place) = match trip {
            Trip::Connect => ("tunnel stood".to_owned(), "until the client was done"),
            Trip::Forward | Trip::Reverse => (format!("answered {}", record.http_status), ""),
        };
        let number = record.retry_attempts + 1;
        let good = self.paint(GREEN, &format!("{good:<18}"));
        let rest = self.paint(DIM, &format!("{place:<33} {took:>5.1} ms"));
        format!("attempt {number}  {:<13}  {good}  {rest}", record.node_tag)
    }

    pub(super) fn every_path_was_retried(&self, requests: usize) {
        let told =
            format!("  {requests} requests: every path was retried, every request reached the origin once.");
        line("");
        line(self.paint(GREEN, &told));
    }

    /// What to try. Each command is one line, however long, so that it can be copied as it is.
    pub(super) fn commands(&self, app: &App, world: &World, platform: &str) {
        let (data, control, ops) = (app.data_addr(), app.control_addr(), app.ops_addr());
        let (origin, service) = (world.origin, "resin.control.v1");
        self.group("Send requests of your own: forward, CONNECT, reverse");
        line(format_args!("  curl -x http://{platform}.me:@{data} http://{origin}/hello/1"));
        line(format_args!("  curl -p -x http://{platform}.me:@{data} http://{origin}/hello/2"));
        line(format_args!("  curl http://{data}/any/{platform}.me/http/{origin}/hello/3"));
        self.group("What happened to them, as a stream and as a list");
        line(format_args!(
            "  grpcurl -plaintext -d '{{\"tail\":3,\"follow\":true}}' {control} {service}.RequestLogService/StreamRequestLogs"
        ));
        line(format_args!(
            "  grpcurl -plaintext -d '{{\"page_size\":3}}' {control} {service}.RequestLogService/ListRequestLogs"
        ));
        if let Some(psql) = app.psql_line() {
            self.group("The same in PostgreSQL");
            line(format_args!("  {psql} -c \"{RECENT}\""));
            line(format_args!("  {psql} -xc \"{DETAILS}\""));
        }
        self.group("Switch retry off: from the next request on, about two of three fail");
        line(format_args!(
            "  grpcurl -plaintext -d '{{\"platform\":{{\"name\":\"{platform}\",\"max_retries\":0}}}}' {control} {service}.PlatformService/UpsertPlatform"
        ));
        self.group("What else there is");
        line(format_args!("  grpcurl -plaintext {control} list"));
        line(format_args!("  curl http://{ops}/metrics"));
        line("");
    }

    fn group(&self, about: &str) {
        line("");
        line(self.paint(BOLD, about));
    }

    pub(super) fn leaves(&self) {
        line(self.paint(DIM, "With --once it leaves now. Without it, it stays up for these commands."));
    }

    pub(super) fn stays_up(&self) {
        line(self.paint(DIM, "It stays up until Ctrl-C."));
    }

    pub(super) fn is_stopping(&self) {
        line("");
        line(self.paint(DIM, "Stopping, and removing what was put up."));
    }

    pub(super) fn failure(&self, why: &dyn Error) {
        let mut text = format!("  not as told: {why}");
        let mut cause = why.source();
        while let Some(why) = cause {
            // Some errors say their cause themselves.
            let why_text = why.to_string();
            if !text.contains(&why_text) {
                text = format!("{text}: {why_text}");
            }
            cause = why.source();
        }
        line("");
        line(self.paint(RED, &text));
    }
}

/// No `$` and no `"`: both would mean something to the shell.
const RECENT: &str = "select http_method, target_host, node_tag, http_status, retry_attempts, \
                      retry_details->0->>'err_kind' as first_failure from request_logs order by started_at desc limit 5";
const DETAILS: &str = "select http_method, node_tag, retry_attempts, jsonb_pretty(retry_details) as retry_details \
                       from request_logs where retry_attempts > 0 order by started_at desc limit 1";

fn line(text: impl Display) {
    let _nobody_reads = writeln!(stdout(), "{text}");
}

fn millis(duration: Option<&prost_types::Duration>) -> f64 {
    duration.map_or(0.0, |duration| duration.seconds as f64 * 1e3 + f64::from(duration.nanos) / 1e6)
}
