//! SMPP 3.4, and what of 5.0 a peer may send: the protocol of every other short message centre.

use super::udh::Segment;
use super::wire::{Fields, PduWriter};
pub use super::wire::{PduError, frame};

/// 16-byte header; `message_payload` may carry 64 KiB.
pub const FRAME: (usize, usize) = (16, 70_000);

const RESP: u32 = 0x8000_0000;
const BIND_RECEIVER: u32 = 1;
const BIND_TRANSMITTER: u32 = 2;
const SUBMIT_SM: u32 = 4;
const DELIVER_SM: u32 = 5;
const UNBIND: u32 = 6;
const BIND_TRANSCEIVER: u32 = 9;
const ENQUIRE_LINK: u32 = 0x15;
const DATA_SM: u32 = 0x103;

/// `command_status` (SMPP 3.4 table 5-2).
pub const OK: u32 = 0;
pub const INVALID_LENGTH: u32 = 2;
pub const INVALID_COMMAND: u32 = 3;
pub const INVALID_BIND_STATUS: u32 = 4;
pub const SYSTEM_ERROR: u32 = 8;
pub const BIND_FAILED: u32 = 0x0D;
pub const INVALID_PASSWORD: u32 = 0x0E;
pub const QUEUE_FULL: u32 = 0x14;
pub const THROTTLED: u32 = 0x58;
/// The receiver cannot take it just now: the centre keeps it and tries again.
pub const TEMPORARY: u32 = 0x64;
pub const INVALID_PARAMETER: u32 = 0xC4;

/// `esm_class` bits.
pub const UDHI: u8 = 0x40;
pub const RECEIPT: u8 = 0x04;
const TYPE_MASK: u8 = 0x3C;

const SAR_REFERENCE: u16 = 0x020C;
const SAR_TOTAL: u16 = 0x020E;
const SAR_NUMBER: u16 = 0x020F;
const MESSAGE_PAYLOAD: u16 = 0x0424;
const RECEIPTED_ID: u16 = 0x001E;
const MESSAGE_STATE: u16 = 0x0427;
const CONGESTION: u16 = 0x0428;
const INTERFACE_VERSION: u16 = 0x0210;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    pub status: u32,
    pub sequence: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pdu<'a> {
    GenericNack,
    Bind {
        command: u32,
        system_id: &'a [u8],
        password: &'a [u8],
        system_type: &'a [u8],
        version: u8,
    },
    BindResp {
        command: u32,
        system_id: &'a [u8],
    },
    Submit(Message<'a>),
    SubmitResp {
        message_id: &'a [u8],
        congestion: Option<u8>,
    },
    Deliver(Message<'a>),
    DeliverResp,
    Unbind,
    UnbindResp,
    EnquireLink,
    EnquireLinkResp,
    /// An answer to something we never ask.
    OtherResp(u32),
}

impl Pdu<'_> {
    pub fn bind_transceiver<'a>(system_id: &'a [u8], password: &'a [u8], system_type: &'a [u8]) -> Pdu<'a> {
        Pdu::Bind { command: BIND_TRANSCEIVER, system_id, password, system_type, version: 0x34 }
    }
}

/// `submit_sm`, `deliver_sm` or `data_sm`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Message<'a> {
    pub service_type: &'a [u8],
    /// Type of number, numbering plan, digits.
    pub source: Address<'a>,
    pub destination: Address<'a>,
    pub esm_class: u8,
    pub registered_delivery: u8,
    pub data_coding: u8,
    /// `short_message`, or the payload option in its stead.
    pub content: &'a [u8],
    /// By the SAR options; a header in the content says it otherwise.
    pub segment: Option<Segment>,
    /// What a receipt is about, by its options.
    pub receipted_id: Option<&'a [u8]>,
    pub message_state: Option<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Address<'a> {
    pub ton: u8,
    pub npi: u8,
    pub digits: &'a [u8],
}

impl<'a> Message<'a> {
    pub fn is_receipt(&self) -> bool {
        self.esm_class & TYPE_MASK == RECEIPT
    }
}

/// Reads one frame.
///
/// # Errors
/// What is wrong; an `Unknown` command is answered with `generic_nack`, `INVALID_COMMAND`.
pub fn read(frame: &[u8]) -> Result<(Header, Pdu<'_>), (Header, PduError)> {
    let mut f = Fields::new(frame);
    let mut header = Header { status: 0, sequence: 0 };
    let mut head = || {
        let _length = f.u32("command_length")?;
        let command = f.u32("command_id")?;
        header = Header { status: f.u32("command_status")?, sequence: f.u32("sequence_number")? };
        Ok(command)
    };
    let command = head().map_err(|e| (header, e))?;
    read_body(command, &mut f).map(|pdu| (header, pdu)).map_err(|e| (header, e))
}

fn read_body<'a>(command: u32, f: &mut Fields<'a>) -> Result<Pdu<'a>, PduError> {
    Ok(match command {
        BIND_RECEIVER | BIND_TRANSMITTER | BIND_TRANSCEIVER => {
            let system_id = f.c_string(16, "system_id")?;
            let password = f.c_string(9, "password")?;
            let system_type = f.c_string(13, "system_type")?;
            Pdu::Bind { command, system_id, password, system_type, version: f.u8("interface_version")? }
        }
        SUBMIT_SM => Pdu::Submit(read_message(f, false)?),
        DELIVER_SM => Pdu::Deliver(read_message(f, false)?),
        DATA_SM => Pdu::Deliver(read_message(f, true)?),
        UNBIND => Pdu::Unbind,
        ENQUIRE_LINK => Pdu::EnquireLink,
        _ if command & RESP == 0 => return Err(PduError::Unknown(command)),
        _ => match command & !RESP {
            0 => Pdu::GenericNack,
            // With an error the body may be missing.
            c @ (BIND_RECEIVER | BIND_TRANSMITTER | BIND_TRANSCEIVER) => {
                Pdu::BindResp { command: c, system_id: optional(f, 16)? }
            }
            SUBMIT_SM => {
                let message_id = optional(f, 65)?;
                let mut congestion = None;
                options(f, |tag, value| {
                    if let (CONGESTION, [state]) = (tag, value) {
                        congestion = Some(*state);
                    }
                })?;
                Pdu::SubmitResp { message_id, congestion }
            }
            DELIVER_SM | DATA_SM => Pdu::DeliverResp,
            UNBIND => Pdu::UnbindResp,
            ENQUIRE_LINK => Pdu::EnquireLinkResp,
            _ => Pdu::OtherResp(command),
        },
    })
}

fn optional<'a>(f: &mut Fields<'a>, most: usize) -> Result<&'a [u8], PduError> {
    if f.is_empty() { Ok(&[]) } else { f.c_string(most, "message_id") }
}

fn address<'a>(f: &mut Fields<'a>, most: usize, what: &'static str) -> Result<Address<'a>, PduError> {
    Ok(Address { ton: f.u8(what)?, npi: f.u8(what)?, digits: f.c_string(most, what)? })
}

fn read_message<'a>(f: &mut Fields<'a>, data_sm: bool) -> Result<Message<'a>, PduError> {
    let longest = if data_sm { 65 } else { 21 };
    let service_type = f.c_string(6, "service_type")?;
    let source = address(f, longest, "source_addr")?;
    let destination = address(f, longest, "destination_addr")?;
    let esm_class = f.u8("esm_class")?;
    if !data_sm {
        f.take(2, "protocol_id, priority_flag")?;
        f.c_string(17, "schedule_delivery_time")?;
        f.c_string(17, "validity_period")?;
    }
    let registered_delivery = f.u8("registered_delivery")?;
    if !data_sm {
        f.u8("replace_if_present_flag")?;
    }
    let data_coding = f.u8("data_coding")?;
    let mut content: &[u8] = &[];
    if !data_sm {
        f.u8("sm_default_msg_id")?;
        let len = f.u8("sm_length")?;
        content = f.take(len as usize, "short_message")?;
    }
    let mut message = Message {
        service_type,
        source,
        destination,
        esm_class,
        registered_delivery,
        data_coding,
        content,
        ..Message::default()
    };
    let (mut reference, mut total, mut number) = (None, 0, 0);
    options(f, |tag, value| match (tag, value) {
        (SAR_REFERENCE, [high, low]) => reference = Some(u16::from_be_bytes([*high, *low])),
        (SAR_TOTAL, [n]) => total = *n,
        (SAR_NUMBER, [n]) => number = *n,
        (MESSAGE_PAYLOAD, payload) if message.content.is_empty() => message.content = payload,
        (RECEIPTED_ID, id) => message.receipted_id = Some(id.strip_suffix(&[0]).unwrap_or(id)),
        (MESSAGE_STATE, [state]) => message.message_state = Some(*state),
        _ => {}
    })?;
    message.segment = reference.and_then(|r| Segment::new(r, total, number));
    Ok(message)
}

fn options<'a>(f: &mut Fields<'a>, mut seen: impl FnMut(u16, &'a [u8])) -> Result<(), PduError> {
    while !f.is_empty() {
        let (tag, len) = (f.u16("option")?, f.u16("option")?);
        seen(tag, f.take(len as usize, "option")?);
    }
    Ok(())
}

/// Writes one frame at the end of `out`.
pub fn write(header: Header, pdu: &Pdu<'_>, out: &mut Vec<u8>) {
    let command = match pdu {
        Pdu::GenericNack => RESP,
        Pdu::Bind { command, .. } => *command,
        Pdu::BindResp { command, .. } => command | RESP,
        Pdu::Submit(_) => SUBMIT_SM,
        Pdu::SubmitResp { .. } => SUBMIT_SM | RESP,
        Pdu::Deliver(_) => DELIVER_SM,
        Pdu::DeliverResp => DELIVER_SM | RESP,
        Pdu::Unbind => UNBIND,
        Pdu::UnbindResp => UNBIND | RESP,
        Pdu::EnquireLink => ENQUIRE_LINK,
        Pdu::EnquireLinkResp => ENQUIRE_LINK | RESP,
        Pdu::OtherResp(command) => *command,
    };
    let mut w = PduWriter::begin(out, command);
    w.u32(header.status).u32(header.sequence);
    match pdu {
        Pdu::Bind { system_id, password, system_type, version, .. } => {
            w.c_string(system_id, 16).c_string(password, 9).c_string(system_type, 13).u8(*version).zeros(3);
        }
        Pdu::BindResp { system_id, .. } if header.status == OK => {
            w.c_string(system_id, 16).u16(INTERFACE_VERSION).u16(1).u8(0x34);
        }
        Pdu::SubmitResp { message_id, .. } if header.status == OK => {
            w.c_string(message_id, 65);
        }
        Pdu::DeliverResp => {
            w.u8(0);
        }
        Pdu::Submit(m) | Pdu::Deliver(m) => write_message(&mut w, m),
        _ => {}
    }
    w.end();
}

fn write_message(w: &mut PduWriter<'_>, m: &Message<'_>) {
    w.c_string(m.service_type, 6);
    for address in [m.source, m.destination] {
        w.u8(address.ton).u8(address.npi).c_string(address.digits, 21);
    }
    w.u8(m.esm_class).u8(0).u8(0).u8(0).u8(0).u8(m.registered_delivery).u8(0).u8(m.data_coding).u8(0);
    if m.content.len() <= 254 {
        w.u8(m.content.len() as u8).bytes(m.content);
    } else {
        w.u8(0).u16(MESSAGE_PAYLOAD).u16(m.content.len().min(65_535) as u16);
        w.bytes(&m.content[..m.content.len().min(65_535)]);
    }
    if let Some(s) = m.segment {
        w.u16(SAR_REFERENCE).u16(2).u16(s.reference);
        w.u16(SAR_TOTAL).u16(1).u8(s.total).u16(SAR_NUMBER).u16(1).u8(s.number);
    }
    if let Some(id) = m.receipted_id {
        w.u16(RECEIPTED_ID).u16(id.len() as u16 + 1).bytes(id).u8(0);
    }
    if let Some(state) = m.message_state {
        w.u16(MESSAGE_STATE).u16(1).u8(state);
    }
}

/// What a delivery receipt says in its text: the message's number and its state. The format is not normative: labels
/// are looked for in any case (SMPP 3.4 appendix B).
pub fn read_receipt(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let after = |label: &[u8]| {
        let at = text.windows(label.len()).position(|w| w.eq_ignore_ascii_case(label))? + label.len();
        let rest = &text[at..];
        Some(&rest[..rest.iter().position(|b| *b == b' ').unwrap_or(rest.len())])
    };
    Some((after(b"id:")?, after(b"stat:")?))
}

#[cfg(test)]
mod tests {
    use super::super::udh::user_data;
    use super::super::wire::testing::hex;
    use super::*;

    fn both_ways(text: &str, header: Header, pdu: &Pdu<'_>) {
        let bytes = hex(text);
        assert_eq!(frame(&bytes, FRAME.0, FRAME.1), Ok(Some(bytes.len())));
        assert_eq!(read(&bytes), Ok((header, *pdu)));
        let mut out = Vec::new();
        write(header, pdu, &mut out);
        assert_eq!(out, bytes);
    }

    fn ok(sequence: u32) -> Header {
        Header { status: OK, sequence }
    }

    #[test]
    fn binding_is_byte_exact() {
        let bind = Pdu::bind_transceiver(b"gw110", b"secret08", b"");
        both_ways("000000240000000900000000000000016777313130007365637265743038000034000000", ok(1), &bind);
        let resp = Pdu::BindResp { command: 9, system_id: b"SMSC" };
        both_ways("0000001a800000090000000000000001534d5343000210000134", ok(1), &resp);
    }

    #[test]
    fn messages_are_byte_exact() {
        let number = |digits, ton, npi| Address { ton, npi, digits };
        let submit = Message {
            source: number(b"12110", 0, 0),
            destination: number(b"8613800138000", 1, 1),
            registered_delivery: 1,
            data_coding: 8,
            content: &[0x00, 0x31, 0x00, 0x31, 0x00, 0x30, 0x5d, 0xf2, 0x65, 0x36, 0x52, 0x30],
            ..Message::default()
        };
        both_ways(
            "0000003f000000040000000000000002000000313231313000010138363133383030313338303030000000000000010008000c0031003100305df265365230",
            ok(2),
            &Pdu::Submit(submit),
        );
        both_ways(
            "000000158000000400000000000000023446324100",
            ok(2),
            &Pdu::SubmitResp { message_id: b"4F2A", congestion: None },
        );
        let deliver = Message {
            source: number(b"8613800138000", 1, 1),
            destination: number(b"12110", 0, 0),
            esm_class: UDHI,
            data_coding: 8,
            content: &[5, 0, 3, 0x2b, 2, 1, 0x65, 0x51, 0x54, 0x7d],
            ..Message::default()
        };
        both_ways(
            "0000003d000000050000000000000003000101383631333830303133383030300000003132313130004000000000000008000a0500032b02016551547d",
            ok(3),
            &Pdu::Deliver(deliver),
        );
        assert_eq!(user_data(deliver.content).segment, Some(Segment { reference: 0x2b, total: 2, number: 1 }));
        let sar = Message {
            esm_class: 0,
            content: &[0x65, 0x51, 0x54, 0x7d],
            segment: Some(Segment { reference: 0x2b, total: 2, number: 1 }),
            ..deliver
        };
        both_ways(
            "0000004700000005000000000000000400010138363133383030313338303030000001313231313000000000000000000800046551547d020c0002002b020e000102020f000101",
            ok(4),
            &Pdu::Deliver(Message {
                source: number(b"8613800138000", 1, 1),
                destination: number(b"12110", 0, 1),
                ..sar
            }),
        );
    }

    #[test]
    fn the_small_ones_are_byte_exact() {
        both_ways("00000010000000150000000000000006", ok(6), &Pdu::EnquireLink);
        both_ways("00000010800000150000000000000006", ok(6), &Pdu::EnquireLinkResp);
        let throttled = Header { status: THROTTLED, sequence: 7 };
        both_ways(
            "00000010800000040000005800000007",
            throttled,
            &Pdu::SubmitResp { message_id: b"", congestion: None },
        );
        let nack = Header { status: INVALID_COMMAND, sequence: 8 };
        both_ways("00000010800000000000000300000008", nack, &Pdu::GenericNack);
    }

    #[test]
    fn a_payload_option_stands_in_for_the_short_message() {
        let long = vec![b'x'; 300];
        let message = Message { content: &long, ..Message::default() };
        let mut out = Vec::new();
        write(ok(1), &Pdu::Deliver(message), &mut out);
        let Ok((_, Pdu::Deliver(got))) = read(&out) else { panic!("a deliver_sm") };
        assert_eq!(got.content, &long[..]);
    }

    #[test]
    fn receipts_are_read_from_options_or_from_text() {
        let text = b"id:4F2A sub:001 dlvrd:001 submit date:2611212315 done date:2611212316 stat:DELIVRD err:000 text:";
        assert_eq!(read_receipt(text), Some((&b"4F2A"[..], &b"DELIVRD"[..])));
        assert_eq!(read_receipt(b"ID:9 Stat:UNDELIV"), Some((&b"9"[..], &b"UNDELIV"[..])));
        assert_eq!(read_receipt(b"hello"), None);
    }

    #[test]
    fn whatever_others_send_is_read_or_refused_without_panic() {
        let (mut fine, mut refused) = (0, 0);
        for line in include_str!("../../corpus/smpp/pdus.hex").lines() {
            let bytes = hex(line);
            if let Ok(Some(len)) = frame(&bytes, FRAME.0, FRAME.1) {
                match read(&bytes[..len]) {
                    Ok(_) => fine += 1,
                    Err(_) => refused += 1,
                }
            }
            for cut in 0..bytes.len() {
                let _ = read(&bytes[..cut]);
            }
        }
        assert!(fine >= 20, "{fine} read, {refused} refused");
    }
}
