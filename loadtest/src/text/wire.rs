//! The operators' side of CMPP, SGIP, SMGP and SMPP: what a gateway's login gets, what a message looks like, and what
//! a Submit says.

use codecs::sms::cmpp::Version;
use codecs::sms::{Alphabet, PduError, Segment, cmpp, decode, sgip, smgp, smpp, user_data};

use super::Outgoing;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    Cmpp(Version),
    Sgip,
    Smgp,
    Smpp,
}

/// What a frame from the gateway asks of us.
pub enum Asked {
    /// A login, with the answer it gets.
    Login(Vec<u8>),
    /// The answer to a message of ours: its sequence number, and whether it was taken.
    Answer {
        sequence: u32,
        taken: bool,
    },
    /// A line for a user; `answer` goes back, `report` after it.
    Submit {
        to: String,
        part: Option<Segment>,
        text: String,
        answer: Vec<u8>,
        report: Vec<u8>,
    },
    /// Anything else that wants an answer.
    Other(Vec<u8>),
    Nothing,
}

impl Protocol {
    pub fn parse(name: &str) -> Option<Protocol> {
        Some(match name {
            "cmpp" => Protocol::Cmpp(Version::V2),
            "cmpp3" => Protocol::Cmpp(Version::V3),
            "sgip" => Protocol::Sgip,
            "smgp" => Protocol::Smgp,
            "smpp" => Protocol::Smpp,
            _ => return None,
        })
    }

    pub fn limits(self) -> (usize, usize) {
        match self {
            Protocol::Cmpp(_) => cmpp::FRAME,
            Protocol::Sgip => sgip::FRAME,
            Protocol::Smgp => smgp::FRAME,
            Protocol::Smpp => smpp::FRAME,
        }
    }

    /// A message of a user as the gateway gets it.
    pub fn deliver(self, number: &str, sequence: u32, m: &Outgoing, out: &mut Vec<u8>) {
        let mut content = Vec::with_capacity(160);
        if let Some((reference, total, number)) = m.part {
            content.extend([5, 0, 3, reference, total, number]);
        }
        content.extend(m.text.encode_utf16().flat_map(u16::to_be_bytes));
        let udhi = m.part.is_some();
        let msg_id = m.id | 0xA000_0000_0000_0000;
        match self {
            Protocol::Cmpp(version) => {
                let deliver = cmpp::Deliver {
                    msg_id,
                    destination: number.as_bytes(),
                    udhi,
                    msg_fmt: 8,
                    source: m.from.as_bytes(),
                    content: &content,
                    ..cmpp::Deliver::default()
                };
                cmpp::write(version, sequence, &cmpp::Pdu::Deliver(deliver), out);
            }
            Protocol::Sgip => {
                let from = format!("86{}", m.from);
                let deliver = sgip::Deliver {
                    source: from.as_bytes(),
                    destination: number.as_bytes(),
                    udhi,
                    msg_fmt: 8,
                    content: &content,
                };
                // The sequence number names the message for good: sent again it is the same.
                let sequence = sgip::Sequence { node: 107_551, time: (msg_id >> 32) as u32, counter: m.id as u32 };
                sgip::write(sequence, &sgip::Pdu::Deliver(deliver), out);
            }
            Protocol::Smgp => {
                let mut id = [0; 10];
                id[2..].copy_from_slice(&msg_id.to_be_bytes());
                let deliver = smgp::Deliver {
                    msg_id: id,
                    msg_fmt: 8,
                    received: b"20261122120000",
                    source: m.from.as_bytes(),
                    destination: number.as_bytes(),
                    content: &content,
                    udhi,
                    ..smgp::Deliver::default()
                };
                smgp::write(sequence, &smgp::Pdu::Deliver(deliver), out);
            }
            Protocol::Smpp => {
                let address = |digits, ton| smpp::Address { ton, npi: 1, digits };
                let message = smpp::Message {
                    source: address(m.from.as_bytes(), 0),
                    destination: address(number.as_bytes(), 0),
                    esm_class: if udhi { smpp::UDHI } else { 0 },
                    data_coding: 8,
                    content: &content,
                    ..smpp::Message::default()
                };
                smpp::write(smpp::Header { status: 0, sequence }, &smpp::Pdu::Deliver(message), out);
            }
        }
    }

    /// SGIP: our login at the gateway's own listener.
    pub fn bind(self, name: &str, password: &str, out: &mut Vec<u8>) {
        let sequence = sgip::Sequence { node: 107_551, time: 1, counter: 0 };
        let (name, password) = (name.as_bytes(), password.as_bytes());
        sgip::write(sequence, &sgip::Pdu::Bind { login_type: sgip::TO_PROVIDER, name, password }, out);
    }

    /// Reads a frame of the gateway's; `serial` names what is submitted.
    ///
    /// # Errors
    /// What the codec said: the gateway is not to send that.
    pub fn read(self, frame: &[u8], secret: &str, serial: u64) -> Result<Asked, PduError> {
        match self {
            Protocol::Cmpp(version) => self.read_cmpp(version, frame, secret, serial),
            Protocol::Sgip => read_sgip(frame, serial),
            Protocol::Smgp => read_smgp(frame, secret, serial),
            Protocol::Smpp => read_smpp(frame, serial),
        }
    }

    fn read_cmpp(self, version: Version, frame: &[u8], secret: &str, serial: u64) -> Result<Asked, PduError> {
        let (sequence, pdu) = cmpp::read(version, frame)?;
        let mut answer = Vec::new();
        Ok(match pdu {
            cmpp::Pdu::Connect { account, authenticator, version: theirs, timestamp } => {
                let right = cmpp::authenticator(account, secret, timestamp) == authenticator;
                let version = Version::from_byte(theirs);
                let status = [0; 4];
                let status = if version == Version::V2 { &status[..1] } else { &status[..] };
                let proof = if right { cmpp::server_authenticator(status, &authenticator, secret) } else { [0; 16] };
                let status = if right { 0 } else { 3 };
                let resp = cmpp::Pdu::ConnectResp { status, authenticator: proof, version: version.byte() };
                cmpp::write(version, sequence, &resp, &mut answer);
                Asked::Login(answer)
            }
            cmpp::Pdu::DeliverResp { result, .. } => Asked::Answer { sequence, taken: result == 0 },
            cmpp::Pdu::Submit(s) => {
                let resp = cmpp::Pdu::SubmitResp { msg_id: serial, result: 0 };
                cmpp::write(version, sequence, &resp, &mut answer);
                let content = cmpp::write_report(
                    version,
                    &cmpp::Report { msg_id: serial, stat: b"DELIVRD", destination: s.destination },
                    b"2611221200",
                );
                let report = cmpp::Deliver {
                    msg_id: serial | 1 << 63,
                    source: s.destination,
                    destination: s.source,
                    is_report: true,
                    content: &content,
                    ..cmpp::Deliver::default()
                };
                let mut reported = Vec::new();
                cmpp::write(version, REPORT, &cmpp::Pdu::Deliver(report), &mut reported);
                submit(s.destination, s.udhi, Alphabet::from_msg_fmt(s.msg_fmt), s.content, answer, reported)
            }
            cmpp::Pdu::ActiveTest => {
                cmpp::write(version, sequence, &cmpp::Pdu::ActiveTestResp, &mut answer);
                Asked::Other(answer)
            }
            cmpp::Pdu::Terminate => {
                cmpp::write(version, sequence, &cmpp::Pdu::TerminateResp, &mut answer);
                Asked::Other(answer)
            }
            _ => Asked::Nothing,
        })
    }
}

/// The sequence number of state reports: their answers are not a message's.
pub(super) const REPORT: u32 = 0x7FFF_0000;

fn submit(to: &[u8], udhi: bool, alphabet: Alphabet, content: &[u8], answer: Vec<u8>, report: Vec<u8>) -> Asked {
    let (part, octets) = if udhi {
        let data = user_data(content);
        (data.segment, data.content)
    } else {
        (None, content)
    };
    let to = String::from_utf8_lossy(to).trim_start_matches("86").to_owned();
    Asked::Submit { to, part, text: decode(alphabet, octets), answer, report }
}

fn read_sgip(frame: &[u8], serial: u64) -> Result<Asked, PduError> {
    let (sequence, pdu) = sgip::read(frame)?;
    let mut answer = Vec::new();
    if let Some(response) = sgip::response(&pdu, sgip::OK) {
        sgip::write(sequence, &response, &mut answer);
    }
    Ok(match pdu {
        sgip::Pdu::Bind { .. } => Asked::Login(answer),
        sgip::Pdu::Submit(s) => {
            let report = sgip::Report { submit: sequence, destination: s.destination, state: 0, error: 0 };
            let mut reported = Vec::new();
            let own = sgip::Sequence { node: 107_551, time: 2, counter: serial as u32 };
            sgip::write(own, &sgip::Pdu::Report(report), &mut reported);
            submit(s.destination, s.udhi, Alphabet::from_msg_fmt(s.msg_fmt), s.content, answer, reported)
        }
        sgip::Pdu::Resp { command: 4, result } => {
            Asked::Answer { sequence: sequence.counter, taken: result == sgip::OK }
        }
        sgip::Pdu::Unbind => Asked::Other(answer),
        _ => Asked::Nothing,
    })
}

fn read_smgp(frame: &[u8], secret: &str, serial: u64) -> Result<Asked, PduError> {
    let (sequence, pdu) = smgp::read(frame)?;
    let mut answer = Vec::new();
    Ok(match pdu {
        smgp::Pdu::Login { client, authenticator, timestamp, .. } => {
            let right = smgp::authenticator(client, secret, timestamp) == authenticator;
            let status = if right { 0 } else { 21 };
            let authenticator = smgp::server_authenticator(status, &authenticator, secret);
            let resp = smgp::Pdu::LoginResp { status, authenticator, version: smgp::VERSION };
            smgp::write(sequence, &resp, &mut answer);
            Asked::Login(answer)
        }
        smgp::Pdu::DeliverResp { status, .. } => Asked::Answer { sequence, taken: status == 0 },
        smgp::Pdu::Submit(s) => {
            let mut msg_id = [0; 10];
            msg_id[2..].copy_from_slice(&serial.to_be_bytes());
            smgp::write(sequence, &smgp::Pdu::SubmitResp { msg_id, status: 0 }, &mut answer);
            let content = smgp::write_report(&smgp::Report { msg_id, stat: b"DELIVRD" }, "2611221200");
            let report = smgp::Deliver { msg_id, is_report: true, content: &content, ..smgp::Deliver::default() };
            let mut reported = Vec::new();
            smgp::write(REPORT, &smgp::Pdu::Deliver(report), &mut reported);
            submit(s.destination, s.udhi, Alphabet::from_msg_fmt(s.msg_fmt), s.content, answer, reported)
        }
        smgp::Pdu::ActiveTest => {
            smgp::write(sequence, &smgp::Pdu::ActiveTestResp, &mut answer);
            Asked::Other(answer)
        }
        smgp::Pdu::Exit => {
            smgp::write(sequence, &smgp::Pdu::ExitResp, &mut answer);
            Asked::Other(answer)
        }
        _ => Asked::Nothing,
    })
}

fn read_smpp(frame: &[u8], serial: u64) -> Result<Asked, PduError> {
    let (header, pdu) = smpp::read(frame).map_err(|(_, error)| error)?;
    let ok = smpp::Header { status: 0, sequence: header.sequence };
    let mut answer = Vec::new();
    Ok(match pdu {
        smpp::Pdu::Bind { command, .. } => {
            smpp::write(ok, &smpp::Pdu::BindResp { command, system_id: b"centre" }, &mut answer);
            Asked::Login(answer)
        }
        smpp::Pdu::DeliverResp => Asked::Answer { sequence: header.sequence, taken: header.status == 0 },
        smpp::Pdu::Submit(m) => {
            let id = format!("{serial:X}");
            let message_id = id.as_bytes();
            smpp::write(ok, &smpp::Pdu::SubmitResp { message_id, congestion: None }, &mut answer);
            let report = smpp::Message {
                source: m.destination,
                destination: m.source,
                esm_class: smpp::RECEIPT,
                receipted_id: Some(message_id),
                message_state: Some(2),
                ..smpp::Message::default()
            };
            let mut reported = Vec::new();
            smpp::write(smpp::Header { status: 0, sequence: REPORT }, &smpp::Pdu::Deliver(report), &mut reported);
            let alphabet = Alphabet::from_data_coding(m.data_coding, Alphabet::Gsm7);
            let udhi = m.esm_class & smpp::UDHI != 0;
            submit(m.destination.digits, udhi, alphabet, m.content, answer, reported)
        }
        smpp::Pdu::EnquireLink => {
            smpp::write(ok, &smpp::Pdu::EnquireLinkResp, &mut answer);
            Asked::Other(answer)
        }
        smpp::Pdu::Unbind => {
            smpp::write(ok, &smpp::Pdu::UnbindResp, &mut answer);
            Asked::Other(answer)
        }
        _ => Asked::Nothing,
    })
}
