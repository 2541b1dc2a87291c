//! Media sockets: a pair a leg (RTP even, RTCP odd), bound ahead of need, reused after rest.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;

use mio::net::UdpSocket;
use mio::{Interest, Poll, Token};

/// Pairs kept bound and idle, so that a burst of calls finds them.
const STOCK: usize = 64;

struct Pair {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    in_use: bool,
}

/// All pairs of one shard. A pair's token is its port; RTCP's is the port after.
pub struct Ports {
    address: IpAddr,
    /// Not bound yet, in the order in which they will be.
    unbound: VecDeque<u16>,
    pairs: std::collections::BTreeMap<u16, Pair>,
    idle: usize,
    poll: Poll,
    events: mio::Events,
}

impl Ports {
    /// # Errors
    /// When the kernel gives no epoll.
    pub fn new(address: IpAddr, from: u16, to: u16) -> io::Result<Ports> {
        let even = from + from % 2;
        Ok(Ports {
            address,
            unbound: (even..to).step_by(2).collect(),
            pairs: std::collections::BTreeMap::new(),
            idle: 0,
            poll: Poll::new()?,
            events: mio::Events::with_capacity(1024),
        })
    }

    /// Binds pairs until the stock is full; returns the new ones. A port that somebody else has is skipped.
    pub fn refill(&mut self) -> Vec<u16> {
        let mut fresh = Vec::new();
        while self.idle < STOCK {
            let Some(port) = self.unbound.pop_front() else { break };
            match self.bind(port) {
                Ok(pair) => {
                    self.pairs.insert(port, pair);
                    self.idle += 1;
                    fresh.push(port);
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

    fn bind(&mut self, port: u16) -> io::Result<Pair> {
        let mut rtp = UdpSocket::bind(SocketAddr::new(self.address, port))?;
        let mut rtcp = UdpSocket::bind(SocketAddr::new(self.address, port + 1))?;
        self.poll.registry().register(&mut rtp, Token(port as usize), Interest::READABLE)?;
        self.poll.registry().register(&mut rtcp, Token(port as usize + 1), Interest::READABLE)?;
        Ok(Pair { rtp, rtcp, in_use: false })
    }

    pub fn taken(&mut self, port: u16) {
        if let Some(pair) = self.pairs.get_mut(&port) {
            // What lies in the sockets from before is nobody's of this leg.
            let mut old = [0u8; 2048];
            while pair.rtp.recv_from(&mut old).is_ok() || pair.rtcp.recv_from(&mut old).is_ok() {}
            pair.in_use = true;
            self.idle -= 1;
        }
    }

    /// `true`: the pair is free again and may be granted anew.
    pub fn freed(&mut self, port: u16) -> bool {
        let Some(pair) = self.pairs.get_mut(&port).filter(|p| p.in_use) else { return false };
        pair.in_use = false;
        self.idle += 1;
        true
    }

    /// Reads everything that has arrived: port, whether RTCP, source, bytes.
    pub fn read(&mut self, mut take: impl FnMut(u16, bool, SocketAddr, &[u8])) {
        let mut buffer = [0u8; 2048];
        loop {
            if let Err(error) = self.poll.poll(&mut self.events, Some(std::time::Duration::ZERO)) {
                if error.kind() != io::ErrorKind::Interrupted {
                    tracing::warn!(%error, "media poll");
                }
                return;
            }
            if self.events.is_empty() {
                return;
            }
            for event in &self.events {
                let token = event.token().0 as u16;
                let (port, rtcp) = (token & !1, token & 1 == 1);
                let Some(pair) = self.pairs.get(&port) else { continue };
                let socket = if rtcp { &pair.rtcp } else { &pair.rtp };
                // Edge-triggered: to the end, or the rest would wait for the next packet.
                while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                    if pair.in_use {
                        take(port, rtcp, from, &buffer[..len]);
                    }
                }
            }
        }
    }

    /// Sends one media packet; a full or refusing peer costs that packet only.
    pub fn send(&self, port: u16, rtcp: bool, to: SocketAddr, bytes: &[u8]) -> bool {
        let Some(pair) = self.pairs.get(&port) else { return false };
        let socket = if rtcp { &pair.rtcp } else { &pair.rtp };
        socket.send_to(bytes, to).is_ok()
    }

    /// Descriptors held.
    pub fn descriptors(&self) -> usize {
        self.pairs.len() * 2 + usize::from(self.poll.as_raw_fd() >= 0)
    }
}
