//! CMPP 2.0 and 3.0: China Mobile Peer to Peer, between a service provider (us) and the operator's ISMG.
//!
//! Layouts: QB-GF-028-2003 (3.0) and its 2.0 predecessor. The two differ in the width of numbers, of results and of
//! the tail.

use md5::{Digest as _, Md5};

use super::wire::{Fields, PduWriter, ten_digits};
pub use super::wire::{PduError, frame};

/// The shortest and the longest frame that can be (12-byte header; the longest legal SUBMIT has 3,491 bytes).
pub const FRAME: (usize, usize) = (12, 4096);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    V2,
    V3,
}

impl Version {
    /// By the high nibble of the version byte: clients also send 0x21 and 0x12.
    pub fn from_byte(byte: u8) -> Version {
        if byte >> 4 >= 3 { Version::V3 } else { Version::V2 }
    }

    pub fn byte(self) -> u8 {
        match self {
            Version::V2 => 0x20,
            Version::V3 => 0x30,
        }
    }

    fn number_width(self) -> usize {
        match self {
            Version::V2 => 21,
            Version::V3 => 32,
        }
    }

    fn tail(self) -> usize {
        match self {
            Version::V2 => 8,
            Version::V3 => 20,
        }
    }
}

const CONNECT: u32 = 1;
const TERMINATE: u32 = 2;
const SUBMIT: u32 = 4;
const DELIVER: u32 = 5;
const ACTIVE_TEST: u32 = 8;
const RESP: u32 = 0x8000_0000;

/// Results of SUBMIT_RESP and DELIVER_RESP.
pub const OK: u32 = 0;
/// Flow control: back off and send again.
pub const FLOW_CONTROL: u32 = 8;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pdu<'a> {
    Connect { account: [u8; 6], authenticator: [u8; 16], version: u8, timestamp: u32 },
    ConnectResp { status: u32, authenticator: [u8; 16], version: u8 },
    Terminate,
    TerminateResp,
    Submit(Submit<'a>),
    SubmitResp { msg_id: u64, result: u32 },
    Deliver(Deliver<'a>),
    DeliverResp { msg_id: u64, result: u32 },
    ActiveTest,
    ActiveTestResp,
}

/// A message to a handset. Fields that are always the same on our side are written as their neutral value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Submit<'a> {
    /// Parts and which one this is, from 1.
    pub total: u8,
    pub number: u8,
    /// Whether a state report is wanted.
    pub report: bool,
    pub level: u8,
    pub service: &'a [u8],
    /// The content begins with a user data header.
    pub udhi: bool,
    pub msg_fmt: u8,
    pub account: &'a [u8],
    /// Shown as the sender.
    pub source: &'a [u8],
    /// The first of `destinations`.
    pub destination: &'a [u8],
    pub destinations: u8,
    pub content: &'a [u8],
}

/// A message from a handset, or a state report.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Deliver<'a> {
    pub msg_id: u64,
    /// The service number that was written to.
    pub destination: &'a [u8],
    pub service: &'a [u8],
    pub udhi: bool,
    pub msg_fmt: u8,
    pub source: &'a [u8],
    /// The source is a pseudonym, not a telephone number (3.0).
    pub pseudonym: bool,
    pub is_report: bool,
    pub content: &'a [u8],
}

/// A state report: what became of a SUBMIT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report<'a> {
    pub msg_id: u64,
    /// `DELIVRD`, `UNDELIV`, …
    pub stat: &'a [u8],
    pub destination: &'a [u8],
}

/// MD5(account ‖ nine zeros ‖ secret ‖ ten digits of the time).
pub fn authenticator(account: [u8; 6], secret: &str, timestamp: u32) -> [u8; 16] {
    let mut md5 = Md5::new();
    md5.update(account);
    md5.update([0; 9]);
    md5.update(secret);
    md5.update(ten_digits(timestamp));
    md5.finalize().into()
}

/// MD5(status ‖ the client's authenticator ‖ secret), with a status of one byte or of four: gateways disagree.
pub fn server_authenticator(status: &[u8], client: &[u8; 16], secret: &str) -> [u8; 16] {
    let mut md5 = Md5::new();
    md5.update(status);
    md5.update(client);
    md5.update(secret);
    md5.finalize().into()
}

/// Account name as it stands on the wire.
pub fn account(name: &str) -> [u8; 6] {
    let mut field = [0; 6];
    let len = name.len().min(6);
    field[..len].copy_from_slice(&name.as_bytes()[..len]);
    field
}

/// Reads one frame: its sequence number and what it says.
///
/// # Errors
/// What is wrong; `Unknown` commands are to be ignored (CMPP has no way to refuse one).
pub fn read(version: Version, frame: &[u8]) -> Result<(u32, Pdu<'_>), PduError> {
    let mut f = Fields::new(frame);
    let _length = f.u32("Total_Length")?;
    let command = f.u32("Command_Id")?;
    let sequence = f.u32("Sequence_Id")?;
    let result = |f: &mut Fields<'_>, version, what| match version {
        Version::V2 => f.u8(what).map(u32::from),
        Version::V3 => f.u32(what),
    };
    let pdu = match command {
        CONNECT => Pdu::Connect {
            account: *f.array("Source_Addr")?,
            authenticator: *f.array("AuthenticatorSource")?,
            version: f.u8("Version")?,
            timestamp: f.u32("Timestamp")?,
        },
        // The width of Status follows the server's idea of the version: its length tells.
        c if c == CONNECT | RESP => Pdu::ConnectResp {
            status: result(&mut f, if frame.len() >= 33 { Version::V3 } else { Version::V2 }, "Status")?,
            authenticator: *f.array("AuthenticatorISMG")?,
            version: f.u8("Version")?,
        },
        TERMINATE => Pdu::Terminate,
        c if c == TERMINATE | RESP => Pdu::TerminateResp,
        SUBMIT => Pdu::Submit(read_submit(version, &mut f)?),
        c if c == SUBMIT | RESP => {
            Pdu::SubmitResp { msg_id: f.u64("Msg_Id")?, result: result(&mut f, version, "Result")? }
        }
        DELIVER => Pdu::Deliver(read_deliver(version, &mut f)?),
        c if c == DELIVER | RESP => {
            Pdu::DeliverResp { msg_id: f.u64("Msg_Id")?, result: result(&mut f, version, "Result")? }
        }
        ACTIVE_TEST => Pdu::ActiveTest,
        c if c == ACTIVE_TEST | RESP => Pdu::ActiveTestResp,
        other => return Err(PduError::Unknown(other)),
    };
    Ok((sequence, pdu))
}

fn read_submit<'a>(version: Version, f: &mut Fields<'a>) -> Result<Submit<'a>, PduError> {
    f.take(8, "Msg_Id")?;
    let (total, number) = (f.u8("Pk_total")?, f.u8("Pk_number")?);
    let report = f.u8("Registered_Delivery")? == 1;
    let level = f.u8("Msg_level")?;
    let service = f.text(10, "Service_Id")?;
    f.take(1 + version.number_width(), "Fee_terminal_Id")?;
    if version == Version::V3 {
        f.u8("Fee_terminal_type")?;
    }
    f.u8("TP_pId")?;
    let udhi = f.u8("TP_udhi")? == 1;
    let msg_fmt = f.u8("Msg_Fmt")?;
    let account = f.text(6, "Msg_src")?;
    f.take(2 + 6 + 17 + 17, "FeeType to At_Time")?;
    let source = f.text(21, "Src_Id")?;
    let destinations = f.u8("DestUsr_tl")?;
    if destinations == 0 {
        return Err(PduError::Field("DestUsr_tl"));
    }
    let destination = f.text(version.number_width(), "Dest_terminal_Id")?;
    f.take(version.number_width() * (usize::from(destinations) - 1), "Dest_terminal_Id")?;
    if version == Version::V3 {
        f.u8("Dest_terminal_type")?;
    }
    let len = f.u8("Msg_Length")?;
    let content = f.take(len as usize, "Msg_Content")?;
    Ok(Submit {
        total,
        number,
        report,
        level,
        service,
        udhi,
        msg_fmt,
        account,
        source,
        destination,
        destinations,
        content,
    })
}

fn read_deliver<'a>(version: Version, f: &mut Fields<'a>) -> Result<Deliver<'a>, PduError> {
    let msg_id = f.u64("Msg_Id")?;
    let destination = f.text(21, "Dest_Id")?;
    let service = f.text(10, "Service_Id")?;
    f.u8("TP_pid")?;
    let udhi = f.u8("TP_udhi")? == 1;
    let msg_fmt = f.u8("Msg_Fmt")?;
    let source = f.text(version.number_width(), "Src_terminal_Id")?;
    let pseudonym = version == Version::V3 && f.u8("Src_terminal_type")? == 1;
    let is_report = f.u8("Registered_Delivery")? == 1;
    let len = f.u8("Msg_Length")?;
    let content = f.take(len as usize, "Msg_Content")?;
    Ok(Deliver { msg_id, destination, service, udhi, msg_fmt, source, pseudonym, is_report, content })
}

/// Writes one frame at the end of `out`.
pub fn write(version: Version, sequence: u32, pdu: &Pdu<'_>, out: &mut Vec<u8>) {
    let command = match pdu {
        Pdu::Connect { .. } => CONNECT,
        Pdu::ConnectResp { .. } => CONNECT | RESP,
        Pdu::Terminate => TERMINATE,
        Pdu::TerminateResp => TERMINATE | RESP,
        Pdu::Submit(_) => SUBMIT,
        Pdu::SubmitResp { .. } => SUBMIT | RESP,
        Pdu::Deliver(_) => DELIVER,
        Pdu::DeliverResp { .. } => DELIVER | RESP,
        Pdu::ActiveTest => ACTIVE_TEST,
        Pdu::ActiveTestResp => ACTIVE_TEST | RESP,
    };
    let mut w = PduWriter::begin(out, command);
    w.u32(sequence);
    let result = |w: &mut PduWriter<'_>, result: u32| {
        match version {
            Version::V2 => w.u8(result.min(255) as u8),
            Version::V3 => w.u32(result),
        };
    };
    match pdu {
        Pdu::Connect { account, authenticator, version, timestamp } => {
            w.bytes(account).bytes(authenticator).u8(*version).u32(*timestamp);
        }
        Pdu::ConnectResp { status, authenticator, version } => {
            result(&mut w, *status);
            w.bytes(authenticator).u8(*version);
        }
        Pdu::Submit(submit) => write_submit(version, &mut w, submit),
        Pdu::Deliver(deliver) => write_deliver(version, &mut w, deliver),
        Pdu::SubmitResp { msg_id, result: r } | Pdu::DeliverResp { msg_id, result: r } => {
            w.u64(*msg_id);
            result(&mut w, *r);
        }
        Pdu::ActiveTestResp => {
            w.u8(0);
        }
        Pdu::Terminate | Pdu::TerminateResp | Pdu::ActiveTest => {}
    }
    w.end();
}

fn write_submit(version: Version, w: &mut PduWriter<'_>, s: &Submit<'_>) {
    w.zeros(8).u8(s.total).u8(s.number).u8(s.report.into()).u8(s.level).text(s.service, 10);
    // Fee_UserType 2: we pay, never the reporter.
    w.u8(2).zeros(version.number_width() + usize::from(version == Version::V3));
    w.u8(0).u8(s.udhi.into()).u8(s.msg_fmt).text(s.account, 6).bytes(b"01").text(b"000000", 6).zeros(34);
    w.text(s.source, 21).u8(1).text(s.destination, version.number_width());
    if version == Version::V3 {
        w.u8(0);
    }
    let content = &s.content[..s.content.len().min(255)];
    w.u8(content.len() as u8).bytes(content).zeros(version.tail());
}

fn write_deliver(version: Version, w: &mut PduWriter<'_>, d: &Deliver<'_>) {
    w.u64(d.msg_id).text(d.destination, 21).text(d.service, 10).u8(0).u8(d.udhi.into()).u8(d.msg_fmt);
    w.text(d.source, version.number_width());
    if version == Version::V3 {
        w.u8(d.pseudonym.into());
    }
    let content = &d.content[..d.content.len().min(255)];
    w.u8(d.is_report.into()).u8(content.len() as u8).bytes(content).zeros(version.tail());
}

/// Reads the content of a state report. Its length tells the layout: gateways send the 60-byte form on 3.0 too.
///
/// # Errors
/// `Truncated` when it is shorter than either.
pub fn read_report(content: &[u8]) -> Result<Report<'_>, PduError> {
    let mut f = Fields::new(content);
    let msg_id = f.u64("Msg_Id")?;
    let stat = f.text(7, "Stat")?;
    f.take(20, "Submit_time, Done_time")?;
    let destination = f.text(if content.len() >= 71 { 32 } else { 21 }, "Dest_terminal_Id")?;
    f.u32("SMSC_sequence")?;
    Ok(Report { msg_id, stat, destination })
}

/// The content of a state report, for the side that sends them.
pub fn write_report(version: Version, report: &Report<'_>, minute: &[u8; 10]) -> Vec<u8> {
    let mut content = report.msg_id.to_be_bytes().to_vec();
    let mut padded = |value: &[u8], width: usize| {
        content.extend_from_slice(&value[..value.len().min(width)]);
        content.resize(content.len() + width.saturating_sub(value.len()), 0);
    };
    padded(report.stat, 7);
    padded(minute, 10);
    padded(minute, 10);
    padded(report.destination, version.number_width());
    content.extend_from_slice(&[0, 0, 0, 1]);
    content
}

/// `Msg_Id` as a gateway makes it: month, day, hour, minute, second, gateway number, serial.
pub fn msg_id(month: u8, day: u8, hour: u8, minute: u8, second: u8, gateway: u32, serial: u16) -> u64 {
    u64::from(month) << 60
        | u64::from(day) << 55
        | u64::from(hour) << 50
        | u64::from(minute) << 44
        | u64::from(second) << 38
        | u64::from(gateway & 0x3F_FFFF) << 16
        | u64::from(serial)
}

#[cfg(test)]
mod tests {
    use super::super::wire::testing::hex;
    use super::*;

    const TEXT: &[u8] = &[0x00, 0x31, 0x00, 0x31, 0x00, 0x30, 0x5d, 0xf2, 0x65, 0x36, 0x52, 0x30];

    fn both_ways(version: Version, bytes: &[u8], sequence: u32, pdu: &Pdu<'_>) {
        assert_eq!(frame(bytes, FRAME.0, FRAME.1), Ok(Some(bytes.len())));
        assert_eq!(read(version, bytes), Ok((sequence, *pdu)));
        let mut out = Vec::new();
        write(version, sequence, pdu, &mut out);
        assert_eq!(out, bytes);
        for len in 12..bytes.len() {
            assert!(
                read(version, &bytes[..len]).is_err()
                    || !matches!(pdu, Pdu::Deliver(_) | Pdu::Submit(_))
                    || len + version.tail() >= bytes.len()
            );
        }
    }

    #[test]
    fn connect_and_its_answer_are_byte_exact() {
        let account = account("901234");
        let hash = authenticator(account, "shared_secret", 1_121_231_500);
        assert_eq!(hash.to_vec(), hex("b908e69251d7af9c08c3f257c060d670"));
        for (version, tail) in [(Version::V2, "20"), (Version::V3, "30")] {
            let bytes =
                hex(&format!("000000270000000100000001 393031323334 b908e69251d7af9c08c3f257c060d670 {tail} 42d4a28c"));
            let pdu = Pdu::Connect { account, authenticator: hash, version: version.byte(), timestamp: 1_121_231_500 };
            both_ways(version, &bytes, 1, &pdu);
        }
        let pdu = Pdu::ConnectResp {
            status: 0,
            authenticator: server_authenticator(&[0], &hash, "shared_secret"),
            version: 0x20,
        };
        both_ways(Version::V2, &hex("0000001e8000000100000001 00 2cf5663f93bb638b956fd3faa6885d7a 20"), 1, &pdu);
        let pdu = Pdu::ConnectResp {
            status: 0,
            authenticator: server_authenticator(&[0; 4], &hash, "shared_secret"),
            version: 0x30,
        };
        both_ways(Version::V3, &hex("000000218000000100000001 00000000 fa6e1b9cf005e9f196d7dfaa04e2d28c 30"), 1, &pdu);
    }

    #[test]
    fn submit_is_byte_exact_in_both_versions() {
        let submit = Submit {
            total: 1,
            number: 1,
            report: true,
            level: 0,
            service: b"POLICE",
            msg_fmt: 8,
            account: b"901234",
            source: b"12110",
            destination: b"13800138000",
            destinations: 1,
            content: TEXT,
            udhi: false,
        };
        both_ways(
            Version::V2,
            &hex(
                "000000ab0000000400000002000000000000000001010100504f4c4943450000000002000000000000000000000000000000000000000000000008393031323334303130303030303000000000000000000000000000000000000000000000000000000000000000000000313231313000000000000000000000000000000000013133383030313338303030000000000000000000000c0031003100305df2653652300000000000000000",
            ),
            2,
            &Pdu::Submit(submit),
        );
        both_ways(
            Version::V3,
            &hex(
                "000000cf0000000400000002000000000000000001010100504f4c4943450000000002000000000000000000000000000000000000000000000000000000000000000000000008393031323334303130303030303000000000000000000000000000000000000000000000000000000000000000000000313231313000000000000000000000000000000000013133383030313338303030000000000000000000000000000000000000000000000c0031003100305df2653652300000000000000000000000000000000000000000",
            ),
            2,
            &Pdu::Submit(submit),
        );
    }

    #[test]
    fn deliver_and_the_small_ones_are_byte_exact() {
        let deliver = Deliver {
            msg_id: 0xbadd_0780_03e9_0007,
            destination: b"12110",
            msg_fmt: 8,
            source: b"13800138000",
            content: &[0x67, 0x09, 0x4e, 0xba, 0x62, 0x53, 0x67, 0xb6],
            ..Deliver::default()
        };
        let v2 = hex(
            "0000005d0000000500000009badd078003e9000731323131300000000000000000000000000000000000000000000000000000000008313338303031333830303000000000000000000000000867094eba625367b60000000000000000",
        );
        both_ways(Version::V2, &v2, 9, &Pdu::Deliver(deliver));
        let v3 = hex(
            "000000750000000500000009badd078003e9000731323131300000000000000000000000000000000000000000000000000000000008313338303031333830303000000000000000000000000000000000000000000000000867094eba625367b60000000000000000000000000000000000000000",
        );
        both_ways(Version::V3, &v3, 9, &Pdu::Deliver(deliver));
        both_ways(Version::V2, &hex("0000000c000000080000000a"), 10, &Pdu::ActiveTest);
        both_ways(Version::V3, &hex("0000000d800000080000000a00"), 10, &Pdu::ActiveTestResp);
        both_ways(Version::V2, &hex("0000000c000000020000000b"), 11, &Pdu::Terminate);
        let resp = Pdu::SubmitResp { msg_id: 0xbadc_f000_03e9_0001, result: 0 };
        both_ways(Version::V2, &hex("000000158000000400000002badcf00003e9000100"), 2, &resp);
        both_ways(Version::V3, &hex("000000188000000400000002badcf00003e9000100000000"), 2, &resp);
    }

    #[test]
    fn state_reports_are_read_by_their_length() {
        let v2 = hex(
            "badcf00003e9000144454c49565244323631313231323331353236313132313233313631333830303133383030300000000000000000000001020304",
        );
        let v3 = hex(
            "badcf00003e9000144454c495652443236313132313233313532363131323132333136313338303031333830303000000000000000000000000000000000000000000001020304",
        );
        let report = Report { msg_id: 0xbadc_f000_03e9_0001, stat: b"DELIVRD", destination: b"13800138000" };
        assert_eq!((v2.len(), v3.len()), (60, 71));
        assert_eq!(read_report(&v2), Ok(report));
        assert_eq!(read_report(&v3), Ok(report));
        assert!(read_report(&v2[..59]).is_err());
        assert_eq!(write_report(Version::V2, &report, b"2611212315").len(), 60);
        assert_eq!(write_report(Version::V3, &report, b"2611212315").len(), 71);
    }

    #[test]
    fn message_numbers_carry_time_and_gateway() {
        assert_eq!(msg_id(11, 21, 23, 15, 0, 1001, 1), 0xbadc_f000_03e9_0001);
        assert_eq!(msg_id(11, 5, 14, 29, 42, 1, 0), 0xb2b9_da80_0001_0000);
    }

    #[test]
    fn what_other_implementations_pack_is_read() {
        let pdus: serde_json::Value =
            serde_json::from_str(include_str!("../../corpus/cmpp/pdus.json")).expect("the corpus is JSON");
        let mut read_as_pdu = 0;
        for entry in pdus.as_array().expect("a list") {
            let bytes = hex(entry["hex"].as_str().expect("hex"));
            let name = entry["test"].as_str().expect("a name");
            if entry["whole_pdu"] == true && frame(&bytes, FRAME.0, FRAME.1) == Ok(Some(bytes.len())) {
                let version = if name.contains("Cmpp3") { Version::V3 } else { Version::V2 };
                match read(version, &bytes) {
                    Ok(_) => read_as_pdu += 1,
                    Err(error) => assert!(matches!(error, PduError::Unknown(_)), "{name}: {error:?}"),
                }
            }
        }
        assert!(read_as_pdu >= 15, "{read_as_pdu} PDUs of the corpus were read");
    }
}
