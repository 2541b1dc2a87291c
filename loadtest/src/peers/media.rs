//! What the parties say and hear.

use std::io;
use std::net::{IpAddr, SocketAddr};

use codecs::audio::SAMPLE_RATE;
use mio::net::UdpSocket;
use mio::{Interest, Token};

use super::{Happening, MEDIA, Peers};
use crate::ear::Ear;
use crate::line::{Line, PartyKey};
use crate::voice::Code;

/// After this tool stood still, what it missed to say is silence for the others, and their sound comes in a rush.
const EXCUSED: usize = SAMPLE_RATE as usize / 2;

impl Peers {
    /// What a leg has heard lately, and how it would be known itself.
    pub fn ear(&mut self, key: PartyKey) -> Option<(Code, &mut Ear)> {
        if let Some(party) = self.parties.get(&key) {
            let media = party.media?;
            return self.media.get_mut(&media).map(|m| (party.code, &mut m.ear));
        }
        self.past.get_mut(&key).map(|(code, ear)| (*code, ear))
    }

    /// A leg whose packets are counted says so many more.
    pub fn say(&mut self, key: PartyKey, packets: u32) {
        if let Some(line) = self.line(key) {
            line.say(packets);
        }
    }

    pub(super) fn line(&mut self, key: PartyKey) -> Option<&mut Line> {
        let media = self.parties.get(&key)?.media?;
        self.media.get_mut(&media)
    }

    pub(super) fn open_media(&mut self, ip: IpAddr, party: PartyKey, code: Code) -> io::Result<(usize, SocketAddr)> {
        let mut socket = self.media_socket(ip)?;
        let address = socket.local_addr()?;
        let token = self.next_media;
        self.next_media += 1;
        self.poll.registry().register(&mut socket, Token(token), Interest::READABLE)?;
        let mut line = Line::new(socket, party, code, token as u32, self.probe);
        line.jumping = self.jumping;
        let others = (0..self.roles).filter(|role| *role != code.role);
        line.ear = Ear::awaiting(others.map(|role| Code { role, ..code }).collect());
        self.media.insert(token, line);
        Ok((token, address))
    }

    /// At a port that the gateway would not take for one of its own.
    fn media_socket(&self, ip: IpAddr) -> io::Result<UdpSocket> {
        let mut refused = Vec::new();
        loop {
            let socket = UdpSocket::bind(SocketAddr::new(ip, 0))?;
            let port = socket.local_addr()?.port();
            if !self.foreign.is_some_and(|(from, to)| (from..=to).contains(&port)) {
                return Ok(socket);
            }
            // Kept until another is found, so that the kernel does not give it again.
            refused.push(socket);
        }
    }

    pub(super) fn silence(&mut self, key: PartyKey) {
        if let Some(line) = self.line(key) {
            line.speaking = false;
        }
    }

    pub(super) fn read_media(&mut self, token: usize) {
        debug_assert!(token >= MEDIA, "an agent's token");
        let Some(line) = self.media.get_mut(&token) else { return };
        let party = line.party;
        let (first, voices) = line.listen();
        if first {
            self.happen(Happening::Heard { party });
        }
        for voice in voices {
            self.happen(Happening::Voice { party, role: voice.role });
        }
    }

    pub(super) fn speak(&mut self) {
        for line in self.media.values_mut() {
            line.speak();
        }
        let Some(Ok(mut watched)) = self.watched.as_ref().map(|w| w.lock()) else { return };
        watched.clear();
        watched.extend(self.media.values().filter(|l| l.speaking).filter_map(|l| l.target));
    }

    /// This thread was kept from its processor for several ticks.
    pub(super) fn stood_still(&mut self) {
        for line in self.media.values_mut() {
            line.ear.attention.excuse(EXCUSED);
        }
    }
}
