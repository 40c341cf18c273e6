//! Holds each record against what nodes, origin and client saw of its request.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, atomic::Ordering},
};

use resin::proto::{RequestLog, UpstreamPhase};
use tokio::sync::oneshot;

use super::{
    super::support::client::Way,
    cause::{Attempt, SLOW, UNEXPLAINED, attempts, cause, is_as_caused},
    lane::{Kind, Lane},
    plan::{Load, Plan},
    stage::Dial,
    tally::{Tally, id_in},
};

/// What the client got. Status 0: nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome {
    pub status: u16,
    pub whole: bool,
    pub left: bool,
}

/// A request as the lane saw it.
#[derive(Debug)]
pub struct Report {
    pub id: usize,
    pub lane: usize,
    pub plan: Plan,
    pub outcome: Outcome,
    pub dials: Vec<Dial>,
}

/// What the record promises about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// The upstream answered it.
    Once,
    /// It failed unwritten.
    Never,
    /// It failed, and nobody knows.
    AtMostOnce,
}

/// Failed attempts of one kind.
#[derive(Debug, Default, Clone, Copy)]
pub struct Row {
    /// Proven unwritten, and moved on to another node.
    pub recovered: usize,
    /// Proven unwritten with retries, nodes or time used up.
    pub spent: usize,
    pub uncertain: usize,
    /// The client left meanwhile.
    pub canceled: usize,
}

#[derive(Default)]
struct Bench {
    reports: HashMap<usize, Report>,
    records: HashMap<usize, RequestLog>,
    waiting: HashMap<usize, oneshot::Sender<()>>,
    promises: HashMap<usize, Promise>,
    /// Lanes whose last request met a time-out that nobody had planned: a call may come late.
    disturbed: HashMap<usize, bool>,
    verdict: Verdict,
}

#[derive(Default, Clone)]
pub struct Verdict {
    pub rows: BTreeMap<String, Row>,
    pub judged: usize,
    pub answered: usize,
    pub left: usize,
    /// Provable, with retries, nodes and time left, and not moved on.
    pub not_moved: usize,
    /// Called unwritten although seen, or written although it cannot have been.
    pub misclassified: usize,
    pub duplicates: usize,
    /// Bodies that did not arrive as they were sent.
    pub mangled: usize,
    /// Time-outs that no script asked for.
    pub slow: usize,
    /// Where a record and what was seen differ.
    pub complaints: Vec<String>,
}

pub struct Judge {
    lanes: Arc<Vec<Lane>>,
    bench: Mutex<Bench>,
}

/// How long after the deadline's share a request must have taken to be excused by it.
const DEADLINE_SECONDS: i64 = super::DEADLINE.as_secs() as i64 - 1;

impl Judge {
    pub fn over(lanes: Arc<Vec<Lane>>) -> Self {
        Self { lanes, bench: Mutex::default() }
    }

    pub fn record(&self, record: RequestLog) {
        let id = id_in(record.target_url.as_bytes()).expect("a record of ours");
        let bench = &mut *self.bench.lock().unwrap();
        if let Some(waiting) = bench.waiting.remove(&id) {
            let _ = waiting.send(());
        }
        if let Some(report) = bench.reports.remove(&id) {
            self.compare(bench, &report, &record);
        } else if bench.promises.contains_key(&id) || bench.records.insert(id, record).is_some() {
            bench.verdict.complaints.push(format!("{id}: two records"));
        }
    }

    pub fn report(&self, report: Report) {
        let bench = &mut *self.bench.lock().unwrap();
        match bench.records.remove(&report.id) {
            Some(record) => self.compare(bench, &report, &record),
            None => drop(bench.reports.insert(report.id, report)),
        }
    }

    /// Resolves once the request has its record.
    pub fn recorded(&self, id: usize) -> oneshot::Receiver<()> {
        let (told, wait) = oneshot::channel();
        let mut bench = self.bench.lock().unwrap();
        if bench.records.contains_key(&id) {
            let _ = told.send(());
        } else {
            bench.waiting.insert(id, told);
        }
        wait
    }

    /// The promises against the ledger, once nothing is under way any more.
    pub fn close(&self, tally: &Tally) -> Verdict {
        let bench = &mut *self.bench.lock().unwrap();
        let verdict = &mut bench.verdict;
        verdict.mangled = tally.mangled.load(Ordering::SeqCst);
        for (id, promise) in &bench.promises {
            let seen = tally.seen(*id);
            let kept = match promise {
                Promise::Once => seen.delivered == 1 && seen.touched + seen.held == 0,
                Promise::Never => seen.never(),
                Promise::AtMostOnce => true,
            };
            if seen.twice() {
                verdict.duplicates += 1;
                verdict.complaints.push(format!("{id}: seen twice, {seen:?}"));
            } else if !kept {
                verdict.misclassified += 1;
                verdict.complaints.push(format!("{id}: promised {promise:?}, {seen:?}"));
            }
        }
        verdict.clone()
    }

    fn compare(&self, bench: &mut Bench, report: &Report, record: &RequestLog) {
        let lane = &self.lanes[report.lane];
        let disturbed = bench.disturbed.insert(report.lane, false).unwrap_or(false);
        let seen = lane.stage.tally.seen(report.id);
        if seen.twice() {
            bench.verdict.complaints.push(format!("seen twice, {seen:?}: {report:?}\n{record:#?}"));
        }
        let mut hearing = Hearing { lane, report, record, verdict: &mut bench.verdict, slow: false };
        let promise = hearing.hear(disturbed);
        if hearing.slow {
            bench.disturbed.insert(report.lane, true);
        }
        bench.promises.insert(report.id, promise);
    }
}

/// One request before the judge.
struct Hearing<'a> {
    lane: &'a Lane,
    report: &'a Report,
    record: &'a RequestLog,
    verdict: &'a mut Verdict,
    slow: bool,
}

impl Hearing<'_> {
    fn hear(&mut self, disturbed: bool) -> Promise {
        let (record, report) = (self.record, self.report);
        self.verdict.judged += 1;
        self.the_client_saw_what_is_recorded();
        self.retries_add_up();
        let mut dials = report.dials.iter().copied().peekable();
        for attempt in attempts(record) {
            let node = self.lane.nodes.iter().position(|node| node.tag == attempt.tag);
            let Some(node) = node else {
                self.complain("a node that is not the lane's");
                continue;
            };
            let kind = self.lane.nodes[node].kind;
            let listens = matches!(kind, Kind::Direct | Kind::Http | Kind::Https | Kind::Socks5);
            let reused = attempt.reused == Some(true);
            let dial = if listens && !reused { dials.next_if(|dial| dial.node == node) } else { None };
            // The last one may have been reused; and a call that is reset at once may never be taken.
            let must = listens && !reused && !attempt.last && attempt.phase > UpstreamPhase::Tcp;
            if dial.is_none() && must && !disturbed {
                self.complain("an attempt that the node did not see");
            }
            if !attempt.kind.is_empty() {
                self.judge(attempt, kind, dial, disturbed);
            }
        }
        if dials.next().is_some() && !disturbed && !self.slow {
            self.complain("a call at a node that is in no attempt");
        }
        // A client whose body breaks off is told so by the proxy itself, without a code.
        let broken = record.upstream_err_kind == "canceled" && record.upstream_phase() != UpstreamPhase::Body;
        let failed = !record.resin_error.is_empty() || record.http_status == 0 || broken;
        match (failed, record.request_written) {
            (false, true) => {
                self.verdict.answered += 1;
                Promise::Once
            }
            (true, false) => Promise::Never,
            _ => Promise::AtMostOnce,
        }
    }

    fn complain(&mut self, what: &str) {
        self.verdict.complaints.push(format!("{what}: {:?}\n{:#?}", self.report, self.record));
    }

    fn the_client_saw_what_is_recorded(&mut self) {
        let (Outcome { status, whole, left }, record) = (self.report.outcome, self.record);
        if left {
            self.verdict.left += 1;
            return;
        }
        // An answer that overtakes the upload may be lost to the client with its connection.
        let lost = status == 0 && self.report.plan.load != Load::Get;
        if !lost && i32::from(status) != record.http_status {
            self.complain("another status than the client's");
        }
        if !lost && record.resin_error.is_empty() && whole != record.net_ok {
            self.complain("whole for one and not for the other");
        }
    }

    /// At most so many attempts, each at another node; and none too few.
    fn retries_add_up(&mut self) {
        let (lane, record) = (self.lane, self.record);
        let mut tags: Vec<&str> = attempts(record).map(|attempt| attempt.tag).collect();
        let made = tags.len();
        tags.sort_unstable();
        tags.dedup();
        let retries = usize::try_from(record.retry_attempts).unwrap();
        if retries != record.retry_details.len()
            || record.retry_attempts > lane.max_retries
            || tags.len() != made
        {
            self.complain("retries that do not add up");
        }
        let provable = !record.resin_error.is_empty() && !record.request_written;
        if !provable {
            return;
        }
        let every_node = lane.steady().iter().all(|node| tags.contains(&node.tag.as_str()));
        let late = record.duration.is_some_and(|took| took.seconds >= DEADLINE_SECONDS);
        if record.retry_attempts < lane.max_retries && !every_node && !late {
            self.verdict.not_moved += 1;
            self.complain("provable, and not moved on");
        }
    }

    fn judge(&mut self, attempt: Attempt<'_>, node: Kind, dial: Option<Dial>, disturbed: bool) {
        let canceled = attempt.kind == "canceled";
        let before = attempt.phase < UpstreamPhase::Send;
        let behind = attempt.phase > UpstreamPhase::Send;
        let retried_though_written = !attempt.last && attempt.written;
        if (before && attempt.written) || (behind && !attempt.written) || retried_though_written {
            self.verdict.misclassified += 1;
            self.complain("misclassified by its phase");
        }
        self.is_named_by_its_stage(attempt, canceled);
        let cause = match canceled {
            true => "the client left".to_owned(),
            false => cause(attempt, node, dial, &self.report.plan),
        };
        if cause == SLOW {
            self.slow = true;
            self.verdict.slow += 1;
        }
        if cause == UNEXPLAINED && !disturbed {
            self.complain("a failure that nobody caused");
        }
        if !canceled && !is_as_caused(attempt, node, dial, self.report.plan.secure) && !disturbed {
            self.complain("another phase or kind than was caused");
        }
        let row = self.verdict.rows.entry(cause).or_default();
        match (attempt.last, attempt.written) {
            _ if canceled => row.canceled += 1,
            (false, _) => row.recovered += 1,
            (true, false) => row.spent += 1,
            (true, true) => row.uncertain += 1,
        }
    }

    fn is_named_by_its_stage(&mut self, attempt: Attempt<'_>, canceled: bool) {
        let way = self.report.plan.way;
        let body = attempt.phase == UpstreamPhase::Body;
        let stage = if body { way.copy_stage() } else { way.first_stage() };
        if attempt.stage != stage && !canceled {
            self.complain("another stage than the phase's");
        }
        debug_assert!(way != Way::Connect);
    }
}
