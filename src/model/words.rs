//! Closed sets whose spelling is part of the contract: the same in records, spans, metrics and answers.

/// An enum whose every variant has one spelling, and the way back from it.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            /// Every variant, in the order of the contract.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The spelling in records, spans, metrics and answers.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The variant with this spelling.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Where in its life an attempt ended.
    Stage {
        ConnectDial = "connect_dial",
        ForwardRoundtrip = "forward_roundtrip",
        ReverseRoundtrip = "reverse_roundtrip",
        ForwardUpstreamToClientCopy = "forward_upstream_to_client_copy",
        ReverseUpstreamToClientCopy = "reverse_upstream_to_client_copy",
        ConnectHijack = "connect_hijack",
        ConnectClientResponseWrite = "connect_client_response_write",
        ConnectUpstreamToClientCopy = "connect_upstream_to_client_copy",
        ConnectClientToUpstreamCopy = "connect_client_to_upstream_copy",
        ConnectZeroTraffic = "connect_zero_traffic",
        ConnectNoIngressTraffic = "connect_no_ingress_traffic",
        ConnectNoEgressTraffic = "connect_no_egress_traffic",
    }
}

words! {
    /// What the attempt was doing when it ended.
    Phase {
        Dns = "dns",
        Tcp = "tcp",
        NodeTls = "node_tls",
        NodeHandshake = "node_handshake",
        OriginTls = "origin_tls",
        Send = "send",
        ResponseHead = "response_head",
        Body = "body",
        Tunnel = "tunnel",
    }
}

words! {
    /// What went wrong, as far as the connection told.
    ErrKind {
        DnsError = "dns_error",
        DialError = "dial_error",
        ConnectionRefused = "connection_refused",
        ConnectionReset = "connection_reset",
        ConnectionAborted = "connection_aborted",
        NetworkUnreachable = "network_unreachable",
        HostUnreachable = "host_unreachable",
        BrokenPipe = "broken_pipe",
        Timeout = "timeout",
        Eof = "eof",
        TlsCertInvalid = "tls_cert_invalid",
        TlsUnknownAuthority = "tls_unknown_authority",
        TlsHostnameInvalid = "tls_hostname_invalid",
        TlsRecordHeader = "tls_record_header",
        TlsHandshake = "tls_handshake",
        NodeAuthFailed = "node_auth_failed",
        NodeRefused = "node_refused",
        ProtocolError = "protocol_error",
        ReadError = "read_error",
        WriteError = "write_error",
        NetworkError = "network_error",
        Canceled = "canceled",
    }
}

words! {
    /// The code of an answer that is the proxy's own.
    ResinError {
        AuthRequired = "AUTH_REQUIRED",
        AuthFailed = "AUTH_FAILED",
        UrlParseError = "URL_PARSE_ERROR",
        InvalidProtocol = "INVALID_PROTOCOL",
        InvalidHost = "INVALID_HOST",
        PlatformNotFound = "PLATFORM_NOT_FOUND",
        AccountRejected = "ACCOUNT_REJECTED",
        TargetDenied = "TARGET_DENIED",
        NoAvailableNodes = "NO_AVAILABLE_NODES",
        UpstreamConnectFailed = "UPSTREAM_CONNECT_FAILED",
        UpstreamRequestFailed = "UPSTREAM_REQUEST_FAILED",
        UpstreamTimeout = "UPSTREAM_TIMEOUT",
        InternalError = "INTERNAL_ERROR",
    }
}

words! {
    /// CONNECT is forward.
    ProxyType {
        Forward = "FORWARD",
        Reverse = "REVERSE",
    }
}

words! {
    /// What became of an attempt: answered, tried again elsewhere, or why not.
    Verdict {
        Answered = "answered",
        Retried = "retried",
        Uncertain = "uncertain",
        NoRetriesLeft = "no_retries_left",
        NoUntriedNode = "no_untried_node",
        Deadline = "deadline",
        Disabled = "disabled",
        Canceled = "canceled",
        NotRetryable = "not_retryable",
    }
}
