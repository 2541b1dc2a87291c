//! Connections that say nothing, or hardly anything.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::{Deeds, Scene};

/// How long a connection that says nothing may stay (contract, Edges), and how long its end may take to be seen here.
const IDLE_S: f64 = 10.0;
const SEEN_S: f64 = 3.0;
/// From each address so many, so that neither side runs out of ports.
const A_SOURCE: usize = 500;

pub(super) fn idle_sip(scene: &Scene) -> anyhow::Result<Deeds> {
    idle(scene, scene.stage.calls.sip)
}

pub(super) fn idle_http(scene: &Scene) -> anyhow::Result<Deeds> {
    idle(scene, scene.stage.http)
}

pub(super) fn idle_admin(scene: &Scene) -> anyhow::Result<Deeds> {
    idle(scene, scene.stage.admin)
}

fn connect(to: SocketAddr, nth: usize) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let source = IpAddr::from([127, 67, (nth / A_SOURCE) as u8, 1]);
    socket.bind(&SocketAddr::new(source, 0).into())?;
    socket.connect_timeout(&to.into(), Duration::from_secs(2))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Whether the other side has ended it.
fn is_over(stream: &mut TcpStream) -> bool {
    let mut buffer = [0u8; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != ErrorKind::WouldBlock,
        }
    }
}

/// Opens as many as told and waits for the end of each.
fn idle(scene: &Scene, to: SocketAddr) -> anyhow::Result<Deeds> {
    let (mut open, mut refused, mut longest) = (VecDeque::new(), 0u64, 0.0f64);
    let mut opened = 0;
    for nth in 0..scene.stage.connections {
        match connect(to, nth) {
            Ok(stream) => {
                opened += 1;
                open.push_back((stream, scene.clock.now()));
            }
            Err(_) => refused += 1,
        }
    }
    let begun = scene.clock.now();
    while !open.is_empty() && (scene.clock.now() - begun).as_secs_f64() < IDLE_S + 2.0 * SEEN_S {
        let now = scene.clock.now();
        open.retain_mut(|(stream, since)| {
            let over = is_over(stream);
            if over {
                longest = longest.max((now - *since).as_secs_f64());
            }
            !over
        });
        scene.pause(Duration::from_millis(100));
    }
    let mut deeds = Deeds::default();
    deeds.count("opened", opened);
    deeds.at_most("connections refused", refused as f64, 0.0);
    deeds.at_most("connections that stayed", open.len() as f64, 0.0);
    deeds.at_most("longest connection s", longest, IDLE_S + SEEN_S);
    Ok(deeds)
}

/// Nothing but pings, as fast as they are taken; the answers are not read.
pub(super) fn pings(scene: &Scene) -> anyhow::Result<Deeds> {
    let text = b"\r\n\r\n".repeat(4096);
    let (mut open, mut octets, mut ended) = (VecDeque::new(), 0u64, 0);
    while !scene.pause(Duration::from_millis(1)) {
        while open.len() < 100
            && let Ok(stream) = connect(scene.stage.calls.sip, open.len())
        {
            open.push_back(stream);
        }
        open.retain_mut(|stream| match stream.write(&text) {
            Ok(len) => {
                octets += len as u64;
                true
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => true,
            Err(_) => {
                ended += 1;
                false
            }
        });
    }
    let mut deeds = Deeds::default();
    deeds.count("pings", octets / 4);
    deeds.count("connections ended", ended);
    deeds.at_most("nobody was left", f64::from(u8::from(ended == 0)), 0.0);
    Ok(deeds)
}

/// One octet a second, to SIP and to HTTP.
pub(super) fn drips(scene: &Scene) -> anyhow::Result<Deeds> {
    let sip = b"INVITE sip:110@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.67.0.1;branch=z9hG4bKdrip\r\n".as_slice();
    let http = b"POST /v1/outbound HTTP/1.1\r\nHost: gateway\r\nContent-Length: 100\r\n".as_slice();
    let (mut open, mut longest, mut opened) = (Vec::new(), 0.0f64, 0);
    for nth in 0..200 {
        let (to, text) = if nth % 2 == 0 { (scene.stage.calls.sip, sip) } else { (scene.stage.http, http) };
        if let Ok(stream) = connect(to, nth) {
            opened += 1;
            open.push((stream, text, scene.clock.now()));
        }
    }
    for beat in 0..(IDLE_S + 2.0 * SEEN_S) as usize {
        let now = scene.clock.now();
        open.retain_mut(|(stream, text, since)| {
            let sent = text.get(beat).is_none_or(|b| stream.write_all(&[*b]).is_ok());
            let over = !sent || is_over(stream);
            if over {
                longest = longest.max((now - *since).as_secs_f64());
            }
            !over
        });
        scene.pause(Duration::from_secs(1));
    }
    let mut deeds = Deeds::default();
    deeds.count("opened", opened);
    deeds.at_most("connections that stayed", open.len() as f64, 0.0);
    deeds.at_most("longest connection s", longest, IDLE_S + SEEN_S);
    Ok(deeds)
}
