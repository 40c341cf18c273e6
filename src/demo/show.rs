//! How the demo looks: plain lines, a tree of attempts per request, colour only on a terminal.

use std::{
    env,
    io::{IsTerminal, Write},
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
        let colour =
            std::io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { colour }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(super) fn title(&self) {
        println!("{}", self.paint(BOLD, "resin demo: a pool of three nodes, two of them bad"));
        println!();
    }

    /// Something that takes a while.
    pub(super) fn step(&self, what: &str) {
        print!("  {what} … ");
        let _nobody_reads = std::io::stdout().flush();
    }

    pub(super) fn done(&self, took: Duration) {
        println!("{}", self.paint(DIM, &format!("{:.1} s", took.as_secs_f64())));
    }

    pub(super) fn world(&self, world: &World) {
        println!("  origin         http://{}", world.origin);
        let [good, dead, refusing] = world.nodes();
        for ((tag, address), what) in [
            (good, "a working proxy"),
            (dead, "nobody listens there"),
            (refusing, "answers 502 to every CONNECT"),
        ] {
            println!("  {tag:<14} http://{address}  {}", self.paint(DIM, what));
        }
    }

    pub(super) fn platform(&self, name: &str, max_retries: i32) {
        println!(
            "  platform       {name}, max_retries = {max_retries}: at most {} attempts a request",
            max_retries + 1
        );
        println!();
        println!("  Each request picks a node at random. Where an attempt fails before anything of the");
        println!("  request was written, the next node is tried. This is what the log stream says:");
        println!();
    }

    /// A request with its attempts.
    pub(super) fn record(&self, trip: Trip, record: &RequestLog) {
        let (path, what) = match trip {
            Trip::Forward => ("forward", format!("GET {}", record.target_url)),
            Trip::Reverse => ("reverse", format!("GET {}", record.target_url)),
            Trip::Connect => ("connect", format!("CONNECT {}:{}", record.target_host, record.target_port)),
        };
        let took = millis(record.duration.as_ref());
        println!("  {} {what}  {}", self.paint(BOLD, &format!("{path:<8}")), self.paint(DIM, &took));
        for (at, attempt) in record.retry_details.iter().enumerate() {
            println!("    ├─ {}", self.failed(at + 1, attempt));
        }
        let good = self.paint(GREEN, &format!("{} answered", record.http_status));
        let good = if trip == Trip::Connect { self.paint(GREEN, "tunnel stood") } else { good };
        println!("    └─ attempt {}  {:<14} {good}", record.retry_attempts + 1, record.node_tag);
    }

    fn failed(&self, number: usize, attempt: &RetryDetail) -> String {
        let stage = UpstreamStage::try_from(attempt.stage).unwrap_or_default().as_str_name();
        let stage = stage.trim_start_matches("UPSTREAM_STAGE_").to_ascii_lowercase();
        let phase = UpstreamPhase::try_from(attempt.phase).unwrap_or_default().as_str_name();
        let phase = phase.trim_start_matches("UPSTREAM_PHASE_").to_ascii_lowercase();
        let error = self.paint(RED, &attempt.err_kind);
        let place = self.paint(DIM, &format!("{stage}, {phase}"));
        let took = self.paint(DIM, &millis(attempt.duration.as_ref()));
        format!("attempt {number}  {:<14} {error}  {place}  {took}", attempt.node_tag)
    }

    pub(super) fn every_path_was_retried(&self, requests: usize) {
        println!();
        let told = format!(
            "  {requests} requests: each of the three paths was retried, and every request was answered once."
        );
        println!("{}", self.paint(GREEN, &told));
    }

    /// Lines to copy.
    pub(super) fn commands(&self, app: &App, world: &World, platform: &str) {
        let (data, control, ops) = (app.data_addr(), app.control_addr(), app.ops_addr());
        let origin = world.origin;
        let service = "resin.control.v1.RequestLogService";
        println!();
        println!("{}", self.paint(BOLD, "Try it yourself"));
        println!();
        println!("  curl -x http://{platform}.me:@{data} http://{origin}/hello/1        # forward");
        println!("  curl -p -x http://{platform}.me:@{data} http://{origin}/hello/2     # CONNECT");
        println!("  curl http://{data}/any/{platform}.me/http/{origin}/hello/3          # reverse");
        println!();
        println!("  grpcurl -plaintext {control} list");
        println!("  grpcurl -plaintext -d '{{\"page_size\": 3}}' {control} {service}/ListRequestLogs");
        println!(
            "  grpcurl -plaintext -d '{{\"tail\": 1, \"follow\": true}}' {control} {service}/StreamRequestLogs"
        );
        println!(
            "  grpcurl -plaintext -d '{{\"platform\": {{\"name\": \"{platform}\", \"max_retries\": 0}}}}' \\"
        );
        println!("    {control} resin.control.v1.PlatformService/UpsertPlatform");
        println!();
        if let Some(psql) = app.psql_line() {
            println!("  {psql} -c \"select http_method, target_host, node_tag,");
            println!("    retry_attempts, jsonb_path_query_array(retry_details, '$[*].err_kind') as failed");
            println!("    from request_logs order by started_at desc limit 5\"");
            println!();
        }
        println!("  curl http://{ops}/metrics");
        println!();
    }

    pub(super) fn stays_up(&self) {
        println!("{}", self.paint(DIM, "It stays up until Ctrl-C."));
    }

    pub(super) fn failure(&self, why: &str) {
        println!();
        println!("{}", self.paint(RED, &format!("  not as told: {why}")));
    }
}

fn millis(duration: Option<&prost_types::Duration>) -> String {
    let millis =
        duration.map_or(0.0, |duration| duration.seconds as f64 * 1e3 + f64::from(duration.nanos) / 1e6);
    format!("{millis:.1} ms")
}
