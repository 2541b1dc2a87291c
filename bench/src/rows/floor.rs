//! What the machine itself takes: the measure by which its figures compare with those of another.

use std::net::UdpSocket;

use super::Lab;
use crate::lab::own_thread_us;

/// One sent and one received over 1,000 sockets on the machine that the goals were set on.
pub const GOALS_MACHINE_US: f64 = 2.100 + 1.036;
const SOCKETS: usize = 600;
const ROUNDS: usize = 60;

pub fn run(lab: &mut Lab<'_>) -> anyhow::Result<()> {
    let bind = || UdpSocket::bind("127.0.0.1:0");
    let senders: Vec<UdpSocket> = (0..SOCKETS).map(|_| bind()).collect::<Result<_, _>>()?;
    let receivers: Vec<UdpSocket> = (0..SOCKETS).map(|_| bind()).collect::<Result<_, _>>()?;
    let addresses: Vec<_> = receivers.iter().map(UdpSocket::local_addr).collect::<Result<_, _>>()?;
    let mut buffer = [0u8; 2048];
    let begun = own_thread_us();
    for _ in 0..ROUNDS {
        for (socket, to) in senders.iter().zip(&addresses) {
            socket.send_to(&buffer[..172], to)?;
        }
        for socket in &receivers {
            socket.recv_from(&mut buffer)?;
        }
    }
    let each = (own_thread_us() - begun) / (SOCKETS * ROUNDS) as f64;
    lab.results.add("floor-datagram", "bare sockets", each);
    Ok(())
}
