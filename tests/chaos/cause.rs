//! What made an attempt fail: the misfortune that was planned for it, and what that looks like in a record.

use resin::proto::{RequestLog, UpstreamPhase, UpstreamStage};

use super::{
    lane::Kind,
    plan::{Deed, Load, Manner, Plan},
    stage::Dial,
};

/// A failure that no script asked for.
pub const UNEXPLAINED: &str = "unexplained";
/// A time-out that no script asked for.
pub const SLOW: &str = "a slow machine";

/// One attempt as the record tells it.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    pub tag: &'a str,
    pub stage: UpstreamStage,
    pub phase: UpstreamPhase,
    pub kind: &'a str,
    pub written: bool,
    /// Not told of the last one.
    pub reused: Option<bool>,
    pub last: bool,
}

/// Which of the planned misfortunes it was.
pub fn cause(attempt: Attempt<'_>, node: Kind, dial: Option<Dial>, plan: &Plan) -> String {
    let (deed, manner) = (plan.deed, dial.map(|dial| dial.manner));
    let at_the_origin = attempt.phase >= UpstreamPhase::Send;
    match (node, manner) {
        (Kind::Refused, _) => return "node: TCP refused".to_owned(),
        (Kind::Hole, _) => return "node: SYN swallowed".to_owned(),
        (Kind::Nameless, _) => return "node: no such name".to_owned(),
        _ => {}
    }
    if attempt.kind == "timeout" && manner != Some(Manner::Swallow) {
        let silent = deed == Deed::Silence && at_the_origin;
        return if silent { "origin: silent until the time-out" } else { SLOW }.to_owned();
    }
    if let Some(name) = manner.and_then(|manner| name_of(manner, node, plan.secure)) {
        return format!("{}: {name}", if node == Kind::Direct { "direct" } else { "node" });
    }
    let name = match deed {
        _ if !at_the_origin => UNEXPLAINED,
        Deed::CutRequest(_) => "origin: cut within the request's head",
        Deed::CutBody(_) if plan.load != Load::Get => "origin: cut within the request's body",
        Deed::CutBefore(_) => "origin: cut before the answer",
        Deed::CutAnswer(..) => "origin: cut within the answer",
        Deed::Early => "origin: early answer, then a reset",
        _ if manner.is_none() => "reused connection that was dying",
        _ => UNEXPLAINED,
    };
    name.to_owned()
}

/// What a manner comes to at a node of this kind; none where it is no misfortune there.
fn name_of(manner: Manner, node: Kind, secure: bool) -> Option<&'static str> {
    let direct = node == Kind::Direct;
    match manner {
        Manner::Close(_) => Some("hung up at once"),
        Manner::CloseLater(_) => Some("hung up at the first bytes"),
        Manner::Swallow => Some("silent"),
        Manner::TlsCut(_) if direct => secure.then_some("TLS cut"),
        Manner::TlsCut(_) if node == Kind::Https => Some("TLS cut"),
        Manner::TlsCut(_) => Some("hung up at the first bytes"),
        Manner::OriginTlsCut(_) => secure.then_some("TLS to the origin cut"),
        _ if direct => None,
        Manner::Good => None,
        Manner::Refuse => Some("refused the tunnel"),
        Manner::Garbage => Some("spoke garbage"),
        Manner::YesThenClose(..) => Some("hung up behind its 200"),
        Manner::TakesThenClose(_) => Some("took bytes in and hung up"),
        Manner::RelayCut(_) => Some("cut the way back"),
    }
}

/// Whether phase and kind are such as the misfortune brings.
pub fn is_as_caused(attempt: Attempt<'_>, node: Kind, dial: Option<Dial>, secure: bool) -> bool {
    use UpstreamPhase as Phase;
    let phase = attempt.phase;
    match node {
        Kind::Refused => return (phase, attempt.kind) == (Phase::Tcp, "connection_refused"),
        Kind::Hole => return (phase, attempt.kind) == (Phase::Tcp, "timeout"),
        Kind::Nameless => return phase == Phase::Dns && ["dns_error", "timeout"].contains(&attempt.kind),
        _ => {}
    }
    let Some(manner) = dial.map(|dial| dial.manner) else { return true };
    if attempt.kind == "timeout" && manner != Manner::Swallow {
        return true;
    }
    let tunnel = [Phase::NodeTls, Phase::NodeHandshake].contains(&phase);
    // A reset that is faster than our own first look at the connection.
    if phase == Phase::Tcp && attempt.kind == "connection_reset" {
        return match manner {
            Manner::Close(rude) | Manner::CloseLater(rude) => rude,
            Manner::TlsCut(cut) => cut.rude,
            _ => false,
        };
    }
    match (manner, node) {
        // Without a node it is the origin that does it: TLS fails before there is a request, plain HTTP does not.
        (Manner::Close(_) | Manner::CloseLater(_) | Manner::Swallow, Kind::Direct) => {
            if secure {
                phase == Phase::OriginTls
            } else {
                phase >= Phase::Send
            }
        }
        (Manner::Close(_) | Manner::CloseLater(_) | Manner::Swallow, _) => tunnel,
        (Manner::Refuse, Kind::Http | Kind::Https | Kind::Socks5) => {
            phase == Phase::NodeHandshake && attempt.kind == "node_refused"
        }
        (Manner::Garbage, Kind::Http | Kind::Https | Kind::Socks5) => phase == Phase::NodeHandshake,
        (Manner::TlsCut(_), Kind::Http | Kind::Socks5) => phase == Phase::NodeHandshake,
        (Manner::YesThenClose(..) | Manner::TakesThenClose(_), Kind::Http | Kind::Https | Kind::Socks5) => {
            if secure {
                phase <= Phase::OriginTls
            } else {
                phase >= Phase::Send
            }
        }
        _ => true,
    }
}

pub fn attempts(record: &RequestLog) -> impl Iterator<Item = Attempt<'_>> {
    let failed = record.retry_details.iter().map(|attempt| Attempt {
        tag: &attempt.node_tag,
        stage: attempt.stage(),
        phase: attempt.phase(),
        kind: &attempt.err_kind,
        written: attempt.request_written,
        reused: Some(attempt.reused_connection),
        last: false,
    });
    failed.chain([Attempt {
        tag: &record.node_tag,
        stage: record.upstream_stage(),
        phase: record.upstream_phase(),
        kind: &record.upstream_err_kind,
        written: record.request_written,
        reused: None,
        last: true,
    }])
}
