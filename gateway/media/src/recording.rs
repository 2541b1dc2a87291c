//! Recording chunks: what the tracks of one room said in a tenth of a second, as bytes for a log.
//!
//! The bytes are `codecs::audio::chunk`'s.

use codecs::audio::FRAME;
use codecs::audio::chunk::{Chunk, PIECE_HEAD};

/// Three parties and the mix.
const USUAL_TRACKS: usize = 4;

/// Ticks gathered before a chunk is handed out: 100 ms, so that a `kill -9` loses less than 200.
pub(crate) const TICKS_A_CHUNK: u32 = 5;

/// A room's recording in progress. Ticks count from its start.
pub(crate) struct Recording {
    pub key: u64,
    tick: u32,
    gathered: u32,
    /// Whether a packet of anybody's has been heard.
    heard: bool,
    /// The chunk as it will leave: a place for each open piece, filled tick by tick.
    bytes: Vec<u8>,
    open: Vec<OpenPiece>,
}

struct OpenPiece {
    track: u8,
    first_tick: u32,
    /// Of its head in `bytes`.
    at: usize,
    len: usize,
}

impl Recording {
    pub(crate) fn begin(key: u64) -> Recording {
        Recording { key, tick: 0, gathered: 0, heard: false, bytes: Vec::new(), open: Vec::with_capacity(4) }
    }

    /// One frame of one track in the current tick.
    pub(crate) fn write(&mut self, track: u8, codes: &[u8; FRAME]) {
        let goes_on = |p: &&mut OpenPiece| p.track == track && p.first_tick + (p.len / FRAME) as u32 == self.tick;
        let (at, len) = match self.open.iter_mut().find(goes_on) {
            Some(piece) => {
                piece.len += FRAME;
                (piece.at, piece.len)
            }
            None => {
                let at = self.bytes.len();
                let room = FRAME * (TICKS_A_CHUNK - self.gathered) as usize;
                if at == 0 {
                    self.bytes.reserve_exact(USUAL_TRACKS * (PIECE_HEAD + room));
                }
                self.bytes.resize(at + PIECE_HEAD + room, 0);
                self.open.push(OpenPiece { track, first_tick: self.tick, at, len: FRAME });
                (at, FRAME)
            }
        };
        let end = at + PIECE_HEAD + len;
        self.bytes[end - FRAME..end].copy_from_slice(codes);
    }

    /// Somebody was heard.
    pub(crate) fn hear(&mut self) {
        self.heard = true;
    }

    /// What is left at the end. A call that ended before its first chunk was full and in which nobody was heard leaves
    /// nothing: there is no audio in it, and four files of silence would say that there was.
    pub(crate) fn end(&mut self) -> Option<Chunk> {
        let empty = !self.heard && self.tick < TICKS_A_CHUNK;
        if empty { None } else { self.flush() }
    }

    /// Ends the tick; a chunk comes out every `TICKS_A_CHUNK`.
    pub(crate) fn end_tick(&mut self) -> Option<Chunk> {
        self.tick += 1;
        self.gathered += 1;
        if self.gathered >= TICKS_A_CHUNK { self.flush() } else { None }
    }

    /// What has been gathered so far.
    fn flush(&mut self) -> Option<Chunk> {
        self.gathered = 0;
        if self.open.is_empty() {
            return None;
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        let mut end = 0;
        for piece in self.open.drain(..) {
            let head = &mut bytes[piece.at..piece.at + PIECE_HEAD];
            head[0] = piece.track;
            head[4..8].copy_from_slice(&piece.first_tick.to_le_bytes());
            head[8..].copy_from_slice(&(piece.len as u32).to_le_bytes());
            // A piece that ended early leaves no gap.
            let whole = PIECE_HEAD + piece.len;
            if piece.at != end {
                bytes.copy_within(piece.at..piece.at + whole, end);
            }
            end += whole;
        }
        bytes.truncate(end);
        Some(Chunk { key: self.key, bytes })
    }
}

#[cfg(test)]
mod tests {
    use codecs::audio::chunk::{MIX, pieces};

    use super::*;

    #[test]
    fn a_track_that_pauses_makes_two_pieces() {
        let mut r = Recording::begin(9);
        r.write(1, &[1; FRAME]);
        r.end_tick();
        r.end_tick();
        r.write(1, &[2; FRAME]);
        r.write(0, &[3; FRAME]);
        let chunk = r.flush().expect("a chunk");
        let got: Vec<_> =
            pieces(&chunk.bytes).map(|p| (p.track, p.first_tick, p.samples[0], p.samples.len())).collect();
        assert_eq!((chunk.key, got), (9, vec![(1, 0, 1, 160), (1, 2, 2, 160), (0, 2, 3, 160)]));
    }

    #[test]
    fn a_call_of_less_than_a_chunk_in_which_nobody_was_heard_leaves_nothing() {
        let silent = |ticks: u32| {
            let mut r = Recording::begin(1);
            let chunks = (0..ticks).filter_map(|_| {
                r.write(MIX, &[0xD5; FRAME]);
                r.end_tick()
            });
            chunks.count() + usize::from(r.end().is_some())
        };
        assert_eq!([silent(1), silent(4), silent(5), silent(6)], [0, 0, 1, 2]);
        let mut heard = Recording::begin(1);
        heard.write(MIX, &[1; FRAME]);
        heard.hear();
        heard.end_tick();
        assert!(heard.end().is_some());
    }

    #[test]
    fn a_cut_chunk_yields_its_whole_pieces_only() {
        let mut r = Recording::begin(1);
        r.write(1, &[1; FRAME]);
        r.write(2, &[2; FRAME]);
        let chunk = r.flush().expect("a chunk");
        assert_eq!(pieces(&chunk.bytes[..200]).count(), 1);
        assert_eq!(pieces(&[]).count(), 0);
    }
}
