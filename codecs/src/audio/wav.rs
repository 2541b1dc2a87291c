//! WAV files: A-law, µ-law or 16-bit PCM, one channel, 8 kHz (RIFF, RFC 2361 codes 6, 7, 1).

use super::SAMPLE_RATE;
use super::g711::Law;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    Pcm16,
    Companded(Law),
}

/// Bytes ahead of the samples in the files we write.
pub const HEADER_LEN: usize = 58;

/// The header of a file with `data_len` bytes of companded samples.
pub fn header(law: Law, data_len: u32) -> [u8; HEADER_LEN] {
    let mut h = [0u8; HEADER_LEN];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        h[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(b"RIFF");
    put(&(HEADER_LEN as u32 - 8 + data_len + (data_len & 1)).to_le_bytes());
    put(b"WAVEfmt ");
    put(&18u32.to_le_bytes());
    put(&(if law == Law::A { 6u16 } else { 7 }).to_le_bytes());
    put(&1u16.to_le_bytes());
    put(&SAMPLE_RATE.to_le_bytes());
    put(&SAMPLE_RATE.to_le_bytes()); // bytes a second
    put(&1u16.to_le_bytes()); // bytes a sample
    put(&8u16.to_le_bytes()); // bits a sample
    put(&0u16.to_le_bytes()); // no extension
    put(b"fact");
    put(&4u32.to_le_bytes());
    put(&data_len.to_le_bytes());
    put(b"data");
    put(&data_len.to_le_bytes());
    h
}

/// A whole file.
pub fn write(law: Law, samples: &[u8]) -> Vec<u8> {
    // Whoever cuts recordings cuts them in parts far below 4 GiB.
    let len = u32::try_from(samples.len()).unwrap_or(u32::MAX);
    let mut out = Vec::with_capacity(HEADER_LEN + samples.len() + 1);
    out.extend_from_slice(&header(law, len));
    out.extend_from_slice(samples);
    if samples.len() % 2 == 1 {
        out.push(0);
    }
    out
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WavError {
    pub at: usize,
    pub what: &'static str,
}

/// A parsed file; the samples stay where they are.
#[derive(Clone, Copy, Debug)]
pub struct Wav<'a> {
    pub format: Format,
    pub data: &'a [u8],
}

impl<'a> Wav<'a> {
    /// # Errors
    /// Not RIFF/WAVE, no `fmt ` or `data`, a truncated chunk, or not one channel of 8 kHz in a format above.
    pub fn parse(bytes: &'a [u8]) -> Result<Wav<'a>, WavError> {
        let fail = |at, what| Err(WavError { at, what });
        if bytes.len() < 12 || &bytes[..4] != b"RIFF" || &bytes[8..12] != b"WAVE" {
            return fail(0, "not a RIFF/WAVE file");
        }
        let mut format = None;
        let mut at = 12;
        while at + 8 <= bytes.len() {
            let id = &bytes[at..at + 4];
            let len = u32::from_le_bytes(std::array::from_fn(|i| bytes[at + 4 + i])) as usize;
            let Some(chunk) = bytes.get(at + 8..).and_then(|b| b.get(..len)) else {
                return fail(at, "chunk longer than the file");
            };
            match id {
                b"fmt " => {
                    format = Some(
                        parse_format(chunk)
                            .ok_or(WavError { at, what: "format is not 8 kHz mono G.711 or 16-bit PCM" })?,
                    )
                }
                b"data" => {
                    let Some(format) = format else { return fail(at, "data before fmt") };
                    return Ok(Wav { format, data: chunk });
                }
                _ => {}
            }
            at += 8 + len + (len & 1);
        }
        fail(at, "no data chunk")
    }

    /// The samples as 16-bit PCM.
    pub fn samples(&self) -> Vec<i16> {
        match self.format {
            Format::Pcm16 => self.data.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect(),
            Format::Companded(law) => self.data.iter().map(|&b| law.decode(b)).collect(),
        }
    }
}

fn parse_format(chunk: &[u8]) -> Option<Format> {
    let word = |at: usize| chunk.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    let rate = u32::from_le_bytes(chunk.get(4..8)?.try_into().ok()?);
    if word(2)? != 1 || rate != SAMPLE_RATE {
        return None;
    }
    match (word(0)?, word(14)?) {
        (1, 16) => Some(Format::Pcm16),
        (6, 8) => Some(Format::Companded(Law::A)),
        (7, 8) => Some(Format::Companded(Law::Mu)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_file_parses_to_the_same_samples() {
        let file = write(Law::A, &[1, 2, 3]);
        let wav = Wav::parse(&file).expect("parses");
        assert_eq!((wav.format, wav.data), (Format::Companded(Law::A), &[1u8, 2, 3][..]));
        assert_eq!(u32::from_le_bytes(file[4..8].try_into().expect("four")) as usize, file.len() - 8);
    }

    #[test]
    fn any_cut_of_a_file_is_an_error_and_never_a_panic() {
        let file = write(Law::Mu, &[7; 40]);
        for len in 0..file.len() {
            assert!(Wav::parse(&file[..len]).is_err(), "cut at {len}");
        }
    }
}
