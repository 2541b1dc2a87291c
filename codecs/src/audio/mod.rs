//! Telephone audio: G.711, WAV files, test tones and their detection. 8,000 samples a second throughout.

pub mod chunk;
pub mod companding;
pub mod g711;
pub mod tone;
pub mod wav;

/// Samples a second of every stream here.
pub const SAMPLE_RATE: u32 = 8_000;
/// Samples in the 20 ms frame that the gateway mixes in.
pub const FRAME: usize = 160;
