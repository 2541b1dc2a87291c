//! SGIP 1.2: China Unicom's Short Message Gateway Interface Protocol.
//!
//! Each direction has a connection of its own: we connect to submit, and the gateway connects to us to deliver.
//! Twelve bytes of sequence number (node, time, counter) name a command for good.

use super::wire::{Fields, PduWriter};
pub use super::wire::{PduError, frame};

/// 20-byte header; no PDU is longer than 2,048 bytes.
pub const FRAME: (usize, usize) = (20, 2048);

const BIND: u32 = 1;
const UNBIND: u32 = 2;
const SUBMIT: u32 = 3;
const DELIVER: u32 = 4;
const REPORT: u32 = 5;
const USER_RPT: u32 = 0x11;
const RESP: u32 = 0x8000_0000;

pub const OK: u8 = 0;
pub const BAD_LOGIN: u8 = 1;
pub const WRONG_LOGIN_TYPE: u8 = 4;
/// A command that this side does not take.
pub const BAD_COMMAND: u8 = 7;
/// Node busy: back off.
pub const BUSY: u8 = 11;

/// Login types: we to the gateway, the gateway to us.
pub const TO_GATEWAY: u8 = 1;
pub const TO_PROVIDER: u8 = 2;

/// Node number, time as the decimal `MMDDHHMMSS`, counter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Sequence {
    pub node: u32,
    pub time: u32,
    pub counter: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pdu<'a> {
    Bind {
        login_type: u8,
        name: &'a [u8],
        password: &'a [u8],
    },
    Unbind,
    UnbindResp,
    Submit(Submit<'a>),
    Deliver(Deliver<'a>),
    Report(Report<'a>),
    /// A subscription that ended, paused or came back: of no use to an emergency line, and answered.
    UserRpt,
    /// The answer to the command of that number.
    Resp {
        command: u32,
        result: u8,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Submit<'a> {
    /// The access number shown as the sender.
    pub source: &'a [u8],
    /// With its 86 in front.
    pub destination: &'a [u8],
    pub destinations: u8,
    pub corporation: &'a [u8],
    pub service: &'a [u8],
    pub priority: u8,
    pub report: bool,
    pub udhi: bool,
    pub msg_fmt: u8,
    pub content: &'a [u8],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Deliver<'a> {
    pub source: &'a [u8],
    pub destination: &'a [u8],
    pub udhi: bool,
    pub msg_fmt: u8,
    pub content: &'a [u8],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report<'a> {
    /// The Submit that it is about.
    pub submit: Sequence,
    pub destination: &'a [u8],
    /// 0 delivered, 1 waiting, 2 failed.
    pub state: u8,
    pub error: u8,
}

fn read_sequence(f: &mut Fields<'_>, what: &'static str) -> Result<Sequence, PduError> {
    Ok(Sequence { node: f.u32(what)?, time: f.u32(what)?, counter: f.u32(what)? })
}

/// Reads one frame.
///
/// # Errors
/// What is wrong; SGIP closes the connection on a malformed command.
pub fn read(frame: &[u8]) -> Result<(Sequence, Pdu<'_>), PduError> {
    let mut f = Fields::new(frame);
    let _length = f.u32("Message Length")?;
    let command = f.u32("Command ID")?;
    let sequence = read_sequence(&mut f, "Sequence Number")?;
    let pdu = match command {
        BIND => {
            let login_type = f.u8("Login Type")?;
            Pdu::Bind { login_type, name: f.text(16, "Login Name")?, password: f.text(16, "Login Password")? }
        }
        UNBIND => Pdu::Unbind,
        c if c == UNBIND | RESP => Pdu::UnbindResp,
        SUBMIT => Pdu::Submit(read_submit(&mut f)?),
        DELIVER => {
            let (source, destination) = (f.text(21, "UserNumber")?, f.text(21, "SPNumber")?);
            let (udhi, msg_fmt, content) = read_content(&mut f)?;
            Pdu::Deliver(Deliver { source, destination, udhi, msg_fmt, content })
        }
        REPORT => {
            let submit = read_sequence(&mut f, "SubmitSequenceNumber")?;
            f.u8("ReportType")?;
            let destination = f.text(21, "UserNumber")?;
            Pdu::Report(Report { submit, destination, state: f.u8("State")?, error: f.u8("ErrorCode")? })
        }
        USER_RPT => Pdu::UserRpt,
        c if c & RESP != 0 => Pdu::Resp { command: c & !RESP, result: f.u8("Result")? },
        other => return Err(PduError::Unknown(other)),
    };
    Ok((sequence, pdu))
}

fn read_submit<'a>(f: &mut Fields<'a>) -> Result<Submit<'a>, PduError> {
    let source = f.text(21, "SPNumber")?;
    f.take(21, "ChargeNumber")?;
    let destinations = f.u8("UserCount")?;
    if !(1..=100).contains(&destinations) {
        return Err(PduError::Field("UserCount"));
    }
    let destination = f.text(21, "UserNumber")?;
    f.take(21 * (usize::from(destinations) - 1), "UserNumber")?;
    let corporation = f.text(5, "CorpId")?;
    let service = f.text(10, "ServiceType")?;
    f.take(1 + 6 + 6 + 1 + 1, "FeeType to MorelatetoMTFlag")?;
    let priority = f.u8("Priority")?;
    f.take(16 + 16, "ExpireTime, ScheduleTime")?;
    let report = f.u8("ReportFlag")? == 1;
    let (udhi, msg_fmt, content) = {
        f.u8("TP_pid")?;
        let udhi = f.u8("TP_udhi")? == 1;
        let msg_fmt = f.u8("MessageCoding")?;
        f.u8("MessageType")?;
        let len = f.u32("MessageLength")?;
        (udhi, msg_fmt, f.take(len as usize, "MessageContent")?)
    };
    Ok(Submit { source, destination, destinations, corporation, service, priority, report, udhi, msg_fmt, content })
}

fn read_content<'a>(f: &mut Fields<'a>) -> Result<(bool, u8, &'a [u8]), PduError> {
    f.u8("TP_pid")?;
    let udhi = f.u8("TP_udhi")? == 1;
    let msg_fmt = f.u8("MessageCoding")?;
    let len = f.u32("MessageLength")?;
    Ok((udhi, msg_fmt, f.take(len as usize, "MessageContent")?))
}

/// Writes one frame at the end of `out`.
pub fn write(sequence: Sequence, pdu: &Pdu<'_>, out: &mut Vec<u8>) {
    let command = match pdu {
        Pdu::Bind { .. } => BIND,
        Pdu::Unbind => UNBIND,
        Pdu::UnbindResp => UNBIND | RESP,
        Pdu::Submit(_) => SUBMIT,
        Pdu::Deliver(_) => DELIVER,
        Pdu::Report(_) => REPORT,
        Pdu::UserRpt => USER_RPT,
        Pdu::Resp { command, .. } => command | RESP,
    };
    let mut w = PduWriter::begin(out, command);
    w.u32(sequence.node).u32(sequence.time).u32(sequence.counter);
    match pdu {
        Pdu::Bind { login_type, name, password } => {
            w.u8(*login_type).text(name, 16).text(password, 16).zeros(8);
        }
        Pdu::Unbind | Pdu::UnbindResp => {}
        Pdu::Submit(s) => {
            w.text(s.source, 21).bytes(&[b'0'; 21]).u8(1).text(s.destination, 21).text(s.corporation, 5);
            w.text(s.service, 10).u8(1).text(b"0", 6).text(b"0", 6).u8(0).u8(2).u8(s.priority).zeros(32);
            w.u8(if s.report { 1 } else { 2 }).u8(0).u8(s.udhi.into()).u8(s.msg_fmt).u8(0);
            w.u32(s.content.len() as u32).bytes(s.content).zeros(8);
        }
        Pdu::Deliver(d) => {
            w.text(d.source, 21).text(d.destination, 21).u8(0).u8(d.udhi.into()).u8(d.msg_fmt);
            w.u32(d.content.len() as u32).bytes(d.content).zeros(8);
        }
        Pdu::Report(r) => {
            w.u32(r.submit.node).u32(r.submit.time).u32(r.submit.counter);
            w.u8(0).text(r.destination, 21).u8(r.state).u8(r.error).zeros(8);
        }
        Pdu::UserRpt => {
            w.zeros(51);
        }
        Pdu::Resp { result, .. } => {
            w.u8(*result).zeros(8);
        }
    }
    w.end();
}

/// The answer to any request.
pub fn response(pdu: &Pdu<'_>, result: u8) -> Option<Pdu<'static>> {
    let command = match pdu {
        Pdu::Bind { .. } => BIND,
        Pdu::Submit(_) => SUBMIT,
        Pdu::Deliver(_) => DELIVER,
        Pdu::Report(_) => REPORT,
        Pdu::UserRpt => USER_RPT,
        Pdu::Unbind => return Some(Pdu::UnbindResp),
        Pdu::UnbindResp | Pdu::Resp { .. } => return None,
    };
    Some(Pdu::Resp { command, result })
}

#[cfg(test)]
mod tests {
    use super::super::wire::testing::hex;
    use super::*;

    fn ours(time: u32, counter: u32) -> Sequence {
        Sequence { node: 3_075_500_001, time, counter }
    }

    fn both_ways(text: &str, sequence: Sequence, pdu: &Pdu<'_>) {
        let bytes = hex(text);
        assert_eq!(frame(&bytes, FRAME.0, FRAME.1), Ok(Some(bytes.len())));
        assert_eq!(read(&bytes), Ok((sequence, *pdu)));
        let mut out = Vec::new();
        write(sequence, pdu, &mut out);
        assert_eq!(out, bytes);
    }

    #[test]
    fn binding_and_its_answer_are_byte_exact() {
        let bind = Pdu::Bind { login_type: 1, name: b"police110", password: b"pw110" };
        both_ways(
            "0000003d00000001b75067e142d4a28c0000000101706f6c6963653131300000000000000070773131300000000000000000000000 0000000000000000",
            ours(0x42d4_a28c, 1),
            &bind,
        );
        both_ways(
            "0000001d80000001b75067e142d4a28c00000001000000000000000000",
            ours(0x42d4_a28c, 1),
            &response(&bind, OK).expect("a request"),
        );
        both_ways("0000001400000002b75067e142d4a28c00000001", ours(0x42d4_a28c, 1), &Pdu::Unbind);
    }

    #[test]
    fn submit_deliver_and_report_are_byte_exact() {
        let submit = Submit {
            source: b"12110",
            destination: b"8613001125453",
            destinations: 1,
            corporation: b"00001",
            service: b"POLICE",
            report: true,
            msg_fmt: 8,
            content: &[0x00, 0x31, 0x00, 0x31, 0x00, 0x30, 0x5d, 0xf2, 0x65, 0x36, 0x52, 0x30],
            ..Submit::default()
        };
        let bytes = "000000b000000003b75067e142d4a28d00000002313231313000000000000000000000000000000000303030303030303030303030303030303030303030013836313330303131323534353300000000000000003030303031504f4c4943450000000001300000000000300000000000000200000000000000000000000000000000000000000000000000000000000000000001000008000000000c0031003100305df2653652300000000000000000";
        both_ways(bytes, ours(0x42d4_a28d, 2), &Pdu::Submit(submit));
        let deliver = Deliver {
            source: b"8613001125453",
            destination: b"12110",
            msg_fmt: 8,
            content: &[0x67, 0x09, 0x4e, 0xba, 0x62, 0x53, 0x67, 0xb6],
            udhi: false,
        };
        let theirs = |time, counter| Sequence { node: 107_551, time, counter };
        both_ways(
            "00000055000000040001a41f42d4a28e000000033836313330303131323534353300000000000000003132313130000000000000000000000000000000000000080000000867094eba625367b60000000000000000",
            theirs(0x42d4_a28e, 3),
            &Pdu::Deliver(deliver),
        );
        let report = Report { submit: ours(0x42d4_a28d, 2), destination: b"8613001125453", state: 0, error: 0 };
        both_ways(
            "00000040000000050001a41f42d4a28f00000004b75067e142d4a28d000000020038363133303031313235343533000000000000000000000000000000000000",
            theirs(0x42d4_a28f, 4),
            &Pdu::Report(report),
        );
    }

    #[test]
    fn lengths_that_lie_inside_a_frame_are_truncations() {
        let mut bytes = hex(
            "00000055000000040001a41f42d4a28e000000033836313330303131323534353300000000000000003132313130000000000000000000000000000000000000080000000867094eba625367b60000000000000000",
        );
        bytes[65..69].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(read(&bytes), Err(PduError::Truncated("MessageContent")));
    }
}
