//! PDUs of the carriers are read in place and written into a buffer that is kept: neither allocates.

use codecs::sms::cmpp::Version;
use codecs::sms::{cmpp, sgip, smgp, smpp, user_data};

const TEXT: &[u8] = &[5, 0, 3, 9, 2, 1, 0x67, 0x09, 0x4e, 0xba, 0x62, 0x53, 0x67, 0xb6];

fn allocations(work: impl FnOnce()) -> u64 {
    allocation_counter::measure(work).count_total
}

#[test]
fn reading_and_writing_a_pdu_allocates_nothing() {
    let mut out = Vec::with_capacity(4096);
    let deliver = cmpp::Deliver { content: TEXT, udhi: true, source: b"13800138000", ..cmpp::Deliver::default() };
    let submit = smgp::Submit { content: TEXT, destination: b"13800138000", ..smgp::Submit::default() };
    let message = smpp::Message { content: TEXT, esm_class: smpp::UDHI, ..smpp::Message::default() };
    let sequence = sgip::Sequence { node: 1, time: 2, counter: 3 };
    let mut frames = [const { Vec::new() }; 4];
    cmpp::write(Version::V3, 1, &cmpp::Pdu::Deliver(deliver), &mut frames[0]);
    sgip::write(sequence, &sgip::Pdu::Deliver(sgip::Deliver { content: TEXT, ..Default::default() }), &mut frames[1]);
    smgp::write(1, &smgp::Pdu::Submit(submit), &mut frames[2]);
    smpp::write(smpp::Header { status: 0, sequence: 1 }, &smpp::Pdu::Deliver(message), &mut frames[3]);
    let count = allocations(|| {
        for _ in 0..100 {
            out.clear();
            let Ok((n, pdu)) = cmpp::read(Version::V3, &frames[0]) else { panic!("readable") };
            assert!(user_data(deliver.content).segment.is_some());
            cmpp::write(Version::V3, n, &pdu, &mut out);
            let Ok((n, pdu)) = sgip::read(&frames[1]) else { panic!("readable") };
            sgip::write(n, &pdu, &mut out);
            let Ok((n, pdu)) = smgp::read(&frames[2]) else { panic!("readable") };
            smgp::write(n, &pdu, &mut out);
            let Ok((header, pdu)) = smpp::read(&frames[3]) else { panic!("readable") };
            smpp::write(header, &pdu, &mut out);
        }
    });
    assert_eq!(count, 0);
}
