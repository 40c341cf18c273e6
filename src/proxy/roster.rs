//! The clients that are connected: how many there may be, and how long they may stand still.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

use super::{
    client::{Client, Standing},
    http1::HeadLimits,
};

/// What clients may have, in the settings' words. A number of 0 is no limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) head: HeadLimits,
    /// `RESIN_HEADER_TIMEOUT`.
    pub(crate) head_time: Duration,
    /// `RESIN_CLIENT_IDLE_TIMEOUT`.
    pub(crate) idle_time: Duration,
    /// `RESIN_MAX_CONNECTIONS`.
    pub(crate) connections: usize,
    /// `RESIN_MAX_CONNECTIONS_PER_CLIENT`.
    pub(crate) connections_per_client: usize,
    /// `RESIN_MAX_STREAMS`.
    pub(crate) streams: u32,
    /// `RESIN_MAX_TUNNELS`.
    pub(crate) tunnels: usize,
}

/// The numbers of all threads together. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Numbers(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicUsize,
    tunnels: AtomicUsize,
    /// Only kept where there is a limit.
    by_client: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection that counts until this is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    counts: Arc<Counts>,
    client: Option<IpAddr>,
}

/// A tunnel that counts until this is dropped.
#[derive(Debug)]
pub(crate) struct TunnelTicket(Arc<Counts>);

/// Why a connection is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TooMany {
    Connections(usize),
    OfOneClient(usize),
}

/// What is to become of a connection now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    /// It idles: what it only needs for a request is put away.
    Rest,
    End,
}

/// How long a connection idles before it is put at rest.
const AWAKE: Duration = Duration::from_secs(1);

/// One thread's clients.
pub(crate) struct Roster {
    pub(crate) limits: Limits,
    numbers: Numbers,
    clients: Mutex<Vec<Weak<Client>>>,
}

impl Roster {
    pub(crate) fn new(limits: Limits, numbers: Numbers) -> Self {
        Self { limits, numbers, clients: Mutex::default() }
    }

    /// Counts a connection, where there is room for it.
    pub(crate) fn admit(&self, ip: IpAddr) -> Result<Ticket, TooMany> {
        let counts = &self.numbers.0;
        if !take(&counts.connections, self.limits.connections) {
            return Err(TooMany::Connections(self.limits.connections));
        }
        let mut ticket = Ticket { counts: Arc::clone(counts), client: None };
        let most = self.limits.connections_per_client;
        if most > 0 {
            let mut by_client = counts.by_client.lock();
            let number = by_client.entry(ip).or_default();
            if *number >= most {
                drop(by_client);
                return Err(TooMany::OfOneClient(most));
            }
            *number += 1;
            ticket.client = Some(ip);
        }
        Ok(ticket)
    }

    /// Counts a tunnel, where there is room for it.
    pub(crate) fn admit_tunnel(&self) -> Option<TunnelTicket> {
        let counts = &self.numbers.0;
        take(&counts.tunnels, self.limits.tunnels).then(|| TunnelTicket(Arc::clone(counts)))
    }

    /// Watches a connection until it is dropped.
    pub(crate) fn watch(&self, client: &Arc<Client>) {
        self.clients.lock().push(Arc::downgrade(client));
    }

    /// How often to sweep.
    pub(crate) fn period(&self) -> Duration {
        let shortest = self.limits.head_time.min(self.limits.idle_time);
        (shortest / 8).clamp(Duration::from_millis(20), Duration::from_secs(1))
    }

    /// Ends the connections on which nothing goes on for too long.
    pub(crate) fn sweep(&self) {
        self.clients.lock().retain(|client| {
            let Some(client) = client.upgrade() else { return false };
            if self.due(&client) != Due::Nothing {
                client.called.ring();
            }
            true
        });
    }

    /// Has every connection look at how things stand.
    pub(crate) fn call_all(&self) {
        for client in self.clients.lock().iter().filter_map(Weak::upgrade) {
            client.called.ring();
        }
    }

    pub(crate) fn due(&self, client: &Client) -> Due {
        match client.standing() {
            Standing::Left => Due::End,
            Standing::Heading(time) if time >= self.limits.head_time => Due::End,
            Standing::Idle(time) if time >= self.limits.idle_time => Due::End,
            Standing::Idle(time) if time >= AWAKE && client.may_rest() => Due::Rest,
            Standing::Busy | Standing::Heading(_) | Standing::Idle(_) => Due::Nothing,
        }
    }
}

fn take(count: &AtomicUsize, most: usize) -> bool {
    if count.fetch_add(1, Ordering::Relaxed) < most || most == 0 {
        return true;
    }
    count.fetch_sub(1, Ordering::Relaxed);
    false
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.counts.connections.fetch_sub(1, Ordering::Relaxed);
        if let Some(client) = self.client {
            let mut by_client = self.counts.by_client.lock();
            if let Some(number) = by_client.get_mut(&client) {
                *number -= 1;
                if *number == 0 {
                    by_client.remove(&client);
                }
            }
        }
    }
}

impl Drop for TunnelTicket {
    fn drop(&mut self) {
        self.0.tunnels.fetch_sub(1, Ordering::Relaxed);
    }
}
