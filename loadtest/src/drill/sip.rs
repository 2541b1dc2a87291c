//! Strangers, guessers and liars on the SIP port.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use bytes::Bytes;
use codecs::sip::Message;

use super::{BREATH, Deeds, Dice, Scene, received, resident_mb, strangers};
use crate::ua;

/// Memory that a flood may take for a while, and keep.
const MEMORY_MB: f64 = 64.0;

fn request(method: &str, dice: &mut Dice, from: SocketAddr, more: &str) -> String {
    let [call, tag, branch] = [dice.roll(), dice.roll(), dice.roll()];
    let user = dice.roll() % 10_000;
    format!(
        "{method} sip:{user}@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{branch:x};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:{user}@{from}>;tag={tag:x}\r\nTo: <sip:110@127.0.0.1>\r\nCall-ID: {call:x}@{from}\r\nCSeq: 1 {method}\r\n\
         Contact: <sip:{user}@{from}>\r\n{more}\r\n"
    )
}

/// Of a dialog that may be anybody's.
fn guessed(dice: &mut Dice, from: SocketAddr, n: u64) -> String {
    let tag = dice.roll() % 100_000;
    let to = format!("To: <sip:110@127.0.0.1>;tag={tag}\r\n");
    let call = format!("Call-ID: call-{}@127.0.0.3\r\n", dice.roll() % 1000);
    let rest = format!(
        "Via: SIP/2.0/UDP {from};branch=z9hG4bKc{};rport\r\nMax-Forwards: 70\r\nFrom: <sip:1@{from}>;tag=t{tag}\r\n{to}{call}",
        dice.roll() % 1000
    );
    match n % 5 {
        0 => format!("BYE sip:110@127.0.0.1 SIP/2.0\r\n{rest}CSeq: 2 BYE\r\n\r\n"),
        1 => format!("CANCEL sip:110@127.0.0.1 SIP/2.0\r\n{rest}CSeq: 1 CANCEL\r\n\r\n"),
        2 => format!("ACK sip:110@127.0.0.1 SIP/2.0\r\n{rest}CSeq: 1 ACK\r\n\r\n"),
        3 => format!("INVITE sip:110@127.0.0.1 SIP/2.0\r\n{rest}CSeq: 2 INVITE\r\nContact: <sip:1@{from}>\r\n\r\n"),
        _ => format!("SIP/2.0 200 OK\r\n{rest}CSeq: 1 INVITE\r\nContact: <sip:1@{from}>\r\n\r\n"),
    }
}

pub(super) fn forged(scene: &Scene) -> anyhow::Result<Deeds> {
    let sockets = strangers(68, 20)?;
    let (mut dice, mut sent, mut octets, mut back) = (Dice(0xf0f0), 0u64, 0u64, (0, 0));
    while !scene.over() {
        for _ in 0..20 {
            let socket = &sockets[(dice.roll() % sockets.len() as u64) as usize];
            let bytes = guessed(&mut dice, socket.local_addr()?, sent);
            if socket.send_to(bytes.as_bytes(), scene.stage.calls.sip).is_ok() {
                (sent, octets) = (sent + 1, octets + bytes.len() as u64);
            }
        }
        scene.pause(BREATH);
        let (n, len) = received(&sockets);
        back = (back.0 + n, back.1 + len);
    }
    let mut deeds = Deeds::default();
    deeds.count("messages", sent);
    deeds.count("answered", back.0);
    deeds.at_most("octets back for one sent", back.1 as f64 / octets.max(1) as f64, 1.0);
    Ok(deeds)
}

/// Asks until something comes.
fn exchange(socket: &UdpSocket, to: SocketAddr, bytes: &[u8]) -> anyhow::Result<Message> {
    let mut buffer = [0u8; 65_536];
    for _ in 0..5 {
        socket.send_to(bytes, to)?;
        if let Ok((len, _)) = socket.recv_from(&mut buffer)
            && let Ok(message) = Message::frame(Bytes::copy_from_slice(&buffer[..len]))
        {
            return Ok(message);
        }
    }
    anyhow::bail!("{to} does not answer")
}

/// A phone registers; somebody else, and itself once more, send the same octets.
pub(super) fn replay(scene: &Scene) -> anyhow::Result<Deeds> {
    let gateway = scene.stage.calls.sip;
    let bind = |a: [u8; 4]| -> anyhow::Result<UdpSocket> {
        let socket = UdpSocket::bind(SocketAddr::new(IpAddr::from(a), 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        Ok(socket)
    };
    let (mine, thief) = (bind([127, 0, 0, 5])?, bind([127, 69, 0, 1])?);
    let (mut taken, mut refused, mut cseq) = (0, 0u64, 0);
    while !scene.over() {
        cseq += 2;
        let user = scene.stage.rude_seats.1.to_string();
        let account = |cseq| ua::Registering {
            local: mine.local_addr().unwrap_or(gateway),
            peer: gateway,
            user: &user,
            secret: &scene.stage.calls.password,
            cseq,
            expires_s: 0,
            salt: scene.clock.salt(),
        };
        let Some(first) = account(cseq).request(None) else { break };
        let challenge = exchange(&mine, gateway, &first)?;
        let Some(proved) = account(cseq + 1).request(Some(&challenge)) else { break };
        anyhow::ensure!(exchange(&mine, gateway, &proved)?.code() == Some(200), "an honest registration is taken");
        // As a transaction of its own: a mere repeat would be answered to whom it was asked of.
        let stolen = String::from_utf8_lossy(&proved).replace("branch=z9hG4bKr", "branch=z9hG4bKs");
        let again = exchange(&thief, gateway, stolen.as_bytes())?.code();
        (taken, refused) = (taken + u64::from(again == Some(200)), refused + u64::from(again == Some(401)));
        scene.pause(Duration::from_millis(200));
    }
    let mut deeds = Deeds::default();
    deeds.count("replays refused", refused);
    deeds.at_most("replays taken", taken as f64, 0.0);
    deeds.at_most("nothing replayed", f64::from(u8::from(refused == 0)), 0.0);
    Ok(deeds)
}

/// One of every kind, malformed ones among them.
fn rubbish(dice: &mut Dice, from: SocketAddr, n: u64, calls: bool) -> String {
    match n % 8 {
        0 => request("OPTIONS", dice, from, ""),
        1 => request("REGISTER", dice, from, "Expires: 60\r\n"),
        2 => request("SUBSCRIBE", dice, from, "Event: presence\r\n"),
        // Where strangers are no trunk; on a trunk that would be what trunks are for.
        3 if calls => request("INVITE", dice, from, ""),
        3 => request("INVITE", dice, from, "CSeq: none\r\n"),
        4 => request("MESSAGE", dice, from, "Content-Type: text/plain\r\nContent-Length: 99999\r\n"),
        5 => request("FOO", dice, from, "X: \u{0}\u{1}\r\n"),
        6 => guessed(dice, from, n / 8),
        _ => String::from_utf8_lossy(&dice.octets(300)).into_owned(),
    }
}

pub(super) fn flood(scene: &Scene) -> anyhow::Result<Deeds> {
    let sockets = strangers(70, 200)?;
    let addresses: Vec<SocketAddr> = sockets.iter().map(UdpSocket::local_addr).collect::<Result<_, _>>()?;
    let before = scene.stage.pid.and_then(resident_mb);
    let (mut dice, mut sent, mut octets, mut back, mut peak) = (Dice(0xabcd), 0u64, 0u64, (0, 0), 0.0f64);
    while !scene.over() {
        for _ in 0..1000 {
            let of = (dice.roll() % sockets.len() as u64) as usize;
            let bytes = rubbish(&mut dice, addresses[of], sent, scene.stage.strangers_call);
            if sockets[of].send_to(bytes.as_bytes(), scene.stage.calls.sip).is_ok() {
                (sent, octets) = (sent + 1, octets + bytes.len() as u64);
            }
        }
        let (n, len) = received(&sockets);
        back = (back.0 + n, back.1 + len);
        peak = peak.max(scene.stage.pid.and_then(resident_mb).unwrap_or_default());
    }
    let mut deeds = Deeds::default();
    deeds.count("messages", sent);
    deeds.count("answered", back.0);
    deeds.at_most("octets back for one sent", back.1 as f64 / octets.max(1) as f64, 1.0);
    if let Some(before) = before {
        deeds.at_most("memory MB taken", peak - before, MEMORY_MB);
    }
    Ok(deeds)
}

/// Offers as no phone should make them.
const OFFERS: &[&str] = &[
    "",
    "v=0\r\n",
    "v=0\r\no=- 1 1 IN IP4 127.0.0.3\r\ns=-\r\nt=0 0\r\nm=audio 0 RTP/AVP 8\r\n",
    "v=0\r\no=- 1 1 IN IP4 127.0.0.3\r\ns=-\r\nc=IN IP4 224.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n",
    "v=0\r\no=- 1 1 IN IP4 127.0.0.3\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 15060 RTP/AVP 8\r\n",
    "v=0\r\no=- 1 1 IN IP4 127.0.0.3\r\ns=-\r\nc=IN IP6 ::1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n",
    "v=0\r\no=- 1 1 IN IP4 127.0.0.3\r\ns=-\r\nc=IN IP4 127.0.0.3\r\nt=0 0\r\nm=audio 4000 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\n",
    "v=0\r\no=- 1 1 IN IP4 127.0.0.3\r\ns=-\r\nc=IN IP4 255.255.255.255\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 8 8 8\r\na=ptime:0\r\n",
    "v=0\r\no=- 1 1 IN IP4 127.0.0.3\r\ns=-\r\nt=0 0\r\nm=video 4000 RTP/AVP 99\r\nc=IN IP4 127.0.0.3\r\n",
];

/// Each INVITE once, none acknowledged, then nothing more of the caller.
pub(super) fn callers(scene: &Scene) -> anyhow::Result<Deeds> {
    let socket = UdpSocket::bind(SocketAddr::new(scene.stage.calls.source, 0))?;
    socket.set_nonblocking(true)?;
    let from = socket.local_addr()?;
    let (mut dice, mut sent, mut last) = (Dice(0xca11), 0usize, (0, 0));
    while !scene.over() {
        let offer = OFFERS[sent % OFFERS.len()];
        let head = request(
            "INVITE",
            &mut dice,
            from,
            &format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n", offer.len()),
        );
        socket.send_to(format!("{head}{offer}").as_bytes(), scene.stage.calls.sip)?;
        sent += 1;
        scene.pause(Duration::from_millis(500));
        let (n, len) = received(std::slice::from_ref(&socket));
        last = (last.0 + n, last.1 + len);
    }
    let mut deeds = Deeds::default();
    deeds.count("lying calls", sent as u64);
    deeds.count("messages back", last.0);
    deeds.at_most("nobody answered", f64::from(u8::from(last.0 == 0)), 0.0);
    Ok(deeds)
}
