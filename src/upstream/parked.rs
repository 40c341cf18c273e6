//! A connection in the pool: as it was used last, or at rest, where little more than its socket is left of it.
//!
//! hyper keeps two buffers of 8 KiB for as long as it has a connection. One that idles for a second gives them back, and
//! hyper is set up anew when it is taken: nothing of HTTP/1.1 outlasts an answer.

use std::time::Duration;

use tokio::time::Instant;

use super::{connection::Connection, link::Link};

/// How long a connection idles before it is put at rest.
const AWAKE: Duration = Duration::from_secs(1);

pub(super) struct Parked {
    state: State,
    pub(super) since: Instant,
    pub(super) born: Instant,
    /// How long it may idle, where its peer said so with its last answer.
    pub(super) idle_limit: Option<Duration>,
}

enum State {
    Awake(Box<Connection>),
    AtRest(Box<Link>),
    /// It turned out to have ended.
    Ended,
}

impl Parked {
    pub(super) fn new(connection: Connection) -> Self {
        let (born, idle_limit) = (connection.born, connection.idle_limit);
        Self { state: State::Awake(Box::new(connection)), since: Instant::now(), born, idle_limit }
    }

    /// The connection, unless it is known to have ended.
    pub(super) fn take(self) -> Option<Box<Connection>> {
        let mut connection = match self.state {
            State::Awake(connection) => connection,
            State::AtRest(link) => {
                let mut connection = Box::new(Connection::over(*link).ok()?);
                connection.born = self.born;
                connection
            }
            State::Ended => return None,
        };
        (!connection.has_ended()).then_some(connection)
    }

    #[cfg(test)]
    pub(super) fn is_at_rest(&self) -> bool {
        matches!(self.state, State::AtRest(_))
    }

    /// A look at it: false where the peer has closed it or spoken on it. One that idles for a while is put at rest.
    pub(super) fn is_alive(&mut self, now: Instant) -> bool {
        self.state = match std::mem::replace(&mut self.state, State::Ended) {
            State::Awake(mut connection) => {
                if !connection.is_alive() {
                    return false;
                }
                if now.duration_since(self.since) < AWAKE {
                    State::Awake(connection)
                } else {
                    connection.put_away().map_or(State::Ended, |link| State::AtRest(Box::new(link)))
                }
            }
            // Of TLS something may come that is no answer; hyper takes it in.
            State::AtRest(link) if link.is_tls() && !link.wire().is_quiet() => {
                Connection::over(*link).map_or(State::Ended, |connection| State::Awake(Box::new(connection)))
            }
            State::AtRest(link) if !link.wire().is_quiet() => State::Ended,
            state => state,
        };
        match &mut self.state {
            State::Ended => false,
            State::Awake(connection) => connection.is_alive(),
            State::AtRest(_) => true,
        }
    }
}
