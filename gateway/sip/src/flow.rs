//! Where a message came from, and where its answer goes (RFC 3261 18, RFC 5626 "flow").

use std::net::SocketAddr;

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
}
