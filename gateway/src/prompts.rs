//! What the gateway itself says: the zip tone to a seat, the attendant to a caller.

use codecs::audio::g711::Law;
use codecs::audio::tone::sines;
use codecs::audio::wav::{Format, Wav};
use switchboard::Prompt;

/// 1,000 Hz for as long as asked.
pub fn tone(length: std::time::Duration) -> Prompt {
    sines(&[1000.0], 0.2, 0, length.as_millis() as usize * 8).into_iter().map(|s| Law::A.encode(s)).collect()
}

/// "Help is coming, you are in line; say where you are and what has happened", made by `deploy/prompts/make.sh`.
pub fn attendant() -> Prompt {
    let wav = Wav::parse(include_bytes!("../../deploy/prompts/attendant.wav")).expect("the committed prompt is a WAV");
    assert_eq!(wav.format, Format::Companded(Law::A), "the committed prompt is A-law");
    let pause = std::iter::repeat_n(Law::A.silence(), 4 * 8000);
    wav.data.iter().copied().chain(pause).collect()
}
