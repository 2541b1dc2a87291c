//! RTCP sender and receiver reports by the crate rtcp-types (RFC 3550 6.4).

use rtcp_types::{
    Compound, Packet, ReceiverReport, ReportBlock, RtcpPacketWriterExt as _, Sdes, SdesChunk, SdesItem, SenderReport,
};

/// What one receiver says of one stream it gets.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Report {
    pub ssrc: u32,
    /// Of 256.
    pub fraction_lost: u8,
    pub cumulative_lost: u32,
    pub highest_sequence: u32,
    /// In timestamp units.
    pub jitter: u32,
    /// The middle 32 bits of the last SR's NTP time.
    pub last_sr: u32,
    /// In 1/65,536 s.
    pub delay_since_last_sr: u32,
}

/// The sender's part of an SR.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Sender {
    /// 32.32 fixed point seconds since 1900.
    pub ntp: u64,
    pub rtp_timestamp: u32,
    pub packets: u32,
    pub octets: u32,
}

/// Writes SR (or RR, without a sender part) and SDES CNAME into `target`.
///
/// # Panics
/// When `target` is under 128 bytes: the caller sizes it.
#[expect(
    clippy::expect_used,
    reason = "the target has the size of the longest report; nothing of it comes from outside"
)]
pub fn write(target: &mut [u8], ssrc: u32, sender: Option<Sender>, report: Option<Report>, cname: &str) -> usize {
    let block = report.map(|r| {
        ReportBlock::builder(r.ssrc)
            .fraction_lost(r.fraction_lost)
            .cumulative_lost(r.cumulative_lost & 0x00FF_FFFF)
            .extended_sequence_number(r.highest_sequence)
            .interarrival_jitter(r.jitter)
            .last_sender_report_timestamp(r.last_sr)
            .delay_since_last_sender_report_timestamp(r.delay_since_last_sr)
    });
    let sdes = Sdes::builder().add_chunk(SdesChunk::builder(ssrc).add_item(SdesItem::builder(SdesItem::CNAME, cname)));
    let compound = match sender {
        Some(s) => {
            let mut sr = SenderReport::builder(ssrc)
                .ntp_timestamp(s.ntp)
                .rtp_timestamp(s.rtp_timestamp)
                .packet_count(s.packets)
                .octet_count(s.octets);
            if let Some(block) = block {
                sr = sr.add_report_block(block);
            }
            Compound::builder().add_packet(sr).add_packet(sdes)
        }
        None => {
            let mut rr = ReceiverReport::builder(ssrc);
            if let Some(block) = block {
                rr = rr.add_report_block(block);
            }
            Compound::builder().add_packet(rr).add_packet(sdes)
        }
    };
    compound.write_into(target).expect("the target holds a report and a CNAME")
}

/// What a compound packet said.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Heard {
    pub sender: Option<(u32, Sender)>,
    pub reports: Vec<Report>,
    pub bye: bool,
}

/// `None` when the bytes are no compound RTCP packet.
pub fn parse(bytes: &[u8]) -> Option<Heard> {
    let mut heard = Heard::default();
    for packet in Compound::parse(bytes).ok()? {
        match packet.ok()? {
            Packet::Sr(sr) => {
                let sender = Sender {
                    ntp: sr.ntp_timestamp(),
                    rtp_timestamp: sr.rtp_timestamp(),
                    packets: sr.packet_count(),
                    octets: sr.octet_count(),
                };
                heard.sender = Some((sr.ssrc(), sender));
                heard.reports.extend(sr.report_blocks().map(|b| report(&b)));
            }
            Packet::Rr(rr) => heard.reports.extend(rr.report_blocks().map(|b| report(&b))),
            Packet::Bye(_) => heard.bye = true,
            _ => {}
        }
    }
    Some(heard)
}

fn report(block: &ReportBlock<'_>) -> Report {
    Report {
        ssrc: block.ssrc(),
        fraction_lost: block.fraction_lost(),
        cumulative_lost: block.cumulative_lost(),
        highest_sequence: block.extended_sequence_number(),
        jitter: block.interarrival_jitter(),
        last_sr: block.last_sender_report_timestamp(),
        delay_since_last_sr: block.delay_since_last_sender_report_timestamp(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_report_with_a_block_survives_write_and_parse() {
        let sender = Sender { ntp: 0x1234_5678_9abc_def0, rtp_timestamp: 160, packets: 50, octets: 8000 };
        let report = Report {
            ssrc: 9,
            fraction_lost: 3,
            cumulative_lost: 4,
            highest_sequence: 70_000,
            jitter: 11,
            last_sr: 5,
            delay_since_last_sr: 6,
        };
        let mut buffer = [0; 256];
        let len = write(&mut buffer, 7, Some(sender), Some(report), "gw@110");
        let heard = parse(&buffer[..len]).expect("parses");
        assert_eq!((heard.sender, heard.reports), (Some((7, sender)), vec![report]));
        for cut in 0..len {
            let _ = parse(&buffer[..cut]);
        }
    }
}
