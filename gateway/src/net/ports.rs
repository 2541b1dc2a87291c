//! Media sockets: a pair a leg (RTP even, RTCP odd), bound ahead of need and reused after rest; or a few pairs that all
//! legs share.
//!
//! RTP is not waited for: it is read at every tick, when a packet of nearly every leg lies there, so that the kernel has
//! nobody to wake. RTCP comes every few seconds and is asked for by epoll.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;

use mio::net::UdpSocket;
use mio::{Interest, Poll, Token};

use crate::net::udp::{self, Receiver};

/// Pairs kept bound and idle beyond the rated load, so that a burst of calls finds them.
pub const SPARE: usize = 64;
/// Packets that are taken from an RTCP socket in one turn: whoever floods one keeps nobody else waiting.
const RTCP_TURN: usize = 64;
/// Longer than any audio packet that a peer may send.
const DATAGRAM: usize = 2048;
/// Packets that a socket which all legs share is read for in one call.
const SHARED: usize = 64;
/// A leg's socket is read once a tick, since one packet is the rule, and to its end every so many ticks.
const TO_THE_END: u64 = 16;
/// Far more than any leg says in a tick: whoever sends more keeps nobody else waiting.
const FLOOD: usize = 256;
/// How many ticks a socket in which more was found is read to its end.
const WARY: u8 = 250;

struct Pair {
    rtp: std::net::UdpSocket,
    rtcp: UdpSocket,
    /// Its place among those in use.
    place: Option<usize>,
    /// For how many ticks yet it is read to its end: a packet was late, came with another, or from elsewhere.
    wary: u8,
    /// Who sent the last packet of this call.
    from: Option<SocketAddr>,
}

impl Pair {
    /// One packet, or all that are there. `last`: it is time to look for more than one.
    fn read_leg(&mut self, last: bool, buffer: &mut [u8], mut take: impl FnMut(SocketAddr, &[u8])) {
        let mut to_the_end = last || self.wary > 0;
        self.wary = self.wary.saturating_sub(1);
        let mut got = 0;
        while got == 0 || (to_the_end && got < FLOOD) {
            let Ok((len, from)) = self.rtp.recv_from(buffer) else { break };
            if self.from.replace(from).is_some_and(|before| before != from) {
                // A stranger's packet stands before the leg's own.
                (to_the_end, self.wary) = (true, WARY);
            }
            take(from, &buffer[..len]);
            got += 1;
        }
        match got {
            // What did not come in this tick comes in the next, beside its own.
            0 => self.wary = self.wary.max(1),
            1 => {}
            _ => self.wary = WARY,
        }
    }
}

/// All pairs of one shard.
pub struct Ports {
    address: IpAddr,
    first: u16,
    /// How many pairs all legs share; 0: each has its own.
    shared: usize,
    /// Pairs that are bound before the first call: those of the rated load.
    stock: usize,
    /// Not bound yet, in the order in which they will be.
    unbound: VecDeque<u16>,
    /// By their distance from the first, in pairs.
    pairs: Vec<Option<Pair>>,
    in_use: Vec<u16>,
    bound: usize,
    ticks: u64,
    buffer: Box<[u8]>,
    receiver: Receiver,
    poll: Poll,
    events: mio::Events,
}

impl Ports {
    /// # Errors
    /// When the kernel gives no epoll.
    pub fn new(address: IpAddr, from: u16, to: u16, shared: usize, stock: usize) -> io::Result<Ports> {
        let first = from + from % 2;
        Ok(Ports {
            address,
            first,
            shared,
            stock,
            unbound: (first..to).step_by(2).collect(),
            pairs: Vec::new(),
            in_use: Vec::new(),
            bound: 0,
            ticks: 0,
            buffer: vec![0; DATAGRAM].into_boxed_slice(),
            receiver: Receiver::new(if shared > 0 { SHARED } else { 1 }, DATAGRAM),
            poll: Poll::new()?,
            events: mio::Events::with_capacity(1024),
        })
    }

    /// Binds pairs until the stock is full; returns the new ones. A port that somebody else has is skipped.
    pub fn refill(&mut self) -> Vec<u16> {
        let mut fresh = Vec::new();
        let wanted = |ports: &Ports| match ports.shared {
            0 => ports.bound < ports.stock || ports.bound - ports.in_use.len() < SPARE,
            shared => ports.bound < shared,
        };
        while wanted(self) {
            let Some(port) = self.unbound.pop_front() else { break };
            match self.bind(port) {
                Ok(pair) => {
                    let number = self.number(port);
                    self.pairs.resize_with(self.pairs.len().max(number + 1), || None);
                    self.pairs[number] = Some(pair);
                    self.bound += 1;
                    fresh.push(port);
                    if self.shared > 0 {
                        self.taken(port);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => {
                    tracing::warn!(port, %error, "no media socket");
                    self.unbound.push_back(port);
                    break;
                }
            }
        }
        fresh
    }

    fn number(&self, port: u16) -> usize {
        usize::from(port.wrapping_sub(self.first) / 2)
    }

    fn bind(&mut self, port: u16) -> io::Result<Pair> {
        let rtp = std::net::UdpSocket::bind(SocketAddr::new(self.address, port))?;
        rtp.set_nonblocking(true)?;
        if self.shared > 0 {
            // A whole tick's packets of every leg lie in it.
            udp::widen(&rtp);
        }
        let mut rtcp = UdpSocket::bind(SocketAddr::new(self.address, port + 1))?;
        self.poll.registry().register(&mut rtcp, Token(port as usize), Interest::READABLE)?;
        Ok(Pair { rtp, rtcp, place: None, wary: 0, from: None })
    }

    pub fn taken(&mut self, port: u16) {
        let number = self.number(port);
        let Some(pair) = self.pairs.get_mut(number).and_then(Option::as_mut) else { return };
        // What lies in the sockets from before is nobody's of this leg.
        let mut old = [0u8; DATAGRAM];
        for _ in 0..FLOOD {
            if pair.rtp.recv_from(&mut old).is_err() && pair.rtcp.recv_from(&mut old).is_err() {
                break;
            }
        }
        pair.from = None;
        if pair.place.is_none() {
            pair.place = Some(self.in_use.len());
            self.in_use.push(port);
        }
    }

    /// `true`: the pair is free again and may be granted anew.
    pub fn freed(&mut self, port: u16) -> bool {
        let number = self.number(port);
        let Some(place) = self.pairs.get_mut(number).and_then(Option::as_mut).and_then(|p| p.place.take()) else {
            return false;
        };
        self.in_use.swap_remove(place);
        if let Some(&moved) = self.in_use.get(place) {
            let number = self.number(moved);
            if let Some(pair) = &mut self.pairs[number] {
                pair.place = Some(place);
            }
        }
        true
    }

    /// Reads everything that has arrived: port, whether RTCP, source, bytes.
    pub fn read(&mut self, mut take: impl FnMut(u16, bool, SocketAddr, &[u8])) {
        let batch = self.receiver.batch();
        self.ticks += 1;
        for &port in &self.in_use {
            let number = usize::from((port - self.first) / 2);
            let Some(pair) = &mut self.pairs[number] else { continue };
            if self.shared == 0 {
                let last = (self.ticks + number as u64).is_multiple_of(TO_THE_END);
                pair.read_leg(last, &mut self.buffer, |from, bytes| take(port, false, from, bytes));
                continue;
            }
            // A batch that was not full was the end.
            while self
                .receiver
                .receive(&pair.rtp, |from, bytes| take(port, false, from, bytes))
                .is_ok_and(|n| n == batch)
            {}
        }
        if let Err(error) = self.poll.poll(&mut self.events, Some(std::time::Duration::ZERO)) {
            if error.kind() != io::ErrorKind::Interrupted {
                tracing::warn!(%error, "media poll");
            }
            return;
        }
        let mut again = Vec::new();
        for event in &self.events {
            let port = event.token().0 as u16;
            let Some(pair) = self.pairs.get(self.number(port)).and_then(Option::as_ref) else { continue };
            // Edge-triggered: to the end, or the rest would wait for the next packet.
            let in_use = pair.place.is_some();
            let mut give = |from, bytes: &[u8]| {
                if in_use {
                    take(port, true, from, bytes);
                }
            };
            let mut taken = 0;
            while taken < RTCP_TURN
                && let Ok(n) = self.receiver.receive(&pair.rtcp, &mut give)
            {
                taken += n;
            }
            if taken >= RTCP_TURN {
                again.push(port);
            }
        }
        // The edge has passed, and more may lie there.
        for port in again {
            let number = self.number(port);
            if let Some(pair) = self.pairs.get_mut(number).and_then(Option::as_mut) {
                let _ = self.poll.registry().reregister(&mut pair.rtcp, Token(port as usize), Interest::READABLE);
            }
        }
    }

    /// Sends a tick's packets: port, destination, whether RTCP, bytes. A full or refusing peer costs its packet only.
    /// Returns how many there were.
    pub fn send<'a>(&self, packets: impl Iterator<Item = (u16, SocketAddr, bool, &'a [u8])>) -> usize {
        let mut count = 0;
        let packets = packets.inspect(|_| count += 1);
        let pair = |port: u16| self.pairs.get(self.number(port)).and_then(Option::as_ref);
        if self.shared == 0 {
            for (port, to, rtcp, bytes) in packets {
                let Some(pair) = pair(port) else { continue };
                let _ = if rtcp { pair.rtcp.send_to(bytes, to) } else { pair.rtp.send_to(bytes, to) };
            }
            return count;
        }
        let mut batches: Vec<Vec<(SocketAddr, &[u8])>> = vec![Vec::new(); self.in_use.len()];
        for (port, to, rtcp, bytes) in packets {
            match pair(port) {
                Some(pair) if rtcp => drop(pair.rtcp.send_to(bytes, to)),
                Some(pair) => {
                    if let Some(batch) = pair.place.and_then(|place| batches.get_mut(place)) {
                        batch.push((to, bytes));
                    }
                }
                None => {}
            }
        }
        for (port, batch) in self.in_use.iter().zip(batches) {
            if let Some(pair) = pair(*port) {
                udp::send(&pair.rtp, batch.into_iter());
            }
        }
        count
    }

    /// Descriptors held.
    pub fn descriptors(&self) -> usize {
        self.bound * 2 + usize::from(self.poll.as_raw_fd() >= 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pair in use, and a stranger.
    fn one_pair(from: u16) -> (Ports, u16, std::net::UdpSocket) {
        let ip = IpAddr::from([127, 0, 0, 1]);
        let mut ports = Ports::new(ip, from, from + 20, 0, 4).expect("sockets");
        let port = ports.refill()[0];
        ports.taken(port);
        (ports, port, std::net::UdpSocket::bind((ip, 0)).expect("a socket"))
    }

    fn read(ports: &mut Ports, rtcp: bool) -> usize {
        let mut count = 0;
        ports.read(|_, of_rtcp, _, _| count += usize::from(of_rtcp == rtcp));
        count
    }

    #[test]
    fn a_flooded_rtcp_port_gives_way_after_a_turn_and_the_rest_comes_in_the_next() {
        let (mut ports, port, stranger) = one_pair(45_000);
        for _ in 0..RTCP_TURN + 40 {
            stranger.send_to(&[0x80, 201, 0, 1, 0, 0, 0, 1], (ports.address, port + 1)).expect("sent");
        }
        let first = read(&mut ports, true);
        assert!((RTCP_TURN..RTCP_TURN + 40).contains(&first), "{first}");
        assert_eq!(first + read(&mut ports, true), RTCP_TURN + 40);
    }

    #[test]
    fn a_strangers_packets_before_the_leg_s_own_do_not_keep_it_back() {
        let (mut ports, port, stranger) = one_pair(45_100);
        let own = std::net::UdpSocket::bind((ports.address, 0)).expect("a socket");
        own.send_to(&[0x80, 8], (ports.address, port)).expect("sent");
        assert_eq!(read(&mut ports, false), 1);
        for _ in 0..10 {
            stranger.send_to(&[0x80, 8], (ports.address, port)).expect("sent");
        }
        own.send_to(&[0x80, 8], (ports.address, port)).expect("sent");
        assert_eq!(read(&mut ports, false), 11, "all in the tick in which they came");
    }
}
