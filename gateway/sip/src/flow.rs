//! Where a message came from, and where its answer goes (RFC 3261 18, RFC 5626 "flow").

use std::net::SocketAddr;

use codecs::sip::ReplyTo;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Transport {
    Udp,
    Tcp,
}

impl Transport {
    /// As in Via.
    pub fn text(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        }
    }
    /// Whether the transport retransmits by itself.
    pub fn is_reliable(self) -> bool {
        match self {
            Transport::Udp => false,
            Transport::Tcp => true,
        }
    }
}

/// A remote address over one of our sockets; for TCP one connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Flow {
    pub transport: Transport,
    pub remote: SocketAddr,
    /// The shell's number of the connection; 0 for UDP, and for a TCP connection still to be made.
    pub connection: u32,
}

impl Flow {
    pub fn udp(remote: SocketAddr) -> Flow {
        Flow { transport: Transport::Udp, remote, connection: 0 }
    }

    /// A connection still to be made.
    pub fn tcp(remote: SocketAddr) -> Flow {
        Flow { transport: Transport::Tcp, remote, connection: 0 }
    }

    /// Whether what came by `other` came from where this flow goes to.
    pub fn is_answered_by(self, other: Flow) -> bool {
        self.transport == other.transport
            && self.remote == other.remote
            && (self.connection == other.connection || self.connection == 0)
    }
}

/// How something is sent: over a flow, or where its connection is gone, over a new one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Path {
    pub flow: Flow,
    pub reconnect: Option<SocketAddr>,
}

impl Path {
    pub fn over(flow: Flow) -> Path {
        Path { flow, reconnect: None }
    }

    /// The way of the answer to a request that came by `flow` (RFC 3261 18.2.2, RFC 3581 4).
    pub fn of_answer(reply: ReplyTo, flow: Flow) -> Path {
        let source = flow.remote;
        match flow.transport {
            Transport::Tcp => Path { flow, reconnect: Some(SocketAddr::new(source.ip(), reply.port)) },
            Transport::Udp => Path::over(Flow::udp(match reply.maddr {
                Some(ip) => SocketAddr::new(ip, reply.port),
                None if reply.rport => source,
                None => SocketAddr::new(source.ip(), reply.port),
            })),
        }
    }
}
