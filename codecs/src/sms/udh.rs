//! The user data header (3GPP TS 23.040 9.2.3.24): which part of a long message this is.

/// One part of a long message: `number` of `total`, counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Segment {
    /// 8 or 16 bits wide on the wire.
    pub reference: u16,
    pub total: u8,
    pub number: u8,
}

impl Segment {
    /// A segment that can be: anything else is a message by itself.
    pub fn new(reference: u16, total: u8, number: u8) -> Option<Segment> {
        (total > 1 && (1..=total).contains(&number)).then_some(Segment { reference, total, number })
    }

    /// The header that announces this part: the 8-bit form, six bytes.
    pub fn header(self) -> [u8; 6] {
        [5, 0, 3, self.reference as u8, self.total, self.number]
    }
}

/// Content behind its header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UserData<'a> {
    pub segment: Option<Segment>,
    pub content: &'a [u8],
    /// The header claims more than there is: everything was taken for text.
    pub lying: bool,
}

/// Takes the header off. Unknown elements are skipped; a header that does not fit leaves the content whole.
pub fn user_data(content: &[u8]) -> UserData<'_> {
    let lying = UserData { segment: None, content, lying: true };
    let Some((&len, rest)) = content.split_first() else { return lying };
    let Some((mut header, text)) = rest.split_at_checked(len as usize) else { return lying };
    let mut segment = None;
    while let [id, len, rest @ ..] = header {
        let Some((data, next)) = rest.split_at_checked(*len as usize) else { return lying };
        match (id, data) {
            (0x00, [reference, total, number]) => segment = Segment::new(u16::from(*reference), *total, *number),
            (0x08, [high, low, total, number]) => {
                segment = Segment::new(u16::from_be_bytes([*high, *low]), *total, *number);
            }
            _ => {}
        }
        header = next;
    }
    UserData { segment, content: text, lying: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_widths_are_read_and_unknown_elements_skipped() {
        let got = user_data(&[5, 0, 3, 0x2B, 2, 1, b'x']);
        assert_eq!(got.segment, Some(Segment { reference: 0x2B, total: 2, number: 1 }));
        assert_eq!(got.content, b"x");
        let got = user_data(&[10, 4, 2, 9, 9, 8, 4, 0x12, 0x34, 3, 3, b'y']);
        assert_eq!(got.segment, Some(Segment { reference: 0x1234, total: 3, number: 3 }));
        assert_eq!(got.content, b"y");
    }

    #[test]
    fn numbers_that_cannot_be_make_a_message_by_itself() {
        for (total, number) in [(0, 0), (2, 0), (2, 3), (1, 1)] {
            let content = [5, 0, 3, 7, total, number, b'z'];
            let got = user_data(&content);
            assert_eq!((got.segment, got.content, got.lying), (None, &b"z"[..], false), "{number} of {total}");
        }
    }

    #[test]
    fn a_header_longer_than_the_message_leaves_it_whole_and_says_so() {
        for content in [&[200, 1, 2][..], &[], &[3, 0, 9, 1], &[5, 0, 3]] {
            let got = user_data(content);
            assert!(got.lying && got.segment.is_none(), "{content:?}");
            assert_eq!(got.content, content);
        }
    }
}
