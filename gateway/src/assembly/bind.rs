//! Sockets, bound before anything starts, so that a taken port is an error at the start.

use std::net::SocketAddr;

use crate::observe::procfs::port_taken;

/// Connections that wait to be accepted. Beyond them the kernel drops the last word of a handshake, and whoever believes
/// to be connected is heard of half a minute later.
const BACKLOG: i32 = 4096;

/// SIP over UDP and TCP on one port.
pub(super) fn sip(address: SocketAddr) -> anyhow::Result<(std::net::UdpSocket, std::net::TcpListener)> {
    let socket = |kind| socket2::Socket::new(socket2::Domain::for_address(address), kind, None);
    // With port 0 the UDP port decides, and the TCP one has to be free as well.
    for _ in 0..16 {
        let udp = socket(socket2::Type::DGRAM)?;
        let _ = udp.set_recv_buffer_size(4 * 1024 * 1024);
        let _ = udp.set_send_buffer_size(4 * 1024 * 1024);
        udp.bind(&address.into()).map_err(|e| port_taken("SIP udp", address, &e))?;
        udp.set_nonblocking(true)?;
        let udp: std::net::UdpSocket = udp.into();
        let bound = udp.local_addr()?;
        let tcp = socket(socket2::Type::STREAM)?;
        tcp.set_reuse_address(true)?;
        match tcp.bind(&bound.into()).and_then(|()| tcp.listen(BACKLOG)) {
            Ok(()) => {
                tcp.set_nonblocking(true)?;
                return Ok((udp, tcp.into()));
            }
            Err(_) if address.port() == 0 => {}
            Err(e) => return Err(port_taken("SIP tcp", bound, &e)),
        }
    }
    anyhow::bail!("GW-1002 no port that is free for UDP and TCP")
}

pub(super) fn http(what: &str, address: SocketAddr) -> anyhow::Result<std::net::TcpListener> {
    let listener = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    listener.set_reuse_address(true)?;
    let bound = listener.bind(&address.into()).and_then(|()| listener.listen(BACKLOG));
    bound.map_err(|e| port_taken(what, address, &e))?;
    listener.set_nonblocking(true)?;
    Ok(listener.into())
}
