//! Sine tones and the Goertzel detector that tells them apart.

use super::SAMPLE_RATE;

/// `samples` samples of a sum of sines, each at `amplitude` of full scale, starting at sample `from`.
pub fn sines(frequencies_hz: &[f64], amplitude: f64, from: u64, samples: usize) -> Vec<i16> {
    (0..samples as u64)
        .map(|i| {
            let t = (from + i) as f64 / f64::from(SAMPLE_RATE);
            let sum: f64 = frequencies_hz.iter().map(|f| (t * f * std::f64::consts::TAU).sin()).sum();
            (sum * amplitude * 32767.0).clamp(-32768.0, 32767.0) as i16
        })
        .collect()
}

/// The amplitude (0 to 1 of full scale) of one frequency in the samples.
pub fn goertzel(samples: &[i16], frequency_hz: f64) -> f64 {
    if samples.is_empty() {
        return 0.0;
    }
    let w = std::f64::consts::TAU * frequency_hz / f64::from(SAMPLE_RATE);
    let coefficient = 2.0 * w.cos();
    let (mut s1, mut s2) = (0.0, 0.0);
    for &x in samples {
        let s0 = f64::from(x) + coefficient * s1 - s2;
        s2 = s1;
        s1 = s0;
    }
    let power = s1 * s1 + s2 * s2 - coefficient * s1 * s2;
    2.0 * power.max(0.0).sqrt() / samples.len() as f64 / 32767.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_found_at_its_frequency_and_nowhere_else() {
        let samples = sines(&[700.0, 1900.0], 0.25, 0, 1600);
        assert!((goertzel(&samples, 700.0) - 0.25).abs() < 0.01);
        assert!((goertzel(&samples, 1900.0) - 0.25).abs() < 0.01);
        assert!(goertzel(&samples, 1100.0) < 0.005);
    }
}
