//! Connections that only sit, or never finish what they began: closed in time, and nobody else notices.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use loadtest::api::Api;

use crate::loopback::{Gateway, World};

fn connect(address: SocketAddr, first: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    stream.write_all(first).expect("written");
    stream
}

/// Everything until the other side ends it, and when that was.
fn until_closed(mut stream: TcpStream, begun: Instant) -> (Vec<u8>, Duration) {
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    (said, begun.elapsed())
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what is measured is how long a real connection stays open")]
fn whoever_sits_dribbles_or_says_too_much_is_closed_within_ten_seconds_and_calls_go_on() {
    let gateway = crate::text::gateway("idle", 19_000, crate::text::KIOSK);
    let token = std::fs::read_to_string(gateway.dir.join("data/token")).expect("a token");
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(40_000));
    let half_a_body = "POST /hook/kiosk HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf";
    let begun = Instant::now();
    let idle = [
        connect(gateway.http, b""),
        connect(gateway.http, b"GET / HTTP/1.1\r\nHo"),
        connect(gateway.http, half_a_body.as_bytes()),
        connect(gateway.admin, b""),
        connect(gateway.sip, b""),
        connect(gateway.sip, b"OPTIONS sip:a SIP/2.0\r\nVia"),
        connect(gateway.sip, b"\r\n\r\n"),
        // Kept alive after an answer, and then nothing more.
        connect(gateway.http, b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"),
    ];
    let closing: Vec<_> = idle.into_iter().map(|s| std::thread::spawn(move || until_closed(s, begun))).collect();
    let (said, took) = until_closed(connect(gateway.http, long.as_bytes()), begun);
    assert!(said.starts_with(b"HTTP/1.1 431") && took < Duration::from_secs(5), "{}", String::from_utf8_lossy(&said));
    // One that has shown who it is and keeps up may take its time.
    let head = format!(
        "POST /v1/alerts/1/transcript HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 60000\r\n\
         Connection: close\r\n\r\n",
        token.trim()
    );
    let slow = std::thread::spawn(move || {
        let mut stream = connect(gateway.http, head.as_bytes());
        for _ in 0..30 {
            let _ = stream.write_all(&[b' '; 2000]);
            std::thread::park_timeout(Duration::from_millis(450));
        }
        until_closed(stream, begun)
    });
    // And meanwhile.
    let mut world = World::new(&gateway);
    world.answered_call("13800000071");
    for (n, thread) in closing.into_iter().enumerate() {
        let (said, took) = thread.join().expect("read");
        let within = Duration::from_millis(9500)..Duration::from_millis(13_500);
        assert!(within.contains(&took), "connection {n} was closed after {took:?}: {}", String::from_utf8_lossy(&said));
    }
    let (said, _) = slow.join().expect("read");
    assert!(said.starts_with(b"HTTP/1.1 422"), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn more_connections_than_there_may_be_keep_nobody_out() {
    let dir = Gateway::prepare("crowd", 14_000);
    let path = dir.join("city.toml");
    let text = std::fs::read_to_string(&path).expect("a configuration");
    std::fs::write(&path, text.replace("connections     = 2000", "connections     = 20")).expect("written");
    let gateway = Gateway::run(dir);
    for address in [gateway.http, gateway.sip] {
        let sitting: Vec<TcpStream> = (0..60).map(|_| connect(address, b"")).collect();
        let (status, _) = gateway.api().request("GET", "/openapi.json", "").expect("answered");
        assert_eq!(status, 200, "a new one is let in, and one that only sits makes room");
        drop(sitting);
    }
    let mut stream = connect(gateway.sip, b"");
    let options = format!(
        "OPTIONS sip:{0} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
         From: <sip:a@b>;tag=1\r\nTo: <sip:{0}>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
        gateway.sip
    );
    stream.write_all(options.as_bytes()).expect("written");
    let mut head = [0; 12];
    stream.read_exact(&mut head).expect("an answer");
    assert_eq!(&head, b"SIP/2.0 200 ");
    let metrics = Api::new(gateway.admin, "").request("GET", "/metrics", "").expect("answered").1;
    for told in
        ["gateway_http_closed_total{listener=\"api\",why=\"room\"}", "gateway_limit_half_total{limit=\"api\"} 1"]
    {
        assert!(metrics.contains(told), "{told}");
    }
}
