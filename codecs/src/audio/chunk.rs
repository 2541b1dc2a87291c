//! Recording chunks: what the tracks of one call said in a tenth of a second, as bytes for a log.
//!
//! A chunk is a sequence of pieces: track number (1 byte), law (1), zero (2), first tick (4), length (4), samples.
//! Little-endian. A track's pieces are contiguous in ticks; cutting a WAV is concatenating them.

/// The track of everything together.
pub const MIX: u8 = 0;
/// Bytes ahead of a piece's samples.
pub const PIECE_HEAD: usize = 12;

/// Part of a room's recording, in the user's key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunk {
    pub key: u64,
    pub bytes: Vec<u8>,
}

/// One stretch of one track.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece<'a> {
    pub track: u8,
    pub first_tick: u32,
    /// A-law.
    pub samples: &'a [u8],
}

/// The pieces of a chunk; stops at the first that is malformed.
pub fn pieces(mut bytes: &[u8]) -> impl Iterator<Item = Piece<'_>> {
    std::iter::from_fn(move || {
        let head = bytes.get(..PIECE_HEAD)?;
        let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| head[at + i]));
        let len = word(8) as usize;
        let samples = bytes.get(PIECE_HEAD..PIECE_HEAD + len)?;
        let piece = Piece { track: head[0], first_tick: word(4), samples };
        bytes = &bytes[PIECE_HEAD + len..];
        Some(piece)
    })
}
