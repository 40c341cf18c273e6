//! What went wrong on the way to an upstream, in the contract's words.
//!
//! Used to *describe* a failure. Whether a request may be tried again is never read off these kinds.

use std::io;

use crate::model::{ErrKind, Failure, Phase, Stage};

const MAX_MESSAGE: usize = 512;

/// A failure without its stage: what happened, where on the way, and whether it is our own shortage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) phase: Phase,
    pub(crate) kind: ErrKind,
    pub(crate) errno: &'static str,
    pub(crate) message: String,
    /// We ourselves are out of something: every node would fail alike.
    pub(crate) exhausted: bool,
    /// The target may not be asked for: nothing was dialled, and no node is to blame.
    pub(crate) denied: bool,
}

/// A failure before there was a connection: nothing can have been written.
pub(crate) type DialError = Fault;

impl Fault {
    pub(crate) fn new(phase: Phase, kind: ErrKind, message: impl Into<String>) -> Self {
        Self { phase, kind, errno: "", message: one_line(message.into()), exhausted: false, denied: false }
    }

    pub(crate) fn denied() -> Self {
        let why = "none of the target's addresses may be asked for";
        Self { denied: true, ..Self::new(Phase::Dns, ErrKind::DialError, why) }
    }

    pub(crate) fn timeout(phase: Phase, what: &str) -> Self {
        Self::new(phase, ErrKind::Timeout, format!("timed out: {what}"))
    }

    pub(crate) fn io(phase: Phase, error: &io::Error, otherwise: ErrKind) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(tls) = tls {
            return Self::new(phase, tls_kind(tls), tls.to_string());
        }
        let errno = error.raw_os_error().map_or("", errno_name);
        Self {
            phase,
            kind: io_kind(error, otherwise),
            errno,
            message: one_line(error.to_string()),
            exhausted: matches!(errno, "EMFILE" | "ENFILE" | "ENOBUFS" | "ENOMEM"),
            denied: false,
        }
    }

    /// The peer ended the connection.
    pub(crate) fn is_hang_up(&self) -> bool {
        matches!(
            self.kind,
            ErrKind::Eof | ErrKind::ConnectionReset | ErrKind::ConnectionAborted | ErrKind::BrokenPipe
        )
    }

    pub(crate) fn at(self, stage: Stage) -> Failure {
        Failure { stage, phase: self.phase, kind: self.kind, errno: self.errno, message: self.message }
    }
}

impl std::error::Error for Fault {}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.phase, self.message)
    }
}

fn io_kind(error: &io::Error, otherwise: ErrKind) -> ErrKind {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ErrKind::ConnectionRefused,
        io::ErrorKind::ConnectionReset => ErrKind::ConnectionReset,
        io::ErrorKind::ConnectionAborted => ErrKind::ConnectionAborted,
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => ErrKind::NetworkUnreachable,
        io::ErrorKind::HostUnreachable => ErrKind::HostUnreachable,
        io::ErrorKind::BrokenPipe => ErrKind::BrokenPipe,
        io::ErrorKind::TimedOut => ErrKind::Timeout,
        io::ErrorKind::UnexpectedEof => ErrKind::Eof,
        _ => otherwise,
    }
}

fn tls_kind(error: &rustls::Error) -> ErrKind {
    use rustls::{CertificateError, Error};
    match error {
        // A signature that does not fit is that of somebody else who bears the name of a root.
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            ErrKind::TlsUnknownAuthority
        }
        // A self-signed certificate that calls itself an authority, told by its name only.
        Error::InvalidCertificate(CertificateError::Other(other))
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            ErrKind::TlsUnknownAuthority
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => ErrKind::TlsHostnameInvalid,
        Error::InvalidCertificate(_) | Error::NoCertificatesPresented => ErrKind::TlsCertInvalid,
        Error::InvalidMessage(_) => ErrKind::TlsRecordHeader,
        _ => ErrKind::TlsHandshake,
    }
}

fn errno_name(code: i32) -> &'static str {
    use rustix::io::Errno;
    let known = [
        (Errno::CONNREFUSED, "ECONNREFUSED"),
        (Errno::CONNRESET, "ECONNRESET"),
        (Errno::CONNABORTED, "ECONNABORTED"),
        (Errno::NETUNREACH, "ENETUNREACH"),
        (Errno::NETDOWN, "ENETDOWN"),
        (Errno::HOSTUNREACH, "EHOSTUNREACH"),
        (Errno::PIPE, "EPIPE"),
        (Errno::TIMEDOUT, "ETIMEDOUT"),
        (Errno::MFILE, "EMFILE"),
        (Errno::NFILE, "ENFILE"),
        (Errno::NOBUFS, "ENOBUFS"),
        (Errno::NOMEM, "ENOMEM"),
        (Errno::ADDRNOTAVAIL, "EADDRNOTAVAIL"),
        (Errno::ADDRINUSE, "EADDRINUSE"),
        (Errno::AFNOSUPPORT, "EAFNOSUPPORT"),
        (Errno::ACCESS, "EACCES"),
        (Errno::PERM, "EPERM"),
        (Errno::INVAL, "EINVAL"),
        (Errno::NOTCONN, "ENOTCONN"),
        (Errno::PROTO, "EPROTO"),
    ];
    known.iter().find(|(errno, _)| errno.raw_os_error() == code).map_or("", |(_, name)| name)
}

/// One line of at most 512 bytes, cut at a character.
fn one_line(text: String) -> String {
    let mut line = if text.chars().any(char::is_control) {
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    } else {
        text
    };
    if line.len() > MAX_MESSAGE {
        let cut = (0..=MAX_MESSAGE).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
        line.truncate(cut);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_of_at_most_512_bytes() {
        let fault = Fault::new(Phase::Tcp, ErrKind::DialError, format!("a\r\nb{}", "é".repeat(400)));
        assert!(fault.message.starts_with("a  b") && fault.message.len() <= 512);
    }

    #[test]
    fn our_own_shortage_is_told_from_a_node_that_fails() {
        for (errno, exhausted) in [(24, true), (23, true), (105, true), (12, true), (111, false), (99, false)]
        {
            let fault = Fault::io(Phase::Tcp, &io::Error::from_raw_os_error(errno), ErrKind::DialError);
            assert_eq!(fault.exhausted, exhausted, "{errno}");
        }
    }
}
