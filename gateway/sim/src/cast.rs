//! Who plays, and where they are.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

pub const SEATS: u32 = 6;
pub const OFFICERS: u32 = 10;
pub const SELF: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9)), 5060);
/// Trunk, seats, officers.
pub const PARTIES: [SocketAddr; 3] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 5060),
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 5060),
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 3)), 5060),
];
