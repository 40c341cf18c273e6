//! The ways to an origin: straight or through a node, TLS on either stretch or on none.

use std::sync::{Arc, LazyLock};

use rustls::{ServerConfig, ServerConnection, crypto::ring, pki_types::PrivateKeyDer};

use crate::{
    config,
    model::{Authority, Endpoint, Host, Node, NodeConfig, NodeTls},
    upstream::{
        Destination, Dialer, OwnRoots, Targets, Trust,
        script::{Cut, Peer, Plan},
    },
};

/// What lies between here and the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Plain,
    /// TLS with the origin.
    Tls,
    /// A node that is asked for a tunnel.
    Node,
    /// TLS with the node, and none behind it.
    TlsNode,
    /// TLS with the origin through a node's tunnel.
    NodeThenTls,
}

pub(super) const WAYS: [Way; 5] = [Way::Plain, Way::Tls, Way::Node, Way::TlsNode, Way::NodeThenTls];

impl Way {
    /// Whether the request is encrypted where it is counted.
    pub(super) fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::TlsNode | Self::NodeThenTls)
    }

    pub(super) fn node(self) -> Node {
        let endpoint = Endpoint { authority: authority(), credentials: None };
        let config = match self {
            Self::Plain | Self::Tls => NodeConfig::Direct,
            Self::Node | Self::NodeThenTls => NodeConfig::Http { endpoint, tls: None },
            Self::TlsNode => NodeConfig::Http { endpoint, tls: Some(NodeTls { sni: None, insecure: false }) },
        };
        let tags = vec!["node".to_owned()];
        Node { hash: config.hash(), config, tags, egress_ip: None, region: None }
    }

    pub(super) fn destination(self) -> Arc<Destination> {
        let tls = matches!(self, Self::Tls | Self::NodeThenTls);
        Arc::new(Destination { authority: authority(), tls })
    }

    /// A far end; with `cut` its dial does not go well.
    pub(super) fn peer(self, plan: Plan, cut: Option<Cut>) -> Peer {
        let session = self.is_tls().then(|| ServerConnection::new(Arc::clone(&TRUSTED.1)).unwrap());
        match self {
            Self::Plain | Self::Tls => Peer::direct(session, plan, cut),
            Self::TlsNode => Peer::behind_connect(session, None, plan, cut),
            Self::Node | Self::NodeThenTls => Peer::behind_connect(None, session, plan, cut),
        }
    }
}

fn authority() -> Authority {
    Authority { host: Host::parse("127.0.0.1").unwrap(), port: 1 }
}

/// Dials as the product does, and believes the server beside it.
static TRUSTED: LazyLock<(Dialer, Arc<ServerConfig>)> = LazyLock::new(|| {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), certificate.pem()).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let trust = Trust::load(OwnRoots::read(Some(file.path())).unwrap()).unwrap();
    (Dialer::new(trust, Targets::new(config::Targets::Any, [])), Arc::new(server))
});

pub(super) fn dialer() -> &'static Dialer {
    &TRUSTED.0
}
