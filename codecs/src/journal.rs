//! One frame of the journal: length, CRC-32C, sequence, time, kind, previous hash, payload.
//!
//! Little-endian. A zero length is the end of what was written (segments are preallocated with zeros). The hash
//! of a frame covers the previous hash, so no frame can be altered, dropped or moved without the chain showing it.

use sha2::{Digest as _, Sha256};

use crate::time::Wall;

/// Bytes ahead of the payload.
pub const HEADER_LEN: usize = 60;
/// The largest payload taken, in bytes.
pub const MAX_PAYLOAD: usize = 8 * 1024 * 1024;

pub type Hash = [u8; 32];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A CloudEvent in JSON, byte for byte what sinks send.
    Event = 1,
    /// A block of alert serials reserved: JSON `{"date":…,"until":…}`.
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
        match byte {
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

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    pub sequence: u64,
    pub at: Wall,
    pub kind: Kind,
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
        out.extend_from_slice(&[self.kind as u8, 0, 0, 0]);
        out.extend_from_slice(&self.previous);
        out.extend_from_slice(self.payload);
        let crc = crc32c::crc32c(&out[start + 8..]);
        out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
        self.hash()
    }

    pub fn hash(&self) -> Hash {
        let mut digest = Sha256::new();
        digest.update(self.previous);
        digest.update(self.sequence.to_le_bytes());
        digest.update(self.at.0.to_le_bytes());
        digest.update([self.kind as u8]);
        digest.update(self.payload);
        digest.finalize().into()
    }

    /// Reads the frame at the front of `bytes`; also returns its length there.
    ///
    /// # Errors
    /// `End` at zeros or an empty slice, `Torn` for anything else that is no frame.
    pub fn read(bytes: &'a [u8]) -> Result<(Frame<'a>, usize), ReadError> {
        let Some(head) = bytes.get(..4) else {
            return Err(if bytes.iter().all(|&b| b == 0) { ReadError::End } else { ReadError::Torn("length cut") });
        };
        let len = u32::from_le_bytes(head.try_into().expect("four bytes")) as usize;
        if len == 0 {
            return Err(ReadError::End);
        }
        if len > MAX_PAYLOAD {
            return Err(ReadError::Torn("length over 8 MiB"));
        }
        let total = HEADER_LEN + len;
        let Some(frame) = bytes.get(..total) else { return Err(ReadError::Torn("frame cut")) };
        let crc = u32::from_le_bytes(frame[4..8].try_into().expect("four bytes"));
        if crc != crc32c::crc32c(&frame[8..]) {
            return Err(ReadError::Torn("checksum"));
        }
        let kind = Kind::from_byte(frame[24]).ok_or(ReadError::Torn("kind"))?;
        let parsed = Frame {
            sequence: u64::from_le_bytes(frame[8..16].try_into().expect("eight bytes")),
            at: Wall(i64::from_le_bytes(frame[16..24].try_into().expect("eight bytes"))),
            kind,
            previous: frame[28..60].try_into().expect("32 bytes"),
            payload: &frame[HEADER_LEN..],
        };
        Ok((parsed, total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: &[u8]) -> Frame<'_> {
        Frame { sequence: 7, at: Wall(5), kind: Kind::Event, previous: [9; 32], payload }
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
