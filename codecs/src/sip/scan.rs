//! Line ends, sixty-four octets at a look.
//!
//! Sixteen octets are compared in one vector instruction where the processor has them from birth (SSE2 on x86-64), one
//! by one elsewhere; both say the same.

const BLOCK: usize = 64;

/// Which of sixteen octets are `wanted`, bit by place.
#[inline(always)]
pub(super) fn equal(octets: [u8; 16], wanted: u8) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if let Some(sse2) = pulp::core_arch::x86::Sse2::try_new() {
        let same = sse2._mm_cmpeq_epi8(pulp::cast(octets), sse2._mm_set1_epi8(wanted as i8));
        return sse2._mm_movemask_epi8(same) as u32;
    }
    octets.iter().enumerate().fold(0, |mask, (n, octet)| mask | u32::from(*octet == wanted) << n)
}

/// Which of sixteen octets are below 0x20, bit by place.
#[inline(always)]
fn controls(octets: [u8; 16]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if let Some(sse2) = pulp::core_arch::x86::Sse2::try_new() {
        let all = pulp::cast(octets);
        let below = sse2._mm_cmpeq_epi8(sse2._mm_min_epu8(all, sse2._mm_set1_epi8(0x1F)), all);
        return sse2._mm_movemask_epi8(below) as u32;
    }
    octets.iter().enumerate().fold(0, |mask, (n, octet)| mask | u32::from(*octet < 0x20) << n)
}

/// Finds the ends of lines one after the other.
pub(super) struct LineEnds<'a> {
    bytes: &'a [u8],
    /// Where the block begins that `mask` is of.
    block: usize,
    /// Its octets below 0x20 that were not looked at yet.
    mask: u64,
    /// Whether a carriage return stood anywhere but ahead of a line feed.
    pub lone_return: bool,
}

impl<'a> LineEnds<'a> {
    /// Looks from `at` on.
    pub(super) fn new(bytes: &'a [u8], at: usize) -> LineEnds<'a> {
        let mut ends = LineEnds { bytes, block: at, mask: 0, lone_return: false };
        ends.look();
        ends
    }

    #[inline]
    fn look(&mut self) {
        let rest = &self.bytes[self.block..];
        // What is added behind the end must not look like an end.
        let mut padded = [0xFF; BLOCK];
        let block = rest.first_chunk::<BLOCK>().unwrap_or_else(|| {
            padded[..rest.len()].copy_from_slice(rest);
            &padded
        });
        self.mask = (block.as_chunks::<16>().0.iter().enumerate())
            .fold(0, |mask, (n, octets)| mask | u64::from(controls(*octets)) << (n * 16));
    }

    #[inline]
    fn next_control(&mut self) -> Option<usize> {
        while self.mask == 0 {
            if self.bytes.len() - self.block <= BLOCK {
                return None;
            }
            self.block += BLOCK;
            self.look();
        }
        let at = self.block + self.mask.trailing_zeros() as usize;
        self.mask &= self.mask - 1;
        Some(at)
    }

    /// Where the line ends and where the next begins: at CRLF or at LF alone.
    #[inline]
    pub(super) fn next(&mut self) -> Option<(usize, usize)> {
        loop {
            let at = self.next_control()?;
            match self.bytes[at] {
                b'\n' => return Some((at, at + 1)),
                b'\r' if self.bytes.get(at + 1) == Some(&b'\n') => {
                    self.next_control();
                    return Some((at, at + 2));
                }
                b'\r' => self.lone_return = true,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_end_is_told_in_order_wherever_it_stands() {
        let mut seed = 7u64;
        for length in 0..400 {
            let text: Vec<u8> = (0..length)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    b"\n\r\tabcdefgh\xFF"[(seed >> 33) as usize % 12]
                })
                .collect();
            for from in [0, 1.min(length), length / 2, length] {
                let mut ends = LineEnds::new(&text, from);
                let told: Vec<_> = std::iter::from_fn(|| ends.next()).collect();
                let feeds = (from..length).filter(|i| text[*i] == b'\n');
                let there: Vec<_> =
                    feeds.map(|i| (if i > from && text[i - 1] == b'\r' { i - 1 } else { i }, i + 1)).collect();
                assert_eq!(told, there);
                let lone = (from..length).any(|i| text[i] == b'\r' && text.get(i + 1) != Some(&b'\n'));
                assert_eq!(ends.lone_return, lone, "{}", text.escape_ascii());
            }
        }
    }

    #[test]
    fn octets_are_compared_each_at_its_place() {
        let octets: [u8; 16] = *b"a:bc::defghijkl:";
        assert_eq!(equal(octets, b':'), 0b1000_0000_0011_0010);
        assert_eq!(equal(octets, 0xFF), 0);
        assert_eq!(controls(*b"\x00a\x1F \r\n\x7F\x80\xFFbcdefgh"), 0b11_0101);
    }
}
