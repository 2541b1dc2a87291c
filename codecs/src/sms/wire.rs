//! Fields of the carriers' binary protocols: big-endian integers and fixed or terminated octet strings.

/// What is wrong with a PDU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PduError {
    /// The claimed length cannot be; the stream is lost and has to be closed.
    Length(u32),
    /// The PDU ends inside the named field.
    Truncated(&'static str),
    /// No such command.
    Unknown(u32),
    /// The named field holds what it must not.
    Field(&'static str),
}

/// Length of the first PDU in `stream`, or `None` until its last byte is there.
///
/// # Errors
/// `PduError::Length` when the claimed length is outside `least..=most`.
pub fn frame(stream: &[u8], least: usize, most: usize) -> Result<Option<usize>, PduError> {
    let Some(head) = stream.first_chunk::<4>() else { return Ok(None) };
    let claimed = u32::from_be_bytes(*head);
    if !(least..=most).contains(&(claimed as usize)) {
        return Err(PduError::Length(claimed));
    }
    Ok(Some(claimed as usize).filter(|len| *len <= stream.len()))
}

/// Reads fields in their order.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Fields<'a> {
        Fields { rest: bytes }
    }

    pub(super) fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], PduError> {
        let (field, rest) = self.rest.split_at_checked(len).ok_or(PduError::Truncated(what))?;
        self.rest = rest;
        Ok(field)
    }

    pub(super) fn array<const N: usize>(&mut self, what: &'static str) -> Result<&'a [u8; N], PduError> {
        let (field, rest) = self.rest.split_first_chunk::<N>().ok_or(PduError::Truncated(what))?;
        self.rest = rest;
        Ok(field)
    }

    pub(super) fn u8(&mut self, what: &'static str) -> Result<u8, PduError> {
        self.array::<1>(what).map(|b| b[0])
    }

    pub(super) fn u16(&mut self, what: &'static str) -> Result<u16, PduError> {
        self.array(what).map(|b| u16::from_be_bytes(*b))
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, PduError> {
        self.array(what).map(|b| u32::from_be_bytes(*b))
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, PduError> {
        self.array(what).map(|b| u64::from_be_bytes(*b))
    }

    /// A fixed field up to its first zero: a full one has none.
    pub(super) fn text(&mut self, width: usize, what: &'static str) -> Result<&'a [u8], PduError> {
        let field = self.take(width, what)?;
        Ok(memchr::memchr(0, field).map_or(field, |end| &field[..end]))
    }

    /// A zero-terminated string of at most `most` bytes, the zero included (SMPP 3.4 3.1).
    pub(super) fn c_string(&mut self, most: usize, what: &'static str) -> Result<&'a [u8], PduError> {
        let window = &self.rest[..most.min(self.rest.len())];
        let end = memchr::memchr(0, window).ok_or(if window.len() < most {
            PduError::Truncated(what)
        } else {
            PduError::Field(what)
        })?;
        let field = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        Ok(field)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

/// Writes one PDU at the end of a buffer; the length is filled in at last.
pub(super) struct PduWriter<'a> {
    out: &'a mut Vec<u8>,
    begin: usize,
}

impl<'a> PduWriter<'a> {
    pub(super) fn begin(out: &'a mut Vec<u8>, command: u32) -> PduWriter<'a> {
        let begin = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&command.to_be_bytes());
        PduWriter { out, begin }
    }

    pub(super) fn u8(&mut self, value: u8) -> &mut Self {
        self.out.push(value);
        self
    }

    pub(super) fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.out.extend_from_slice(value);
        self
    }

    /// A fixed field, filled with zeros; what does not fit is cut.
    pub(super) fn text(&mut self, value: &[u8], width: usize) -> &mut Self {
        let kept = &value[..value.len().min(width)];
        self.out.extend_from_slice(kept);
        self.zeros(width - kept.len())
    }

    /// A zero-terminated string of at most `most` bytes with its zero.
    pub(super) fn c_string(&mut self, value: &[u8], most: usize) -> &mut Self {
        let kept = &value[..value.len().min(most - 1)];
        self.bytes(kept).u8(0)
    }

    pub(super) fn zeros(&mut self, count: usize) -> &mut Self {
        self.out.resize(self.out.len() + count, 0);
        self
    }

    pub(super) fn end(&mut self) {
        let len = (self.out.len() - self.begin) as u32;
        self.out[self.begin..self.begin + 4].copy_from_slice(&len.to_be_bytes());
    }
}

/// The ten ASCII digits `MMDDHHMMSS` of a decimal time.
pub(super) fn ten_digits(timestamp: u32) -> [u8; 10] {
    let (mut digits, mut rest) = ([b'0'; 10], timestamp);
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    digits
}

#[cfg(test)]
pub(super) mod testing {
    pub(crate) fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|p| u8::from_str_radix(std::str::from_utf8(p).expect("hex"), 16).expect("hex")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_whole_or_awaited_or_refused_before_anything_is_kept() {
        assert_eq!(frame(&[0, 0, 0], 12, 64), Ok(None));
        assert_eq!(frame(&[0, 0, 0, 12, 1, 2], 12, 64), Ok(None));
        assert_eq!(frame(&[0, 0, 0, 9, 9, 9], 5, 64), Ok(None));
        assert_eq!(frame(&[0, 0, 0, 6, 9, 9], 5, 64), Ok(Some(6)));
        assert_eq!(frame(&[0, 0, 0, 3], 12, 64), Err(PduError::Length(3)));
        assert_eq!(frame(&[0xFF, 0xFF, 0xFF, 0xFF], 12, 64), Err(PduError::Length(u32::MAX)));
    }
}
