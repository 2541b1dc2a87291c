//! One frame of the journal: length, CRC-32C, sequence, time, kind, origin, previous hash, payload.
//!
//! Little-endian. A zero length is the end of what was written (segments are preallocated with zeros). The hash
//! of a frame covers the previous hash, so no frame can be altered, dropped or moved without the chain showing it.
//! The origin (node and epoch) stands in what was zero before there was one: a frame without says node 0, epoch 0.
//! The highest bit of the kind says that the next frame belongs to this one: both count or neither does. The second
//! highest says that a write begins with this one: when it was made, everything before it was on the disk.

use sha2::{Digest as _, Sha256};

use crate::time::Wall;

/// In the kind's octet: the next frame belongs to this one.
const MORE: u8 = 0x80;
/// In the kind's octet: a write begins here.
const FIRST: u8 = 0x40;

/// Bytes ahead of the payload.
pub const HEADER_LEN: usize = 60;
/// The largest payload taken, in bytes.
pub const MAX_PAYLOAD: usize = 8 * 1024 * 1024;

pub type Hash = [u8; 32];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A CloudEvent in JSON, byte for byte what sinks send.
    Event = 1,
    /// A block of alert serials reserved: the date, and the first serial of it that is not.
    Grant = 2,
    /// One alert's record in JSON as it is at this point.
    Snapshot = 3,
    /// An officer's duty was changed: JSON `{"officer":…,"on_duty":…}`.
    Duty = 4,
    /// The snapshot that began last is whole: a start may begin at its segment.
    SnapshotEnd = 5,
    /// What is kept about messages besides the revisions: `record::Note` in JSON.
    Note = 6,
    /// A snapshot begins here; events may stand among its frames, each newer than what the snapshot said before.
    SnapshotBegin = 7,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Kind> {
        match byte & !(MORE | FIRST) {
            1 => Some(Kind::Event),
            2 => Some(Kind::Grant),
            3 => Some(Kind::Snapshot),
            4 => Some(Kind::Duty),
            5 => Some(Kind::SnapshotEnd),
            6 => Some(Kind::Note),
            7 => Some(Kind::SnapshotBegin),
            _ => None,
        }
    }
}

/// Who wrote a frame: a node's digit, and which of its starts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Origin {
    pub node: u8,
    /// Rises by one with every start and comes round after 65,535.
    pub epoch: u16,
}

impl Origin {
    /// Whether a frame of `self` may not follow one of `other`: an older start of the same node.
    pub fn is_older_than(self, other: Origin) -> bool {
        self.node == other.node && other.epoch != self.epoch && other.epoch.wrapping_sub(self.epoch) < 1 << 15
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    pub sequence: u64,
    pub at: Wall,
    pub kind: Kind,
    /// What made this frame made the next one too: where that is missing, this one counts for nothing.
    pub more: bool,
    /// A write begins with it: everything before it was on the disk by then.
    pub first: bool,
    pub origin: Origin,
    pub previous: Hash,
    pub payload: &'a [u8],
}

/// Why no frame could be read. `End` is the regular one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadError {
    /// Zeros or nothing: the writer has come no further.
    End,
    /// Bytes that are no whole, sound frame: a torn write, or damage.
    Torn(&'static str),
}

/// Whether a frame may begin here, as far as its first 28 bytes tell: for looking for one behind damage.
pub fn may_begin(bytes: &[u8]) -> bool {
    let Some(head) = bytes.get(..28) else { return false };
    let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    (1..=MAX_PAYLOAD).contains(&len) && HEADER_LEN + len <= bytes.len() && Kind::from_byte(head[24]).is_some()
}

/// Up to eight octets, the lowest first.
fn number(octets: &[u8]) -> u64 {
    octets.iter().rev().fold(0, |all, octet| all << 8 | u64::from(*octet))
}

impl<'a> Frame<'a> {
    /// Appends the frame to `out` and returns its hash, the next frame's `previous`.
    ///
    /// # Panics
    /// On an empty payload or one over `MAX_PAYLOAD`: the caller's mistake.
    pub fn write(&self, out: &mut Vec<u8>) -> Hash {
        assert!((1..=MAX_PAYLOAD).contains(&self.payload.len()), "journal payload of 1 byte to 8 MiB");
        let start = out.len();
        out.extend_from_slice(&(self.payload.len() as u32).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&self.at.0.to_le_bytes());
        let [low, high] = self.origin.epoch.to_le_bytes();
        out.extend_from_slice(&[self.kind_octet(), self.origin.node, low, high]);
        out.extend_from_slice(&self.previous);
        out.extend_from_slice(self.payload);
        let crc = crc32c::crc32c(&out[start + 8..]);
        out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
        self.hash()
    }

    fn kind_octet(&self) -> u8 {
        self.kind as u8 | if self.more { MORE } else { 0 } | if self.first { FIRST } else { 0 }
    }

    pub fn hash(&self) -> Hash {
        let mut digest = Sha256::new();
        digest.update(self.previous);
        digest.update(self.sequence.to_le_bytes());
        digest.update(self.at.0.to_le_bytes());
        digest.update([self.kind_octet()]);
        if self.origin != Origin::default() {
            digest.update([self.origin.node]);
            digest.update(self.origin.epoch.to_le_bytes());
        }
        digest.update(self.payload);
        digest.finalize().into()
    }

    /// Reads the frame at the front of `bytes`; also returns its length there.
    ///
    /// # Errors
    /// `End` at zeros or an empty slice, `Torn` for anything else that is no frame.
    pub fn read(bytes: &'a [u8]) -> Result<(Frame<'a>, usize), ReadError> {
        let Some(head) = bytes.first_chunk() else {
            return Err(if bytes.iter().all(|&b| b == 0) { ReadError::End } else { ReadError::Torn("length cut") });
        };
        let len = u32::from_le_bytes(*head) as usize;
        if len == 0 {
            return Err(ReadError::End);
        }
        if len > MAX_PAYLOAD {
            return Err(ReadError::Torn("length over 8 MiB"));
        }
        let total = HEADER_LEN + len;
        let Some(frame) = bytes.get(..total) else { return Err(ReadError::Torn("frame cut")) };
        let [crc, sequence, at] = [(4, 4), (8, 8), (16, 8)].map(|(at, octets)| number(&frame[at..at + octets]));
        let crc = crc as u32;
        if crc != crc32c::crc32c(&frame[8..]) {
            return Err(ReadError::Torn("checksum"));
        }
        let kind = Kind::from_byte(frame[24]).ok_or(ReadError::Torn("kind"))?;
        let parsed = Frame {
            sequence,
            at: Wall(at.cast_signed()),
            kind,
            more: frame[24] & MORE != 0,
            first: frame[24] & FIRST != 0,
            origin: Origin { node: frame[25], epoch: u16::from_le_bytes([frame[26], frame[27]]) },
            previous: std::array::from_fn(|i| frame[28 + i]),
            payload: &frame[HEADER_LEN..],
        };
        Ok((parsed, total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: &[u8]) -> Frame<'_> {
        let origin = Origin { node: 3, epoch: 0x1234 };
        Frame {
            sequence: 7,
            at: Wall(5),
            kind: Kind::Event,
            more: true,
            first: true,
            origin,
            previous: [9; 32],
            payload,
        }
    }

    #[test]
    fn a_frame_without_an_origin_has_the_bytes_and_the_hash_that_it_always_had() {
        let mut out = Vec::new();
        let old = Frame { origin: Origin::default(), more: false, first: false, ..frame(b"abc") };
        let hash = old.write(&mut out);
        assert_eq!(out[24..28], [1, 0, 0, 0]);
        let digest = Sha256::new_with_prefix([9; 32]).chain_update(7u64.to_le_bytes());
        let digest = digest.chain_update(5i64.to_le_bytes()).chain_update([1]).chain_update(b"abc");
        assert_eq!(hash, <[u8; 32]>::from(digest.finalize()));
        assert_ne!(hash, frame(b"abc").hash());
        assert_ne!(frame(b"abc").hash(), Frame { more: false, ..frame(b"abc") }.hash());
        assert_ne!(frame(b"abc").hash(), Frame { first: false, ..frame(b"abc") }.hash());
    }

    #[test]
    fn an_older_start_of_a_node_is_told_from_a_younger_one_and_from_another_node() {
        let of = |node, epoch| Origin { node, epoch };
        assert!(of(1, 4).is_older_than(of(1, 5)) && !of(1, 5).is_older_than(of(1, 4)));
        assert!(of(1, 65_535).is_older_than(of(1, 0)), "epochs come round");
        assert!(!of(2, 4).is_older_than(of(1, 5)) && !of(1, 5).is_older_than(of(1, 5)));
    }

    #[test]
    fn a_frame_survives_write_and_read() {
        let mut out = Vec::new();
        let hash = frame(b"abc").write(&mut out);
        let (back, len) = Frame::read(&out).expect("reads");
        assert_eq!((back, len, back.hash()), (frame(b"abc"), out.len(), hash));
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let mut out = Vec::new();
        frame(b"payload").write(&mut out);
        for cut in 1..out.len() {
            assert!(Frame::read(&out[..cut]).is_err(), "cut at {cut}");
        }
        for i in 8..out.len() {
            for bit in 0..8 {
                let mut bad = out.clone();
                bad[i] ^= 1 << bit;
                assert!(Frame::read(&bad).is_err(), "bit {bit} of byte {i}");
            }
        }
        assert_eq!(Frame::read(&[0; 100]), Err(ReadError::End));
    }
}
