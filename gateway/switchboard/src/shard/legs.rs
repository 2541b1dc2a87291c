//! Legs: a SIP session, a media leg and a port each, and how they are made and let go.

use std::net::IpAddr;

use bytes::Bytes;
use codecs::address::is_special_purpose;
use codecs::record::Role;
use codecs::sip::{Host, Uri};
use codecs::time::Mono;
use dispatch::{CALLER, CallKey, Gone, Input, LegNo, Target};
use media::negotiate::{self, Agreed, Local, Refusal};
use media::{LegConfig, LegId, Prompt};
use sip::{Flow, Invitation, OutgoingInvite, SessionId};

use super::sources::Origin;
use super::{CallSlot, Leg, LocalSdp, Output, Shard};
use crate::message::{Contact, ReservedResponder};

impl Shard {
    /// Makes the caller's leg from the INVITE: whether it takes our audio; else why it is refused: the status, the reason on the record, the number of
    /// the error, and what it says.
    pub(super) fn take_caller_leg(&mut self, key: CallKey, invitation: &Invitation) -> Result<bool, Refused> {
        let Some(port) = self.take_port() else {
            return Err((503, "no_media_port", "2102", "no media port".into()));
        };
        let seed = self.mint.next_u64();
        let slot_trunk = self.calls.get(&key).map_or(0, |slot| slot.trunk);
        let mut leg = Leg {
            session: Some(invitation.session),
            port: Some(port),
            signals_from: Some(invitation.flow.remote.ip().to_canonical()),
            nat: self.config.trunks[slot_trunk].nat,
            seed,
            ..Leg::blank(Role::Reporter)
        };
        let agreed = match &invitation.sdp {
            None => {
                leg.sdp.offered = true;
                leg.sdp.text = negotiate::offer(self.local(key, CALLER, port, 1, seed));
                None
            }
            Some(offer) => match negotiate::answer(offer, self.local(key, CALLER, port, 1, seed)) {
                Ok((agreed, answer)) => {
                    leg.sdp.text = answer;
                    Some(agreed)
                }
                Err(refusal) => {
                    self.free_port(port);
                    return Err(refusal_code(refusal));
                }
            },
        };
        leg.sdp.version = 1;
        let Some(slot) = self.calls.get_mut(&key) else {
            self.free_port(port);
            return Err((500, "no_call", "2100", "the call is gone".into()));
        };
        slot.legs.insert(CALLER, leg);
        self.by_session.insert(invitation.session, (key, CALLER));
        if let Some(agreed) = agreed {
            self.add_media(key, CALLER, &agreed);
        }
        Ok(agreed.is_none_or(|agreed| agreed.is_listening()))
    }

    /// Tells the call whether its caller takes our audio.
    fn tell_listening(&mut self, now: Mono, key: CallKey, leg: LegNo, agreed: &Agreed) {
        if leg == CALLER {
            self.input(now, key, Input::CallerListens { yes: agreed.is_listening() });
        }
    }

    pub(super) fn ring_caller(&mut self, now: Mono, key: CallKey) {
        if let Some(session) = self.session_of(key, CALLER) {
            self.sip.ring(now, session, 180);
        }
    }

    pub(super) fn answer_caller(&mut self, now: Mono, key: CallKey) {
        let Some(leg) = self.calls.get_mut(&key).and_then(|s| s.legs.get_mut(&CALLER)) else { return };
        leg.answered = true;
        if let Some(session) = leg.session {
            let sdp = std::mem::take(&mut leg.sdp.text);
            self.sip.accept(now, session, &sdp);
        }
    }

    /// Calls a seat, a responder or the reporter.
    pub(super) fn start_leg(&mut self, now: Mono, key: CallKey, leg: LegNo, target: Target, role: Role) {
        let Some(slot) = self.calls.get(&key) else { return };
        let contact = match target {
            Target::Seat(seat) => slot.seats.iter().find(|(s, ..)| *s == seat).map(|(.., contact)| contact.clone()),
            Target::Responder(id) => slot.responders.get(&id.0).and_then(|r| self.responder_contact(r)),
            Target::Reporter => self.dial_out(slot.trunk, &slot.number),
        };
        let port = contact.is_some().then(|| self.take_port()).flatten();
        let (Some(contact), Some(port)) = (contact, port) else {
            // Nowhere to call, or no port left: the call machine hears of it like of any failed leg.
            self.failed_at_once.push_back((key, leg));
            return;
        };
        let seed = self.mint.next_u64();
        let Some(slot) = self.calls.get(&key) else { return self.free_port(port) };
        let sdp = negotiate::offer(self.local(key, leg, port, 1, seed));
        let out = OutgoingInvite {
            flow: contact.flow,
            uri: contact.uri.clone(),
            from: identity(&slot.number, &self.config.realm),
            to: [b"<", &contact.uri[..], b">"].concat(),
            sdp,
            is_registered: contact.is_registered,
            headers: headers_for(role, slot),
        };
        let nat = if contact.is_registered { self.config.phones_nat } else { self.config.trunks[slot.trunk].nat };
        let session = self.sip.invite(now, out);
        self.by_session.insert(session, (key, leg));
        let entry = Leg {
            session: Some(session),
            port: Some(port),
            sdp: LocalSdp { version: 1, text: Vec::new(), offered: true },
            signals_from: Some(contact.flow.remote.ip().to_canonical()),
            nat,
            seed,
            ..Leg::blank(role)
        };
        if let Some(slot) = self.calls.get_mut(&key) {
            slot.legs.insert(leg, entry);
        }
    }

    fn responder_contact(&self, responder: &ReservedResponder) -> Option<Contact> {
        if let Some(contact) = &responder.contact {
            return Some(contact.clone());
        }
        if responder.phone.starts_with("sip:") {
            let uri = responder.phone.clone().into_bytes();
            let parsed = Uri::parse(&uri)?;
            let Host::Ip(ip) = parsed.host else { return None };
            let flow = Flow::udp((ip, parsed.port.unwrap_or(5060)).into());
            return Some(Contact { flow, uri, is_registered: false });
        }
        let trunk = self.config.trunks.iter().position(|t| t.outbound.is_some())?;
        self.dial_out(trunk, &responder.phone)
    }

    /// By this trunk's outgoing peer, else by whichever trunk has one.
    pub(super) fn dial_out(&self, trunk: usize, number: &str) -> Option<Contact> {
        let own = self.config.trunks[trunk].outbound;
        let peer = own.or_else(|| self.config.trunks.iter().find_map(|t| t.outbound))?;
        let dialable =
            !number.is_empty() && number.bytes().all(|b| b.is_ascii_alphanumeric() || b"*#+-._".contains(&b));
        let uri = || format!("sip:{number}@{peer}").into_bytes();
        dialable.then(|| Contact { flow: Flow::udp(peer), uri: uri(), is_registered: false })
    }

    /// Their 200: the media leg stands, the call machine hears of it.
    pub(super) fn answered(&mut self, now: Mono, session: SessionId, sdp: Option<Bytes>) {
        let Some(&(key, leg)) = self.by_session.get(&session) else { return };
        let agreed = sdp.as_deref().map(|sdp| negotiate::accept(sdp, &self.config.own));
        let Some(Ok(agreed)) = agreed else {
            self.drop_leg(now, key, leg);
            return self.input(now, key, Input::LegFailed { leg, result: codecs::record::TryResult::Off });
        };
        if let Some(entry) = self.calls.get_mut(&key).and_then(|s| s.legs.get_mut(&leg)) {
            entry.answered = true;
            entry.sdp.offered = false;
        }
        self.add_media(key, leg, &agreed);
        self.open_media(key, leg);
        self.input(now, key, Input::LegAnswered { leg });
    }

    /// The peer has shown that it is there: it may be sent to.
    fn open_media(&mut self, key: CallKey, leg: LegNo) {
        if let Some(media) = self.calls.get(&key).and_then(|s| s.legs.get(&leg)).and_then(|l| l.media) {
            self.media.open(media);
        }
    }

    /// Their ACK; with a delayed offer it carries their answer.
    pub(super) fn confirmed(&mut self, now: Mono, session: SessionId, sdp: Option<Bytes>) {
        let Some(&(key, leg)) = self.by_session.get(&session) else { return };
        self.open_media(key, leg);
        let own = self.config.own;
        let Some(entry) = self.calls.get_mut(&key).and_then(|s| s.legs.get_mut(&leg)) else { return };
        if !std::mem::take(&mut entry.sdp.offered) {
            return;
        }
        let (media, role) = (entry.media, entry.role);
        match sdp.as_deref().map(|sdp| negotiate::accept(sdp, &own)) {
            Some(Ok(agreed)) => {
                match media {
                    Some(media) => self.renegotiate(key, leg, media, &agreed),
                    None => {
                        self.add_media(key, leg, &agreed);
                        self.open_media(key, leg);
                        self.join(now, key, leg, role);
                    }
                }
                self.tell_listening(now, key, leg, &agreed);
            }
            // Without an answer there will be no audio: end it rather than leave it deaf.
            _ if media.is_none() => {
                self.drop_leg(now, key, leg);
                self.input(now, key, Input::LegEnded { leg, gone: Gone::Lost });
            }
            _ => {}
        }
    }

    /// A re-INVITE: hold, resume, a new address, a new codec; or a request for our offer.
    pub(super) fn reoffered(&mut self, now: Mono, session: SessionId, sdp: Option<Bytes>) {
        let Some(&(key, leg)) = self.by_session.get(&session) else { return };
        let Some(entry) = self.calls.get(&key).and_then(|s| s.legs.get(&leg)) else { return };
        let (Some(port), version) = (entry.port, entry.sdp.version + 1) else {
            return self.sip.refuse_reoffer(now, session, 488);
        };
        let local = self.local(key, leg, port, version, entry.seed);
        let mut heard = None;
        let text = match &sdp {
            None => negotiate::offer(local),
            Some(offer) => match negotiate::answer(offer, local) {
                Ok((agreed, answer)) => {
                    if let Some(media) = entry.media {
                        self.renegotiate(key, leg, media, &agreed);
                    }
                    heard = Some(agreed);
                    answer
                }
                Err(refusal) => return self.sip.refuse_reoffer(now, session, refusal_code(refusal).0),
            },
        };
        if let Some(entry) = self.calls.get_mut(&key).and_then(|s| s.legs.get_mut(&leg)) {
            entry.sdp = LocalSdp { version, text: Vec::new(), offered: sdp.is_none() };
        }
        self.sip.answer_reoffer(now, session, &text);
        if let Some(agreed) = heard {
            self.tell_listening(now, key, leg, &agreed);
        }
    }

    fn add_media(&mut self, key: CallKey, leg: LegNo, agreed: &Agreed) {
        let shared = self.config.shared_media;
        let Some(entry) = self.calls.get_mut(&key).and_then(|s| s.legs.get_mut(&leg)) else { return };
        let near = near(entry, agreed).filter(|_| !shared);
        let tag = entry.port.map_or(0, u32::from);
        let media = self.media.add_leg(agreed, LegConfig { seed: entry.seed, tag, near });
        self.by_media.insert(media, (key, leg));
        entry.media = Some(media);
        if let Some(place) = entry.port.and_then(|port| self.by_port.get_mut(usize::from(port / 2))) {
            *place = Some(media);
        }
        if let Some((prompt, repeat)) = entry.playing.take() {
            self.media.play(media, prompt, repeat);
        }
        self.listen_for(key, leg, media, agreed);
    }

    fn renegotiate(&mut self, key: CallKey, leg: LegNo, media: LegId, agreed: &Agreed) {
        let entry = self.calls.get(&key).and_then(|s| s.legs.get(&leg));
        let near = entry.and_then(|entry| near(entry, agreed)).filter(|_| !self.config.shared_media);
        self.media.renegotiate(media, agreed, near);
        self.listen_for(key, leg, media, agreed);
    }

    /// On a shared port a leg's packets are known by what its SDP names.
    fn listen_for(&mut self, key: CallKey, leg: LegNo, media: LegId, agreed: &Agreed) {
        if !self.config.shared_media {
            return;
        }
        let origin = agreed.remote.map(|remote| Origin { remote, ssrc: agreed.ssrc });
        let Some(entry) = self.calls.get_mut(&key).and_then(|s| s.legs.get_mut(&leg)) else { return };
        let Some(port) = entry.port else { return };
        let old = std::mem::replace(&mut entry.origin, origin);
        if let Some(old) = old {
            self.sources.release(port, media, old);
        }
        if let Some(origin) = origin {
            self.sources.claim(port, media, origin);
        }
    }

    /// Puts a leg into the call's room, which is recorded from its first leg on.
    pub(super) fn join(&mut self, now: Mono, key: CallKey, leg: LegNo, role: Role) {
        let Some(slot) = self.calls.get_mut(&key) else { return };
        let Some(media) = slot.legs.get(&leg).and_then(|l| l.media) else { return };
        let room = *slot.room.get_or_insert_with(|| self.media.add_room());
        if !std::mem::replace(&mut slot.recorded, true) {
            self.media.record(room, key.0);
        }
        let (no, track) = (slot.no, track_of(slot, leg, role));
        if !self.media.join(now, media, room, track) {
            self.record(no, casework::Fact::Mark("room_full"));
        }
    }

    pub(super) fn play(&mut self, key: CallKey, leg: LegNo, prompt: Prompt, repeat: bool) {
        let Some(entry) = self.calls.get_mut(&key).and_then(|s| s.legs.get_mut(&leg)) else { return };
        match entry.media {
            Some(media) => self.media.play(media, prompt, repeat),
            // A delayed offer: their answer, and with it the media, comes in the ACK.
            None => entry.playing = Some((prompt, repeat)),
        }
    }

    pub(super) fn stop_playing(&mut self, key: CallKey, leg: LegNo) {
        let Some(entry) = self.calls.get_mut(&key).and_then(|s| s.legs.get_mut(&leg)) else { return };
        entry.playing = None;
        if let Some(media) = entry.media {
            self.media.stop_playing(media);
        }
    }

    /// Hangs a leg up, whatever state it is in, and frees what it held.
    pub(super) fn drop_leg(&mut self, now: Mono, key: CallKey, leg: LegNo) {
        if let Some(session) = self.session_of(key, leg) {
            self.by_session.remove(&session);
            self.sip.hang_up(now, session, "");
        }
        self.release_leg(key, leg);
    }

    /// Frees a leg's media and port; its session is gone already.
    pub(super) fn release_leg(&mut self, key: CallKey, leg: LegNo) {
        self.note_strangers(key, leg);
        let Some(entry) = self.calls.get_mut(&key).and_then(|s| s.legs.remove(&leg)) else { return };
        if let Some(media) = entry.media {
            self.by_media.remove(&media);
            self.media.remove_leg(media);
        }
        if let (Some(port), Some(media), Some(origin)) = (entry.port, entry.media, entry.origin) {
            self.sources.release(port, media, origin);
        }
        if let Some(port) = entry.port {
            self.free_port(port);
        }
    }

    fn take_port(&mut self) -> Option<u16> {
        let port = self.ports.pop_front()?;
        if self.config.shared_media {
            self.ports.push_back(port);
            return Some(port);
        }
        self.outputs.push_back(Output::PortTaken(port));
        Some(port)
    }

    /// To the end of the line: a late packet for the leg that had it must not be heard by the next.
    fn free_port(&mut self, port: u16) {
        if self.config.shared_media {
            return;
        }
        if let Some(place) = self.by_port.get_mut(usize::from(port / 2)) {
            *place = None;
        }
        self.outputs.push_back(Output::PortFreed(port));
    }

    fn local(&self, key: CallKey, leg: LegNo, rtp_port: u16, version: u64, seed: u64) -> Local {
        // Constant for the session, different for every leg of every call of every shard (RFC 8866 5.2): below 2⁶², as
        // `route::SHARDS_MAX` keeps keys below 2⁵⁴.
        let session_id = key.0 << 8 | u64::from(leg.0 & 0xFF);
        // On a shared port our streams to one peer may have nothing else to be told apart by.
        let ssrc = self.config.shared_media.then_some(seed as u32);
        Local { address: self.config.rtp_address, own: self.config.own, rtp_port, ssrc, session_id, version }
    }

    pub(super) fn session_of(&self, key: CallKey, leg: LegNo) -> Option<SessionId> {
        self.calls.get(&key)?.legs.get(&leg)?.session
    }
}

/// Numbers a leg's track: its role's, or eight more for each responder of that role before it.
fn track_of(slot: &mut CallSlot, leg: LegNo, role: Role) -> u8 {
    let base = match role {
        Role::Reporter => 1,
        Role::Taker => 2,
        Role::Officer => 3,
        Role::Unit => 4,
        Role::Superior => 5,
        Role::Attendant => 6,
        Role::Supervisor => 7,
        Role::Agency => 8,
    };
    let Some(entry) = slot.legs.get_mut(&leg) else { return base };
    *entry.track.get_or_insert_with(|| {
        let before = slot.tracks.entry(role).or_default();
        *before += 1;
        // A caller or seat that comes after the one before goes on with its track; responders may overlap.
        let own = if matches!(role, Role::Reporter | Role::Taker) { 0 } else { (*before - 1).min(30) };
        base + 8 * own
    })
}

/// Status, reason on the record, number of the error, what it says.
pub(super) type Refused = (u16, &'static str, &'static str, String);

fn refusal_code(refusal: Refusal) -> Refused {
    match refusal {
        Refusal::Malformed { line, what } => (400, "malformed_sdp", "2106", format!("SDP line {line}: {what}")),
        Refusal::NoCommonCodec => (488, "no_common_codec", "2107", "the offer has no G.711 audio".into()),
        Refusal::NoUsableAddress => (488, "no_usable_address", "2108", "nobody can be sent audio there".into()),
    }
}

/// Where media may come from besides where its SDP says: a peer that may stand behind a NAT, or that names no address,
/// or one which means nothing here while it signals from another.
pub(super) fn near(leg: &Leg, agreed: &Agreed) -> Option<IpAddr> {
    let elsewhere = |ip: IpAddr| is_special_purpose(ip) && Some(ip.to_canonical()) != leg.signals_from;
    let behind = leg.nat || agreed.remote.is_none_or(|r| elsewhere(r.rtp.ip()));
    leg.signals_from.filter(|_| behind)
}

/// What makes a seat's phone answer by itself, and an officer's ring through.
fn headers_for(role: Role, slot: &CallSlot) -> Vec<(String, String)> {
    let header = |n: &str, v: &str| (n.to_owned(), v.to_owned());
    match role {
        Role::Taker => vec![
            // In the order in which they can be done without least.
            header("Answer-Mode", "Auto"),
            header("Call-Info", "<urn:x-gateway:seat>;answer-after=0"),
            header("Alert-Info", "<urn:x-gateway:seat>;info=alert-autoanswer"),
            header("X-Alert-No", slot.no.as_str()),
        ],
        Role::Officer | Role::Unit | Role::Superior | Role::Agency => {
            vec![header("Priority", "emergency"), header("X-Alert-No", slot.no.as_str())]
        }
        Role::Reporter | Role::Attendant | Role::Supervisor => Vec::new(),
    }
}

/// Whom a call is from, as a name-addr that every grammar allows (RFC 3261 25.1, RFC 3323 4.1.1.3).
pub(super) fn identity(number: &str, realm: &str) -> Vec<u8> {
    let printable: String = number.chars().filter(|c| c.is_ascii_alphanumeric() || "+*#-._".contains(*c)).collect();
    if printable.is_empty() {
        return b"\"Anonymous\" <sip:anonymous@anonymous.invalid>".to_vec();
    }
    // A hash sign is none of the characters that a user part may hold as they are.
    let user = printable.replace('#', "%23");
    format!("\"{printable}\" <sip:{user}@{realm}>").into_bytes()
}
