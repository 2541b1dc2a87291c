//! Inputs that reach far: messages of the corpora, what our own writers write, and scripts of whole calls.

use std::path::Path;

use codecs::sms::cmpp::{self, Version};
use codecs::sms::{sgip, smgp, smpp};

use crate::script::script;

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../codecs/corpus").join(name);
    let mut files: Vec<_> = std::fs::read_dir(&dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
    files.sort();
    let wanted = files.iter().filter(|f| !matches!(f.extension().and_then(|e| e.to_str()), Some("json")));
    wanted.filter_map(|f| std::fs::read(f).ok()).filter(|bytes| bytes.len() < 16_384).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn texts(all: &[&str]) -> Vec<Vec<u8>> {
    all.iter().map(|t| t.as_bytes().to_vec()).collect()
}

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 101\r\n\
                   a=rtpmap:101 telephone-event/8000\r\n";

fn invite(number: u8, extra: &str, sdp: &str) -> Vec<u8> {
    format!(
        "INVITE sip:110@10.0.0.9 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKa{number};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:13800000000@10.0.0.1>;tag=f{number}\r\nTo: <sip:110@10.0.0.9>\r\n\
         Call-ID: c{number}\r\nCSeq: 1 INVITE\r\nContact: <sip:a@10.0.0.1>\r\n{extra}\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
    .into_bytes()
}

/// A request in the dialog that an INVITE began.
fn within(method: &str, number: u8, cseq: u32) -> Vec<u8> {
    let branch = if method == "CANCEL" { format!("a{number}") } else { format!("b{number}{cseq}{method}") };
    let tag = if method == "CANCEL" { "" } else { ";tag=%T" };
    format!(
        "{method} sip:110@10.0.0.9 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK{branch};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:13800000000@10.0.0.1>;tag=f{number}\r\nTo: <sip:110@10.0.0.9>{tag}\r\n\
         Call-ID: c{number}\r\nCSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

/// The answer to a request of ours.
fn answer(code: u16, method: &str, ip: &str, sdp: bool) -> Vec<u8> {
    let body = if sdp { SDP.replace("10.0.0.1", ip) } else { String::new() };
    format!(
        "SIP/2.0 {code} X\r\nVia: SIP/2.0/UDP 10.0.0.9:5060;branch=%B\r\nFrom: <sip:110@sim>;tag=%t\r\n\
         To: <sip:x@10.0.0.1>;tag=theirs\r\nCall-ID: %C\r\nCSeq: %Q {method}\r\nContact: <sip:x@{ip}>\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn register(cseq: u32, credentials: bool) -> Vec<u8> {
    let authorization = if credentials { "Authorization: %D\r\n" } else { "" };
    format!(
        "REGISTER sip:sim SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKr{cseq}\r\nMax-Forwards: 70\r\n\
         From: <sip:1001@sim>;tag=r\r\nTo: <sip:1001@sim>\r\nCall-ID: r\r\nCSeq: {cseq} REGISTER\r\n\
         Contact: <sip:1001@10.0.0.2>\r\nExpires: 60\r\n{authorization}Content-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

fn message(number: u8, text: &str) -> Vec<u8> {
    format!(
        "MESSAGE sip:110@10.0.0.9 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKm{number}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:138@10.0.0.1>;tag=m\r\nTo: <sip:110@10.0.0.9>\r\nCall-ID: m{number}\r\n\
         CSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )
    .into_bytes()
}

pub(crate) fn sip_messages() -> Vec<Vec<u8>> {
    let mut all = corpus("rfc4475");
    all.extend(corpus("rfc5118"));
    all.extend([invite(1, "", SDP), within("BYE", 1, 2), register(1, true), answer(200, "INVITE", "10.0.0.1", true)]);
    all
}

pub(crate) fn sip_streams() -> Vec<Vec<u8>> {
    let two = [invite(1, "", SDP), b"\r\n\r\n".to_vec(), within("BYE", 1, 2)].concat();
    [1, 7, 200].iter().map(|piece| [&[*piece], &two[..]].concat()).collect()
}

pub(crate) fn digests() -> Vec<Vec<u8>> {
    texts(&[
        "Digest username=\"1001\",realm=\"sim\",nonce=\"a\",uri=\"sip:sim\",response=\"0\",qop=auth,nc=00000001,cnonce=\"c\"",
        "Digest realm=\"a, b\", algorithm=SHA-256 , nonce=\"\\\"\"",
    ])
}

pub(crate) fn multiparts() -> Vec<Vec<u8>> {
    texts(&[
        "multipart/mixed;boundary=b\n--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--b\r\n\
         Content-Type: application/pidf+xml\r\n\r\n<p/>\r\n--b--\r\n",
        "application/sdp\nv=0\r\n",
    ])
}

pub(crate) fn sdps() -> Vec<Vec<u8>> {
    texts(&[
        SDP,
        "v=0\r\no=- 1 1 IN IP6 ::1\r\ns=-\r\nc=IN IP6 2001:db8::1\r\nt=0 0\r\nm=audio 9 RTP/SAVPF 111 8\r\nm=video 9 RTP/AVP 96\r\n",
        "v=0\no=- 1 1 IN IP4 h\ns=-\nt=0 0\na=sendonly\nm=audio 4000/2 RTP/AVPF 0 8 96\nc=IN IP4 224.0.0.1/3\na=rtcp:4001 IN IP4 10.0.0.3\n\
         a=ssrc:7 cname:x\na=rtpmap:96 telephone-event/8000/1\na=inactive\n",
    ])
}

fn rtp_packet(payload_type: u8, sequence: u8, payload: &[u8]) -> Vec<u8> {
    let stamp = u32::from(sequence) * 160;
    [&[0x80, payload_type, 0, sequence], &stamp.to_be_bytes()[..], &[0, 0, 0, 9], payload].concat()
}

pub(crate) fn rtps() -> Vec<Vec<u8>> {
    vec![rtp_packet(8, 1, &[0xD5; 160]), rtp_packet(101, 2, &[5, 0x8A, 0, 160]), rtp_packet(13, 3, &[60])]
}

pub(crate) fn rtcps() -> Vec<Vec<u8>> {
    let mut bytes = [0; 256];
    let sender = codecs::rtp::rtcp::Sender { ntp: 1, rtp_timestamp: 2, packets: 3, octets: 4 };
    let report = codecs::rtp::rtcp::Report { ssrc: 9, ..Default::default() };
    let len = codecs::rtp::rtcp::write(&mut bytes, 7, Some(sender), Some(report), "cname");
    vec![bytes[..len].to_vec(), unhex("80c90001000000078 1cb000100000007")]
}

pub(crate) fn sms_texts() -> Vec<Vec<u8>> {
    let long = [&[5, 0, 3, 7, 2, 1][..], &"火警在这里".repeat(14).into_bytes()].concat();
    vec![b"\0help".to_vec(), long, unhex("060804 0001 0201 4f60597d")]
}

pub(crate) fn wechats() -> Vec<Vec<u8>> {
    texts(&[
        "<xml><ToUserName>a</ToUserName><FromUserName><![CDATA[u]]></FromUserName><CreateTime>1</CreateTime>\
         <MsgType>text</MsgType><Content>救命</Content><MsgId>7</MsgId></xml>",
        "<xml><FromUserName>u</FromUserName><MsgType>location</MsgType><Location_X>34.0</Location_X>\
         <Location_Y>117.0</Location_Y><Label>x</Label><MsgId>8</MsgId></xml>",
        "<xml><Encrypt>AAAA</Encrypt></xml>",
        "{\"FromUserName\":\"u\",\"MsgType\":\"event\",\"Event\":\"LOCATION\",\"Latitude\":34,\"Longitude\":117}",
    ])
}

pub(crate) fn qqs() -> Vec<Vec<u8>> {
    texts(&[
        "{\"op\":0,\"id\":\"e\",\"t\":\"C2C_MESSAGE_CREATE\",\"d\":{\"id\":\"m\",\"author\":{\"user_openid\":\"u\"},\"content\":\"x\",\
         \"attachments\":[{\"content_type\":\"image/png\",\"url\":\"http://h\"}]}}",
        "{\"op\":13,\"d\":{\"plain_token\":\"a\",\"event_ts\":\"1\"}}",
    ])
}

pub(crate) fn weibos() -> Vec<Vec<u8>> {
    texts(&[
        "{\"type\":\"text\",\"sender_id\":7,\"created_at\":\"Mon\",\"text\":\"x\",\"data\":{}}",
        "{\"type\":\"position\",\"sender_id\":\"7\",\"data\":{\"longitude\":\"117.0\",\"latitude\":\"34.0\"}}",
    ])
}

/// Cases of another agency, and a revision of another front door.
pub(crate) fn agencies() -> Vec<Vec<u8>> {
    let mut out = texts(&[
        "{\"specversion\":\"1.0\",\"id\":\"e\",\"source\":\"/119\",\"type\":\"t\",\"subject\":\"F1\",\"sequence\":\"3\",\"hops\":1,\
         \"data\":{\"text\":\"x\",\"level\":2,\"category\":\"400100\",\"location\":{\"lon\":117.5,\"lat\":34.8,\"datum\":\"GCJ02\"}}}",
        "{\"specversion\":\"1.0\",\"id\":\"e\",\"source\":\"s\",\"type\":\"t\",\"data\":{\"case_no\":\"1\",\"alert_no\":\
         \"370400000000202611291000000079\",\"text\":\"x\",\"hazards\":{\"weapons\":true},\"silent\":true}}",
    ]);
    out.extend(crate::shard::events_of(&shards()[0]).into_iter().take(3));
    out
}

pub(crate) fn webhooks() -> Vec<Vec<u8>> {
    texts(&["v1,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
}

/// Records, notes and events of a short history.
pub(crate) fn records() -> Vec<Vec<u8>> {
    let mut out = texts(&[
        "2026-11-29T10:00:00.123+08:00",
        "370400000000202611291000000079",
        "{\"officer\":\"2000\",\"on_duty\":true}",
    ]);
    out.extend(crate::shard::events_of(&shards()[0]));
    out
}

pub(crate) fn geojsons() -> Vec<Vec<u8>> {
    texts(&[
        "{\"type\":\"FeatureCollection\",\"features\":[{\"type\":\"Feature\",\"properties\":{\"grid_id\":\"G\"},\"geometry\":\
             {\"type\":\"Polygon\",\"coordinates\":[[[117.0,34.0],[117.1,34.0],[117.1,34.1],[117.0,34.0]]]}}]}",
    ])
}

pub(crate) fn audios() -> Vec<Vec<u8>> {
    let piece = [&[1, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0][..], &[0xD5; 4]].concat();
    vec![piece, codecs::audio::wav::write(codecs::audio::g711::Law::Mu, &[0xFF; 33])]
}

/// Each frame by itself, and all of them in one stream.
fn link(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut steps: Vec<(u8, &[u8])> = vec![(b's', "救命".as_bytes())];
    steps.extend(frames.iter().map(|f| (b'r', &f[..])));
    steps.push((b't', &[0, 0, 0xFF, 0xFF]));
    steps.push((b's', &[b'x'; 300]));
    vec![script(&steps), script(&[(b'r', &frames.concat()), (b'x', b""), (b'c', b"")])]
}

pub(crate) fn cmpps() -> Vec<Vec<u8>> {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../codecs/corpus/cmpp/pdus.json"));
    let all: Vec<serde_json::Value> = serde_json::from_str(&text.unwrap_or_default()).unwrap_or_default();
    let mut frames: Vec<Vec<u8>> = all.iter().filter_map(|p| p["hex"].as_str()).map(unhex).collect();
    for version in [Version::V2, Version::V3] {
        let mut write = |sequence, pdu: &cmpp::Pdu<'_>| {
            let mut out = Vec::new();
            cmpp::write(version, sequence, pdu, &mut out);
            frames.push(out);
        };
        write(1, &cmpp::Pdu::ConnectResp { status: 0, authenticator: [0; 16], version: version.byte() });
        let deliver = cmpp::Deliver {
            msg_id: 7,
            destination: b"12110",
            source: b"13800138000",
            content: b"help",
            ..Default::default()
        };
        write(9, &cmpp::Pdu::Deliver(deliver));
        write(2, &cmpp::Pdu::SubmitResp { msg_id: 8, result: 0 });
        write(10, &cmpp::Pdu::ActiveTest);
        write(11, &cmpp::Pdu::Terminate);
    }
    link(&frames)
}

pub(crate) fn smpps() -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../codecs/corpus/smpp/pdus.hex"));
    let mut frames: Vec<Vec<u8>> = text.unwrap_or_default().lines().map(unhex).collect();
    let deliver = smpp::Message {
        source: smpp::Address { digits: b"13800138000", ..Default::default() },
        destination: smpp::Address { digits: b"12110", ..Default::default() },
        content: b"help",
        ..Default::default()
    };
    let mut out = Vec::new();
    smpp::write(smpp::Header { status: 0, sequence: 9 }, &smpp::Pdu::Deliver(deliver), &mut out);
    frames.insert(0, unhex("00000015800000090000000000000001 6162636400"));
    frames.insert(1, out);
    link(&frames)
}

pub(crate) fn sgips() -> Vec<Vec<u8>> {
    let sequence = sgip::Sequence { node: 1, time: 1_129_000_000, counter: 9 };
    let write = |pdu: &sgip::Pdu<'_>| {
        let mut out = Vec::new();
        sgip::write(sequence, pdu, &mut out);
        out
    };
    let bind = write(&sgip::Pdu::Bind { login_type: 2, name: b"peer", password: b"secret" });
    let deliver = write(&sgip::Pdu::Deliver(sgip::Deliver {
        source: b"13800138000",
        destination: b"12110",
        content: b"help",
        ..Default::default()
    }));
    let mut out = link(&[bind.clone(), deliver.clone()]);
    out.push(script(&[(b'a', b""), (b'r', &bind), (b'r', &deliver), (b't', &[0, 0, 0xFF, 0xFF])]));
    out
}

pub(crate) fn smgps() -> Vec<Vec<u8>> {
    let write = |sequence, pdu: &smgp::Pdu<'_>| {
        let mut out = Vec::new();
        smgp::write(sequence, pdu, &mut out);
        out
    };
    let login = write(1, &smgp::Pdu::LoginResp { status: 0, authenticator: [0; 16], version: smgp::VERSION });
    let deliver = write(
        9,
        &smgp::Pdu::Deliver(smgp::Deliver {
            source: b"13800138000",
            destination: b"12110",
            content: b"help",
            ..Default::default()
        }),
    );
    link(&[login, deliver, write(3, &smgp::Pdu::ActiveTest)])
}

pub(crate) fn sip_endpoints() -> Vec<Vec<u8>> {
    let call =
        [invite(1, "", SDP), within("ACK", 1, 1), within("BYE", 1, 2), within("CANCEL", 2, 1), invite(2, "", SDP)];
    let ok = answer(200, "INVITE", "10.0.0.1", true);
    let bye = answer(200, "BYE", "10.0.0.1", false);
    let (plain, proved) = (register(1, false), register(2, true));
    vec![
        script(&[
            (b'M', &call[0]),
            (b'g', b""),
            (b'a', b""),
            (b'M', &call[1]),
            (b'o', b""),
            (b't', &[0, 0, 40, 0]),
            (b'M', &call[2]),
        ]),
        script(&[(b'M', &call[4]), (b'M', &call[3]), (b't', &[0, 1, 0, 0])]),
        script(&[(b'i', b"hello"), (b'M', &ok), (b'M', &ok), (b'h', b""), (b'M', &bye)]),
        script(&[(b'R', &plain), (b'R', &proved), (b'i', b"x"), (b'R', &answer(486, "INVITE", "10.0.0.2", false))]),
        script(&[(b'T', &call[0]), (b'a', b""), (b'x', b""), (b'u', b""), (b't', &[0, 1, 0, 0]), (b'z', b"")]),
        script(&[
            (b'M', &message(1, "x")),
            (b'P', b""),
            (b'p', b"y"),
            (b'M', &answer(200, "MESSAGE", "10.0.0.1", false)),
        ]),
        script(&[(b'M', &call[0]), (b'a', b""), (b'M', &call[1]), (b'M', &reinvite(1)), (b'n', b""), (b'h', b"")]),
    ]
}

fn reinvite(number: u8) -> Vec<u8> {
    let text = String::from_utf8_lossy(&invite(number, "", SDP)).into_owned();
    let text = text.replace(&format!("z9hG4bKa{number}"), "z9hG4bKre").replace("CSeq: 1 ", "CSeq: 3 ");
    text.replace("To: <sip:110@10.0.0.9>", "To: <sip:110@10.0.0.9>;tag=%T").into_bytes()
}

pub(crate) fn media_engines() -> Vec<Vec<u8>> {
    let packets: Vec<Vec<u8>> = (0..20).map(|n| rtp_packet(8, n, &[0x55; 160])).collect();
    let mut steps: Vec<(u8, &[u8])> = vec![(b'o', b"")];
    for packet in &packets {
        steps.extend([(b'a', &packet[..]), (b'b', &packet[..]), (b's', &packet[..]), (b't', &[1][..])]);
    }
    let event = rtp_packet(101, 30, &[5, 0x8A, 0, 160]);
    let report = rtcps().remove(0);
    vec![
        script(&steps),
        script(&[
            (b'a', &event),
            (b'A', &report),
            (b't', &[250]),
            (b'j', &[0xFF, 0xFF]),
            (b'b', &packets[3]),
            (b't', &[9]),
        ]),
        script(&[
            (b'n', b"a=sendonly\r\n"),
            (b'a', &packets[0]),
            (b'p', &packets[1]),
            (b'N', b"a=inactive\r\n"),
            (b't', &[5]),
        ]),
    ]
}

pub(crate) fn shards() -> Vec<Vec<u8>> {
    let voice = [&[0, 0][..], &rtp_packet(8, 1, &[0x55; 160])].concat();
    let seat_voice = [&[1, 1][..], &rtp_packet(8, 1, &[0x55; 160])].concat();
    let seat_ok = answer(200, "INVITE", "10.0.0.2", true);
    let officer_ok = answer(200, "INVITE", "10.0.0.3", true);
    let (call, ack, bye) = (invite(1, "", SDP), within("ACK", 1, 1), within("BYE", 1, 2));
    vec![
        script(&[
            (b'M', &call),
            (b'R', &answer(180, "INVITE", "10.0.0.2", false)),
            (b'R', &seat_ok),
            (b't', &[0, 0, 1, 0]),
            (b'M', &ack),
            (b'v', &voice),
            (b'v', &seat_voice),
            (b't', &[0, 0, 1, 0]),
            (b'A', b"3"),
            (b'O', &officer_ok),
            (b'v', &[&[2, 2][..], &rtp_packet(8, 1, &[0x55; 160])].concat()),
            (b't', &[0, 0, 4, 0]),
            (b'A', "p打架".as_bytes()),
            (b'M', &bye),
            (b'R', &answer(200, "BYE", "10.0.0.2", false)),
        ]),
        script(&[
            (b'M', &call),
            (b'R', &answer(486, "INVITE", "10.0.0.2", false)),
            (b't', &[0, 0, 0x10, 0]),
            (b'M', &bye),
        ]),
        script(&[(b'M', &call), (b'M', &within("CANCEL", 1, 1)), (b't', &[0, 0, 0x90, 0])]),
        script(&[(b'M', &invite(3, "Require: 100rel\r\n", "v=0\r\n")), (b'S', &invite(4, "", SDP))]),
        script(&[(b'M', &call), (b't', &[0, 0, 0x20, 0]), (b'M', &ack), (b't', &[0, 0, 0x90, 0])]),
    ]
}

pub(crate) fn casebooks() -> Vec<Vec<u8>> {
    vec![
        script(&[
            (b'm', "\x01打架".as_bytes()),
            (b't', &[0, 0, 1, 0]),
            (b's', "\x00马上到".as_bytes()),
            (b'l', "\x11路口".as_bytes()),
            (b'm', "\x00help".as_bytes()),
            (b'j', &[0, 1]),
            (b't', &[0, 0, 0xFF, 0xFF]),
            (b'd', &[0]),
        ]),
        script(&[(b'p', &[0x41, 3, 0x62, 0x53]), (b'p', &[0x42, 3, 0x67, 0xB6]), (b't', &[0, 1, 0, 0])]),
        script(&[(b'm', "\x22绑架".as_bytes()), (b'x', "\x0013800000002".as_bytes()), (b'b', &[3, 0xFF, 0xFE])]),
    ]
}

pub(crate) fn journals() -> Vec<Vec<u8>> {
    vec![
        script(&[
            (b'a', b"\x00one"),
            (b'a', b"\x01two"),
            (b'n', b""),
            (b'a', b"\x02three"),
            (b'k', b""),
            (b'd', &[0, 0, 9, 7]),
        ]),
        script(&[(b'a', b"\x00one"), (b'm', &[0, 0, 0, 8, 0, 0, 63]), (b'k', b""), (b'a', b"\x00two")]),
    ]
}

pub(crate) fn recordings() -> Vec<Vec<u8>> {
    let piece = [&[7, 1, 0][..], &[0xD5; 80]].concat();
    vec![
        script(&[(b'w', &piece), (b'w', &piece), (b'k', b""), (b'w', &piece), (b'e', &[7])]),
        script(&[(b'w', &piece), (b'd', &[0, 0, 50, 1, 2, 3]), (b'w', &piece)]),
    ]
}

pub(crate) fn app_frames() -> Vec<Vec<u8>> {
    let frames = [
        r#"{"v":1,"t":"hello","d":{"app":"a","ver":"1","resume":{"sid":"s1","last_seq":3}}}"#,
        r#"{"v":1,"t":"report.create","id":"a1","seq":1,"ack":2,"d":{"text":"help","silent":true,"contact":{"phone":"13800001234"},"location":{"lat":34.5,"lon":117.2,"datum":"gcj02","label":"x"}}}"#,
        r#"{"v":1,"t":"chat.msg","id":"a2","seq":2,"d":{"text":"more"}}"#,
        r#"{"v":1,"t":"loc","id":"a3","d":{"lat":34.5,"lon":117.2,"datum":"wgs84"}}"#,
        r#"{"v":1,"t":"ack","ack":7}"#,
        r#"{"v":1,"t":"ping","id":"p"}"#,
    ];
    frames.iter().map(|f| f.as_bytes().to_vec()).collect()
}

pub(crate) fn app_sessions() -> Vec<Vec<u8>> {
    // An app comes, greets, reports, is told a line, is lost, and comes again.
    let frames = app_frames();
    let mut all = b"\x20\n".to_vec();
    for (n, frame) in frames.iter().enumerate() {
        all.extend([&[if n % 2 == 0 { 0x10 } else { 0x50 }][..], frame, b"\n\x28line\n\x0cxx\n"].concat());
    }
    all.extend(b"\x04\n\x21x\n\x11");
    all.extend(&frames[0]);
    vec![all]
}
