//! From a node's configuration to a link with the origin: DNS, TCP, TLS to the node, the node's handshake, TLS to the
//! origin, under one limit.
//!
//! Nothing of a request exists here, so whatever fails here failed before anything was written.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::{
    error::{DialError, Fault},
    handshake,
    link::{Hop, Link},
    targets::Targets,
    tls::{Trust, server_name},
    wire::{Counted, Wire},
};
use crate::model::{Authority, Endpoint, ErrKind, Host, NodeConfig, NodeTls, Phase};

/// Where a request goes, and whether TLS is spoken there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Destination {
    pub(crate) authority: Authority,
    pub(crate) tls: bool,
}

/// Where an attempt stands on its way. Outlives it, so that it can be told also when it was dropped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) phase: Phase,
    /// What was dialled last.
    pub(crate) peer: Option<SocketAddr>,
}

/// Makes links. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Dialer {
    trust: Trust,
    targets: Targets,
}

impl Dialer {
    pub(crate) fn new(trust: Trust, targets: Targets) -> Self {
        Self { trust, targets }
    }

    /// Whether a target is refused before any node is thought of.
    pub(crate) fn refuses(&self, target: &Authority) -> bool {
        self.targets.refuse(target)
    }

    /// A tunnel to `authority` through the node. `place` tells where it stands, also when it is dropped.
    pub(crate) async fn tunnel(
        &self,
        node: &NodeConfig,
        authority: &Authority,
        until: Instant,
        place: &mut Place,
    ) -> Result<Link, DialError> {
        place.phase = Phase::Dns;
        let reached = timeout_at(until, self.reach(node, authority, until, place)).await;
        reached.unwrap_or_else(|_| Err(Fault::timeout(place.phase, doing(place.phase))))
    }

    /// A link to the destination: a tunnel, and TLS with the origin where it is asked for.
    pub(crate) async fn open(
        &self,
        node: &NodeConfig,
        destination: &Destination,
        until: Instant,
        place: &mut Place,
    ) -> Result<Link, DialError> {
        place.phase = Phase::Dns;
        let opened = timeout_at(until, self.open_in_time(node, destination, until, place)).await;
        opened.unwrap_or_else(|_| Err(Fault::timeout(place.phase, doing(place.phase))))
    }

    async fn open_in_time(
        &self,
        node: &NodeConfig,
        destination: &Destination,
        until: Instant,
        place: &mut Place,
    ) -> Result<Link, DialError> {
        let link = self.reach(node, &destination.authority, until, place).await?;
        if destination.tls {
            place.phase = Phase::OriginTls;
            return self.secure(link, &destination.authority.host).await;
        }
        if link.has_early() {
            // It would be read as the answer to a request that was not sent yet.
            let spoke_first = "the upstream spoke before the request";
            return Err(Fault::new(Phase::NodeHandshake, ErrKind::ProtocolError, spoke_first));
        }
        Ok(link)
    }

    async fn reach(
        &self,
        node: &NodeConfig,
        authority: &Authority,
        until: Instant,
        place: &mut Place,
    ) -> Result<Link, DialError> {
        match node {
            NodeConfig::Direct => {
                let allowed = self.targets.allowed(addresses(authority, place).await?);
                let wire = connect(&allowed.ok_or_else(Fault::denied)?, until, place).await?;
                Ok(Link::over(Arc::clone(&wire), Hop::Plain(Counted(wire))))
            }
            NodeConfig::Http { endpoint, tls } => {
                let wire = self.connect_node(&endpoint.authority, until, place).await?;
                let plain = Counted(Arc::clone(&wire));
                let mut hop = match tls {
                    None => Hop::Plain(plain),
                    Some(tls) => {
                        place.phase = Phase::NodeTls;
                        self.secure_node(plain, endpoint, tls).await?
                    }
                };
                place.phase = Phase::NodeHandshake;
                let early =
                    handshake::http_connect(&mut hop, authority, endpoint.credentials.as_ref()).await?;
                Ok(Link::over(wire, hop).with_early(early))
            }
            NodeConfig::Socks5 { endpoint } => {
                let wire = self.connect_node(&endpoint.authority, until, place).await?;
                place.phase = Phase::NodeHandshake;
                let plain = Counted(Arc::clone(&wire));
                let plain = handshake::socks5(plain, authority, endpoint.credentials.as_ref()).await?;
                Ok(Link::over(wire, Hop::Plain(plain)))
            }
        }
    }

    /// TCP to the node. One that is this proxy itself would carry a request round and round.
    async fn connect_node(
        &self,
        node: &Authority,
        until: Instant,
        place: &mut Place,
    ) -> Result<Arc<Wire>, DialError> {
        let addresses = self.targets.others(addresses(node, place).await?);
        if addresses.is_empty() {
            return Err(Fault::new(Phase::Tcp, ErrKind::DialError, "the node is this proxy itself"));
        }
        connect(&addresses, until, place).await
    }

    async fn secure_node(
        &self,
        plain: Counted,
        endpoint: &Endpoint,
        tls: &NodeTls,
    ) -> Result<Hop, DialError> {
        let host = tls.sni.as_ref().unwrap_or(&endpoint.authority.host);
        let name = server_name(host).ok_or_else(|| no_name(Phase::NodeTls))?;
        let session = self.trust.connector(tls.insecure).connect(name, plain).await;
        let session = session.map_err(|error| Fault::io(Phase::NodeTls, &error, ErrKind::TlsHandshake))?;
        Ok(Hop::Tls(Box::new(session)))
    }

    async fn secure(&self, link: Link, host: &Host) -> Result<Link, DialError> {
        let name = server_name(host).ok_or_else(|| no_name(Phase::OriginTls))?;
        let Some((wire, hop)) = link.into_hop() else {
            let spoke_first = "the origin spoke before TLS began";
            return Err(Fault::new(Phase::OriginTls, ErrKind::ProtocolError, spoke_first));
        };
        let session = self.trust.connector(false).connect(name, hop).await;
        let session = session.map_err(|error| Fault::io(Phase::OriginTls, &error, ErrKind::TlsHandshake))?;
        Ok(Link::secured(wire, session))
    }
}

fn no_name(phase: Phase) -> DialError {
    Fault::new(phase, ErrKind::TlsHostnameInvalid, "the host cannot be the name of a certificate")
}

fn doing(phase: Phase) -> &'static str {
    match phase {
        Phase::Dns => "resolving the name",
        Phase::Tcp => "connecting",
        Phase::NodeTls => "TLS handshake with the node",
        Phase::NodeHandshake => "waiting for the node's tunnel",
        Phase::OriginTls => "TLS handshake with the origin",
        Phase::Send => "sending the request",
        Phase::ResponseHead => "waiting for the response",
        Phase::Body => "nothing of the body moved",
        Phase::Tunnel => "nothing moved in the tunnel",
    }
}

async fn addresses(of: &Authority, place: &mut Place) -> Result<Vec<SocketAddr>, DialError> {
    match &of.host {
        Host::Ip(ip) => Ok(vec![SocketAddr::new(*ip, of.port)]),
        Host::Name(name) => resolve(name, of.port, place).await,
    }
}

/// TCP to the first of the addresses that answers, one after the other, each with its share of what is left.
async fn connect(
    addresses: &[SocketAddr],
    until: Instant,
    place: &mut Place,
) -> Result<Arc<Wire>, DialError> {
    let Some((last, others)) = addresses.split_last() else {
        return Err(Fault::new(Phase::Dns, ErrKind::DnsError, "the name has no address"));
    };
    for (at, address) in others.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - at).unwrap_or(u32::MAX);
        match timeout_at(Instant::now() + share, connect_one(*address, place)).await {
            Ok(Ok(wire)) => return Ok(wire),
            Ok(Err(fault)) if fault.exhausted => return Err(fault),
            Ok(Err(_)) | Err(_) => {}
        }
    }
    // It may use all that is left: its limit is the caller's.
    connect_one(*last, place).await
}

async fn connect_one(address: SocketAddr, place: &mut Place) -> Result<Arc<Wire>, DialError> {
    place.phase = Phase::Tcp;
    place.peer = Some(address);
    let fail = |error: &io::Error| Fault::io(Phase::Tcp, error, ErrKind::DialError);
    #[cfg(test)]
    if let Some(scripted) = super::wire::script::dialled() {
        return scripted.map_err(|error| fail(&error));
    }
    let stream = TcpStream::connect(address).await.map_err(|error| fail(&error))?;
    Wire::new(stream, address).map_err(|error| fail(&error))
}

async fn resolve(name: &str, port: u16, place: &mut Place) -> Result<Vec<SocketAddr>, DialError> {
    place.phase = Phase::Dns;
    let found = tokio::net::lookup_host((name, port)).await;
    let found = found.map_err(|error| {
        let fault = Fault::io(Phase::Dns, &error, ErrKind::DnsError);
        let kind = if fault.exhausted { fault.kind } else { ErrKind::DnsError };
        Fault { kind, message: format!("{name}: {}", fault.message), ..fault }
    })?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(Fault::new(Phase::Dns, ErrKind::DnsError, format!("{name} has no address")));
    }
    Ok(addresses)
}
