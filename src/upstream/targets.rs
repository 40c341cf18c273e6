//! Which targets are refused: our own listeners always, and whatever is not public where only public ones are wanted.
//!
//! Looked at twice. Once when the target is read: an address in it, or a name that means this machine everywhere, needs
//! no resolver. And once behind the resolver, where we ourselves resolve (the direct node): the addresses that pass are
//! the ones that are dialled, and nothing is looked up a second time. Through a proxy node it is the node that resolves,
//! in its own network and with its own answers; what we would find here proves nothing about what it will find, so other
//! names pass.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
};

use crate::{
    config,
    model::{Authority, Host, is_public},
};

/// What may be asked for. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Targets {
    public_only: bool,
    /// Where we listen, as bound.
    own: Arc<[SocketAddr]>,
}

impl Targets {
    pub(crate) fn new(targets: config::Targets, own: impl Into<Arc<[SocketAddr]>>) -> Self {
        Self { public_only: targets == config::Targets::Public, own: own.into() }
    }

    /// Whether a target is refused for what stands in it.
    pub(crate) fn refuse(&self, target: &Authority) -> bool {
        let refuse = |ip| self.refuse_address(SocketAddr::new(ip, target.port));
        match &target.host {
            Host::Ip(ip) => refuse(*ip),
            Host::Name(name) if is_this_machine(name) => {
                refuse(Ipv4Addr::LOCALHOST.into()) || refuse(Ipv6Addr::LOCALHOST.into())
            }
            Host::Name(_) => false,
        }
    }

    /// Whether an address may not be dialled for a target.
    pub(crate) fn refuse_address(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        (self.public_only && !is_public(ip)) || self.is_own(ip, address.port())
    }

    /// Those addresses that may be dialled for a target; none where that is none at all.
    pub(crate) fn allowed(&self, mut addresses: Vec<SocketAddr>) -> Option<Vec<SocketAddr>> {
        addresses.retain(|address| !self.refuse_address(*address));
        (!addresses.is_empty()).then_some(addresses)
    }

    /// Those addresses that are not where we listen ourselves.
    pub(crate) fn others(&self, mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
        addresses.retain(|address| !self.is_own(address.ip().to_canonical(), address.port()));
        addresses
    }

    fn is_own(&self, ip: IpAddr, port: u16) -> bool {
        // To dial the unspecified address is to dial this machine.
        let ip = match ip {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        self.own.iter().filter(|own| own.port() == port).any(|own| {
            let bound = own.ip().to_canonical();
            bound == ip || (bound.is_unspecified() && is_local(ip))
        })
    }
}

/// `localhost` and what is below it are this machine, or the node's, whoever resolves them (RFC 6761).
fn is_this_machine(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}

/// Whether an address is one of this machine's: only such can be bound to. Asked for our own ports alone.
fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(targets: config::Targets, own: &[&str]) -> Targets {
        let own: Vec<SocketAddr> = own.iter().map(|address| address.parse().unwrap()).collect();
        Targets::new(targets, own)
    }

    fn refused(by: &Targets, target: &str) -> bool {
        by.refuse(&Authority::parse(target, Some(80)).unwrap())
    }

    #[test]
    fn our_own_listeners_are_refused_in_either_mode_as_they_are_bound() {
        // Bound to, asked for, refused.
        let table = [
            ("127.0.0.1:2260", "127.0.0.1:2260", true),
            ("127.0.0.1:2260", "[::ffff:127.0.0.1]:2260", true),
            ("127.0.0.1:2260", "0.0.0.0:2260", true),
            ("127.0.0.1:2260", "localhost:2260", true),
            ("127.0.0.1:2260", "a.LOCALHOST.:2260", true),
            ("127.0.0.1:2260", "127.0.0.1:2261", false),
            ("127.0.0.1:2260", "127.0.0.2:2260", false),
            ("127.0.0.1:2260", "8.8.8.8:2260", false),
            ("127.0.0.1:2260", "notlocalhost:2260", false),
            ("[::1]:2260", "[::1]:2260", true),
            ("[::1]:2260", "[::]:2260", true),
            ("[::1]:2260", "localhost:2260", true),
            ("0.0.0.0:2260", "127.0.0.1:2260", true),
            ("0.0.0.0:2260", "127.9.9.9:2260", true),
            ("0.0.0.0:2260", "8.8.8.8:2260", false),
            ("[::]:2260", "127.0.0.1:2260", true),
            ("[::]:2260", "[::1]:2260", true),
            ("[::]:2260", "[2001:4860:4860::8888]:2260", false),
        ];
        for (own, target, expected) in table {
            let any = targets(config::Targets::Any, &["127.0.0.1:1", own]);
            assert_eq!(refused(&any, target), expected, "{own} {target}");
        }
    }

    #[test]
    fn what_is_not_public_is_refused_only_where_public_targets_are_wanted() {
        let any = targets(config::Targets::Any, &[]);
        let public = targets(config::Targets::Public, &["8.8.8.8:2260"]);
        for target in ["127.0.0.1", "10.0.0.1:443", "[::1]", "[fd00::1]:80", "localhost", "x.localhost"] {
            assert!(!refused(&any, target), "{target}");
            assert!(refused(&public, target), "{target}");
        }
        for target in ["8.8.8.8", "[2606:4700::1111]:443", "example.com", "localhost.example", "localhosts"] {
            assert!(!refused(&public, target), "{target}");
        }
        assert!(refused(&public, "8.8.8.8:2260"), "public, but ours");
    }

    #[test]
    fn of_a_names_addresses_only_those_that_pass_are_left() {
        let addresses =
            |texts: &[&str]| -> Vec<SocketAddr> { texts.iter().map(|text| text.parse().unwrap()).collect() };
        let public = targets(config::Targets::Public, &["9.9.9.9:80"]);
        let mixed = addresses(&["10.0.0.1:80", "8.8.8.8:80", "[::1]:80", "9.9.9.9:80", "[2606:4700::1]:80"]);
        assert_eq!(public.allowed(mixed.clone()), Some(addresses(&["8.8.8.8:80", "[2606:4700::1]:80"])));
        assert_eq!(public.allowed(addresses(&["127.0.0.1:80", "[fe80::1]:80"])), None);
        assert_eq!(targets(config::Targets::Any, &[]).allowed(mixed.clone()), Some(mixed));
    }
}
