//! Alphabets of short messages, and splitting what is too long for one.

use encoding_rs::GB18030;

use super::udh::Segment;

/// How the octets of a message stand for characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alphabet {
    Ascii,
    /// GSM 03.38, one septet an octet, as SMPP carries it.
    Gsm7,
    Latin1,
    /// UTF-16BE.
    Ucs2,
    /// GB 18030, a superset of the GBK that `Msg_Fmt` 15 names.
    Gbk,
    /// Octets that are no text.
    Binary,
}

impl Alphabet {
    /// `Msg_Fmt` of CMPP, `MessageCoding` of SGIP, `MsgFormat` of SMGP.
    pub fn from_msg_fmt(code: u8) -> Alphabet {
        match code {
            0 => Alphabet::Ascii,
            8 => Alphabet::Ucs2,
            15 => Alphabet::Gbk,
            3 | 4 | 246 => Alphabet::Binary,
            // By the groups of GSM 03.38 4: bits 3 and 2 are 10 for UCS-2.
            other if other & 0x0C == 0x08 => Alphabet::Ucs2,
            _ => Alphabet::Binary,
        }
    }

    /// `data_coding` of SMPP 3.4 5.2.19; `default` is what this SMSC means by 0.
    pub fn from_data_coding(code: u8, default: Alphabet) -> Alphabet {
        match code {
            0 => default,
            1 => Alphabet::Ascii,
            3 => Alphabet::Latin1,
            8 => Alphabet::Ucs2,
            15 => Alphabet::Gbk,
            0xF0..=0xFF if code & 4 == 0 => Alphabet::Gsm7,
            _ => Alphabet::Binary,
        }
    }

    pub fn msg_fmt(self) -> u8 {
        match self {
            Alphabet::Ascii | Alphabet::Gsm7 | Alphabet::Latin1 => 0,
            Alphabet::Ucs2 => 8,
            Alphabet::Gbk => 15,
            Alphabet::Binary => 4,
        }
    }
}

/// GSM 03.38 default alphabet, in the order of its codes.
const GSM7: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\u{1b}ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";

fn gsm7_extension(code: u8) -> Option<char> {
    Some(match code {
        0x0A => '\u{c}',
        0x14 => '^',
        0x28 => '{',
        0x29 => '}',
        0x2F => '\\',
        0x3C => '[',
        0x3D => '~',
        0x3E => ']',
        0x40 => '|',
        0x65 => '€',
        _ => return None,
    })
}

/// The text of `octets`. What cannot be decoded becomes U+FFFD; octets that are no text become `[hex …]`, so that
/// nothing is dropped.
pub fn decode(alphabet: Alphabet, octets: &[u8]) -> String {
    match alphabet {
        Alphabet::Ascii => octets.iter().map(|b| if b.is_ascii() { *b as char } else { '\u{FFFD}' }).collect(),
        Alphabet::Latin1 => octets.iter().map(|b| *b as char).collect(),
        Alphabet::Gsm7 => decode_gsm7(octets),
        Alphabet::Ucs2 => {
            let pairs = octets.chunks_exact(2);
            let torn = (!pairs.remainder().is_empty()).then_some('\u{FFFD}');
            let units = pairs.map(|p| u16::from_be_bytes([p[0], p[1]]));
            char::decode_utf16(units).map(|c| c.unwrap_or('\u{FFFD}')).chain(torn).collect()
        }
        Alphabet::Gbk => GB18030.decode_without_bom_handling(octets).0.into_owned(),
        Alphabet::Binary => {
            let mut text = String::with_capacity(octets.len() * 2 + 6);
            text.push_str("[hex ");
            text.push_str(&crate::sip::auth::hex(octets));
            text.push(']');
            text
        }
    }
}

fn decode_gsm7(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len());
    let mut rest = octets.iter();
    while let Some(&code) = rest.next() {
        let c = match code {
            0x1B => rest.next().and_then(|c| gsm7_extension(*c)),
            code => GSM7.chars().nth(code as usize),
        };
        text.push(c.unwrap_or('\u{FFFD}'));
    }
    text
}

/// Octets of a message's content on the wire: one part of it, with its header in front when there are several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    pub segment: Option<Segment>,
    /// Without the header.
    pub octets: Vec<u8>,
}

/// Splits `text` into as few messages as carry it: ASCII (160, or 153 a part) or UCS-2 (70, or 67 a part).
/// A pair of surrogates is never cut.
pub fn split(text: &str, reference: u8) -> (Alphabet, Vec<Part>) {
    let (alphabet, single, each) =
        if text.is_ascii() { (Alphabet::Ascii, 160, 153) } else { (Alphabet::Ucs2, 140, 134) };
    let mut octets = Vec::with_capacity(text.len() * 2);
    let mut ends = Vec::new();
    let mut begin = 0;
    for c in text.chars() {
        let before = octets.len();
        if alphabet == Alphabet::Ascii {
            octets.push(c as u8);
        } else {
            octets.extend(c.encode_utf16(&mut [0; 2]).iter().flat_map(|u| u.to_be_bytes()));
        }
        if octets.len() - begin > each {
            ends.push(before);
            begin = before;
        }
    }
    if octets.len() <= single {
        return (alphabet, vec![Part { segment: None, octets }]);
    }
    ends.push(octets.len());
    // 255 parts are 17,000 characters; a text for a telephone is cut there.
    ends.truncate(255);
    let total = ends.len() as u8;
    let mut from = 0;
    let part = |(i, end): (usize, &usize)| {
        let octets = octets[from..*end].to_vec();
        from = *end;
        Part { segment: Some(Segment { reference: u16::from(reference), total, number: i as u8 + 1 }), octets }
    };
    (alphabet, ends.iter().enumerate().map(part).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chinese_is_read_in_both_of_the_carriers_alphabets() {
        assert_eq!(decode(Alphabet::Gbk, &[0xd3, 0xd0, 0xc8, 0xcb, 0xb4, 0xf2, 0xbc, 0xdc]), "有人打架");
        assert_eq!(decode(Alphabet::Ucs2, &[0x67, 0x09, 0x4e, 0xba, 0x62, 0x53, 0x67, 0xb6]), "有人打架");
    }

    #[test]
    fn what_cannot_be_read_is_marked_and_never_dropped() {
        assert_eq!(decode(Alphabet::Ascii, b"a\xFFb"), "a\u{FFFD}b");
        assert_eq!(decode(Alphabet::Ucs2, &[0xD8, 0x00, 0x00]), "\u{FFFD}\u{FFFD}");
        assert_eq!(decode(Alphabet::Binary, &[1, 0xAB]), "[hex 01ab]");
        assert_eq!(decode(Alphabet::Gsm7, &[0x1B, 0x65, b'A', 0, 0x1B]), "€A@\u{FFFD}");
    }

    #[test]
    fn the_table_of_gsm_03_38_has_128_codes() {
        assert_eq!(GSM7.chars().count(), 128);
        assert_eq!(GSM7.chars().nth(0x41), Some('A'));
        assert_eq!(GSM7.chars().nth(0x7B), Some('ä'));
    }

    #[test]
    fn one_hundred_characters_are_two_parts_and_seventy_are_one() {
        let (alphabet, parts) = split(&"长".repeat(70), 0x4A);
        assert_eq!((alphabet, parts.len(), parts[0].segment), (Alphabet::Ucs2, 1, None));
        let (_, parts) = split(&"长".repeat(100), 0x4A);
        assert_eq!(parts.iter().map(|p| p.octets.len()).collect::<Vec<_>>(), [134, 66]);
        assert_eq!(parts[0].segment.expect("parted").header(), [5, 0, 3, 0x4A, 2, 1]);
        let (_, parts) = split(&"x".repeat(161), 1);
        assert_eq!(parts.iter().map(|p| p.octets.len()).collect::<Vec<_>>(), [153, 8]);
    }

    #[test]
    fn a_pair_of_surrogates_is_never_cut() {
        let text = "a长".repeat(33) + "😀" + &"尾".repeat(20);
        let (alphabet, parts) = split(&text, 1);
        assert_eq!(parts[0].octets.len(), 132);
        let joined: String = parts.iter().map(|p| decode(alphabet, &p.octets)).collect();
        assert_eq!(joined, text);
    }
}
