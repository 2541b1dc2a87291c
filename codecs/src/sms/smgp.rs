//! SMGP 3.0: China Telecom's Short Message Gateway Protocol. Message numbers are ten raw bytes, never a string.

use md5::{Digest as _, Md5};

use super::wire::{Fields, PduWriter, ten_digits};
pub use super::wire::{PduError, frame};

/// 12-byte header; a Submit to 100 numbers with every option stays below.
pub const FRAME: (usize, usize) = (12, 4096);

const LOGIN: u32 = 1;
const SUBMIT: u32 = 2;
const DELIVER: u32 = 3;
const ACTIVE_TEST: u32 = 4;
const EXIT: u32 = 6;
const RESP: u32 = 0x8000_0000;

const TLV_UDHI: u16 = 2;
const TLV_PK_TOTAL: u16 = 9;
const TLV_PK_NUMBER: u16 = 10;
const TLV_PID: u16 = 1;

pub const OK: u32 = 0;
/// Busy: try again.
pub const BUSY: u32 = 1;
pub const BAD_STRUCTURE: u32 = 10;
/// Log in to send and to receive.
pub const TRANSCEIVE: u8 = 2;
pub const VERSION: u8 = 0x30;

/// Gateway code, time and serial, BCD.
pub type MsgId = [u8; 10];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pdu<'a> {
    Login { client: [u8; 8], authenticator: [u8; 16], mode: u8, timestamp: u32, version: u8 },
    LoginResp { status: u32, authenticator: [u8; 16], version: u8 },
    Submit(Submit<'a>),
    SubmitResp { msg_id: MsgId, status: u32 },
    Deliver(Deliver<'a>),
    DeliverResp { msg_id: MsgId, status: u32 },
    ActiveTest,
    ActiveTestResp,
    Exit,
    ExitResp,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Submit<'a> {
    pub report: bool,
    /// 0 to 3.
    pub priority: u8,
    pub service: &'a [u8],
    pub msg_fmt: u8,
    pub source: &'a [u8],
    pub destination: &'a [u8],
    pub destinations: u8,
    pub content: &'a [u8],
    pub udhi: bool,
    /// Parts and which one this is; `(1, 1)` for a short message.
    pub part: (u8, u8),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Deliver<'a> {
    pub msg_id: MsgId,
    pub is_report: bool,
    pub msg_fmt: u8,
    /// `YYYYMMDDHHMMSS`.
    pub received: &'a [u8],
    pub source: &'a [u8],
    pub destination: &'a [u8],
    pub content: &'a [u8],
    pub udhi: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report<'a> {
    pub msg_id: MsgId,
    pub stat: &'a [u8],
}

/// MD5(client ‖ seven zeros ‖ secret ‖ ten digits of the time).
pub fn authenticator(client: [u8; 8], secret: &str, timestamp: u32) -> [u8; 16] {
    let mut md5 = Md5::new();
    md5.update(client);
    md5.update([0; 7]);
    md5.update(secret);
    md5.update(ten_digits(timestamp));
    md5.finalize().into()
}

/// MD5(status ‖ the client's authenticator ‖ secret).
pub fn server_authenticator(status: u32, client: &[u8; 16], secret: &str) -> [u8; 16] {
    let mut md5 = Md5::new();
    md5.update(status.to_be_bytes());
    md5.update(client);
    md5.update(secret);
    md5.finalize().into()
}

/// The account as it stands on the wire.
pub fn client(name: &str) -> [u8; 8] {
    let mut field = [0; 8];
    let len = name.len().min(8);
    field[..len].copy_from_slice(&name.as_bytes()[..len]);
    field
}

/// Reads one frame.
///
/// # Errors
/// What is wrong; a bad option list is `Truncated("TLV")`.
pub fn read(frame: &[u8]) -> Result<(u32, Pdu<'_>), PduError> {
    let mut f = Fields::new(frame);
    let _length = f.u32("PacketLength")?;
    let command = f.u32("RequestID")?;
    let sequence = f.u32("SequenceID")?;
    let pdu = match command {
        LOGIN => Pdu::Login {
            client: *f.array("ClientID")?,
            authenticator: *f.array("AuthenticatorClient")?,
            mode: f.u8("LoginMode")?,
            timestamp: f.u32("TimeStamp")?,
            version: f.u8("ClientVersion")?,
        },
        c if c == LOGIN | RESP => Pdu::LoginResp {
            status: f.u32("Status")?,
            authenticator: *f.array("AuthenticatorServer")?,
            version: f.u8("ServerVersion")?,
        },
        SUBMIT => Pdu::Submit(read_submit(&mut f)?),
        c if c == SUBMIT | RESP => Pdu::SubmitResp { msg_id: *f.array("MsgID")?, status: f.u32("Status")? },
        DELIVER => Pdu::Deliver(read_deliver(&mut f)?),
        c if c == DELIVER | RESP => Pdu::DeliverResp { msg_id: *f.array("MsgID")?, status: f.u32("Status")? },
        ACTIVE_TEST => Pdu::ActiveTest,
        c if c == ACTIVE_TEST | RESP => Pdu::ActiveTestResp,
        EXIT => Pdu::Exit,
        c if c == EXIT | RESP => Pdu::ExitResp,
        other => return Err(PduError::Unknown(other)),
    };
    Ok((sequence, pdu))
}

fn read_submit<'a>(f: &mut Fields<'a>) -> Result<Submit<'a>, PduError> {
    f.u8("MsgType")?;
    let report = f.u8("NeedReport")? == 1;
    let priority = f.u8("Priority")?;
    let service = f.text(10, "ServiceID")?;
    f.take(2 + 6 + 6, "FeeType to FixedFee")?;
    let msg_fmt = f.u8("MsgFormat")?;
    f.take(17 + 17, "ValidTime, AtTime")?;
    let source = f.text(21, "SrcTermID")?;
    f.take(21, "ChargeTermID")?;
    let destinations = f.u8("DestTermIDCount")?;
    if !(1..=100).contains(&destinations) {
        return Err(PduError::Field("DestTermIDCount"));
    }
    let destination = f.text(21, "DestTermID")?;
    f.take(21 * (usize::from(destinations) - 1), "DestTermID")?;
    let len = f.u8("MsgLength")?;
    let content = f.take(len as usize, "MsgContent")?;
    f.take(8, "Reserve")?;
    let mut submit = Submit {
        report,
        priority,
        service,
        msg_fmt,
        source,
        destination,
        destinations,
        content,
        udhi: false,
        part: (1, 1),
    };
    options(f, |tag, value| match tag {
        TLV_UDHI => submit.udhi = value == [1],
        TLV_PK_TOTAL => submit.part.0 = value.first().copied().unwrap_or(1),
        TLV_PK_NUMBER => submit.part.1 = value.first().copied().unwrap_or(1),
        _ => {}
    })?;
    Ok(submit)
}

fn read_deliver<'a>(f: &mut Fields<'a>) -> Result<Deliver<'a>, PduError> {
    let msg_id = *f.array("MsgID")?;
    let is_report = f.u8("IsReport")? == 1;
    let msg_fmt = f.u8("MsgFormat")?;
    let received = f.text(14, "RecvTime")?;
    let source = f.text(21, "SrcTermID")?;
    let destination = f.text(21, "DestTermID")?;
    let len = f.u8("MsgLength")?;
    let content = f.take(len as usize, "MsgContent")?;
    f.take(8, "Reserve")?;
    let mut udhi = false;
    options(f, |tag, value| udhi |= tag == TLV_UDHI && value == [1])?;
    Ok(Deliver { msg_id, is_report, msg_fmt, received, source, destination, content, udhi })
}

fn options<'a>(f: &mut Fields<'a>, mut seen: impl FnMut(u16, &'a [u8])) -> Result<(), PduError> {
    while !f.is_empty() {
        let (tag, len) = (f.u16("TLV")?, f.u16("TLV")?);
        seen(tag, f.take(len as usize, "TLV")?);
    }
    Ok(())
}

/// Writes one frame at the end of `out`.
pub fn write(sequence: u32, pdu: &Pdu<'_>, out: &mut Vec<u8>) {
    let command = match pdu {
        Pdu::Login { .. } => LOGIN,
        Pdu::LoginResp { .. } => LOGIN | RESP,
        Pdu::Submit(_) => SUBMIT,
        Pdu::SubmitResp { .. } => SUBMIT | RESP,
        Pdu::Deliver(_) => DELIVER,
        Pdu::DeliverResp { .. } => DELIVER | RESP,
        Pdu::ActiveTest => ACTIVE_TEST,
        Pdu::ActiveTestResp => ACTIVE_TEST | RESP,
        Pdu::Exit => EXIT,
        Pdu::ExitResp => EXIT | RESP,
    };
    let mut w = PduWriter::begin(out, command);
    w.u32(sequence);
    match pdu {
        Pdu::Login { client, authenticator, mode, timestamp, version } => {
            w.bytes(client).bytes(authenticator).u8(*mode).u32(*timestamp).u8(*version);
        }
        Pdu::LoginResp { status, authenticator, version } => {
            w.u32(*status).bytes(authenticator).u8(*version);
        }
        Pdu::Submit(s) => {
            // MsgType 6: a message to a handset. FeeType 00: free.
            w.u8(6).u8(s.report.into()).u8(s.priority).text(s.service, 10).bytes(b"00").text(b"0", 6).text(b"0", 6);
            w.u8(s.msg_fmt).zeros(34).text(s.source, 21).zeros(21).u8(1).text(s.destination, 21);
            let content = &s.content[..s.content.len().min(255)];
            w.u8(content.len() as u8).bytes(content).zeros(8);
            if s.udhi {
                for (tag, value) in [(TLV_PID, 0), (TLV_UDHI, 1), (TLV_PK_TOTAL, s.part.0), (TLV_PK_NUMBER, s.part.1)] {
                    w.u16(tag).u16(1).u8(value);
                }
            }
        }
        Pdu::Deliver(d) => {
            w.bytes(&d.msg_id).u8(d.is_report.into()).u8(d.msg_fmt).text(d.received, 14).text(d.source, 21);
            let content = &d.content[..d.content.len().min(255)];
            w.text(d.destination, 21).u8(content.len() as u8).bytes(content).zeros(8);
            if d.udhi {
                w.u16(TLV_UDHI).u16(1).u8(1);
            }
        }
        Pdu::SubmitResp { msg_id, status } | Pdu::DeliverResp { msg_id, status } => {
            w.bytes(msg_id).u32(*status);
        }
        Pdu::ActiveTest | Pdu::ActiveTestResp | Pdu::Exit | Pdu::ExitResp => {}
    }
    w.end();
}

/// Reads the content of a state report: labels around a binary number, so they are looked for behind it.
///
/// # Errors
/// `Field` when it does not begin with `id:`, or says no state.
pub fn read_report(content: &[u8]) -> Result<Report<'_>, PduError> {
    let rest = content.strip_prefix(b"id:").ok_or(PduError::Field("id"))?;
    let (msg_id, rest) = rest.split_first_chunk::<10>().ok_or(PduError::Truncated("id"))?;
    let at = rest.windows(5).position(|w| w.eq_ignore_ascii_case(b"stat:")).ok_or(PduError::Field("stat"))?;
    let stat = rest.get(at + 5..at + 12).ok_or(PduError::Truncated("stat"))?;
    Ok(Report { msg_id: *msg_id, stat })
}

/// The content of a state report, for the side that sends them; `minute` is `YYMMDDhhmm`.
pub fn write_report(report: &Report<'_>, minute: &str) -> Vec<u8> {
    let mut content = b"id:".to_vec();
    content.extend_from_slice(&report.msg_id);
    content.extend_from_slice(format!(" sub:001 dlvrd:001 submit date:{minute} done date:{minute} stat:").as_bytes());
    content.extend_from_slice(report.stat);
    content.extend_from_slice(b" err:000 text:013");
    content.extend_from_slice(&[0; 17]);
    content
}

#[cfg(test)]
mod tests {
    use super::super::wire::testing::hex;
    use super::*;

    fn both_ways(text: &str, sequence: u32, pdu: &Pdu<'_>) {
        let bytes = hex(text);
        assert_eq!(frame(&bytes, FRAME.0, FRAME.1), Ok(Some(bytes.len())));
        assert_eq!(read(&bytes), Ok((sequence, *pdu)));
        let mut out = Vec::new();
        write(sequence, pdu, &mut out);
        assert_eq!(out, bytes);
    }

    #[test]
    fn login_and_its_answer_are_byte_exact() {
        let client = client("12345678");
        let authenticator = authenticator(client, "shared_secret", 301_000_000);
        let login = Pdu::Login { client, authenticator, mode: TRANSCEIVE, timestamp: 0x11f0_e540, version: VERSION };
        both_ways(
            "0000002a0000000100000001 3132333435363738 6c0f06f5698366c05502cdb1f39ef224 02 11f0e540 30",
            1,
            &login,
        );
        let answer = server_authenticator(0, &authenticator, "shared_secret");
        let resp = Pdu::LoginResp { status: 0, authenticator: answer, version: VERSION };
        both_ways("000000218000000100000001 00000000 5d27cdb1962dd02855d3c76ad96066a6 30", 1, &resp);
    }

    #[test]
    fn submit_and_deliver_are_byte_exact() {
        let submit = Submit {
            report: true,
            priority: 1,
            service: b"POLICE",
            msg_fmt: 8,
            source: b"11812110",
            destination: b"13301234567",
            destinations: 1,
            content: &[0x00, 0x31, 0x00, 0x31, 0x00, 0x30, 0x5d, 0xf2, 0x65, 0x36, 0x52, 0x30],
            udhi: false,
            part: (1, 1),
        };
        both_ways(
            "0000009f0000000200000002060101504f4c4943450000000030303000000000003000000000000800000000000000000000000000000000000000000000000000000000000000000000313138313231313000000000000000000000000000000000000000000000000000000000000000000000013133333031323334353637000000000000000000000c0031003100305df2653652300000000000000000",
            2,
            &Pdu::Submit(submit),
        );
        let long = Submit { udhi: true, part: (1, 1), ..submit };
        let mut out = Vec::new();
        write(2, &Pdu::Submit(long), &mut out);
        assert!(out.ends_with(&hex("0001000100 0002000101 0009000101 000a000101")));
        assert_eq!(read(&out), Ok((2, Pdu::Submit(long))));
        let mut msg_id = [0; 10];
        msg_id.copy_from_slice(&hex("01006101161700012345"));
        let deliver = Deliver {
            msg_id,
            msg_fmt: 8,
            received: b"20261121231600",
            source: b"13301234567",
            destination: b"11812110",
            content: &[0x67, 0x09, 0x4e, 0xba, 0x62, 0x53, 0x67, 0xb6],
            ..Deliver::default()
        };
        both_ways(
            "00000061000000030000000401006101161700012345000832303236313132313233313630303133333031323334353637000000000000000000003131383132313130000000000000000000000000000867094eba625367b60000000000000000",
            4,
            &Pdu::Deliver(deliver),
        );
    }

    #[test]
    fn a_state_report_is_read_around_its_binary_number() {
        let body = hex(
            "69643a01006101161700012345207375623a30303120646c7672643a303031207375626d697420646174653a3236313132313233313520646f6e6520646174653a3236313132313233313620737461743a44454c49565244206572723a30303020746578743a3031330000000000000000000000000000000000",
        );
        let report = read_report(&body).expect("reads");
        assert_eq!((&report.msg_id[..], report.stat), (&hex("01006101161700012345")[..], &b"DELIVRD"[..]));
        assert_eq!(write_report(&report, "2611212315").len(), body.len());
        assert!(read_report(b"id:123").is_err());
    }

    #[test]
    fn a_truncated_option_refuses_the_pdu() {
        let mut out = Vec::new();
        write(1, &Pdu::Deliver(Deliver { content: b"x", udhi: true, ..Deliver::default() }), &mut out);
        assert_eq!(read(&out[..out.len() - 1]), Err(PduError::Truncated("TLV")));
    }
}
