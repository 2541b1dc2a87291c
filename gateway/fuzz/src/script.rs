//! An input for a machine: steps, each an octet that says what happens and octets that go with it.

/// Between two steps.
pub(crate) const STEP: u8 = 0x1E;

/// The steps of an input, at most `most`.
pub(crate) fn steps(data: &[u8], most: usize) -> impl Iterator<Item = (u8, &[u8])> {
    data.split(|b| *b == STEP).filter_map(|step| step.split_first().map(|(what, with)| (*what, with))).take(most)
}

/// A number that stands at the front of a step, in up to four octets.
pub(crate) fn number(with: &[u8]) -> u32 {
    with.iter().take(4).fold(0, |n, b| n << 8 | u32::from(*b))
}

/// Writes a script.
pub(crate) fn script(steps: &[(u8, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (what, with) in steps {
        out.push(*what);
        out.extend_from_slice(with);
        out.push(STEP);
    }
    out
}
