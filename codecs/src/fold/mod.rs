//! Text as it is compared: whoever evades a word by its spelling is read all the same (items 1A.73, 1A.8).
//!
//! Folded away: traditional characters, full width, capitals, blanks and marks between characters, and characters that
//! nobody sees. What ends a sentence stays, as a line's end: two sentences make no word together.

/// Traditional and simplified in turn: from Unicode's Unihan database, field `kSimplifiedVariant`, the first form that GB/T
/// 2312 has of what it has not itself; and 後, 裏, 裡, 麼.
const VARIANTS: &str = include_str!("variants.txt");

const FIRST: u32 = 0x4E00;
const LAST: u32 = 0x9FFF;

/// Of each unified ideograph what it is folded to; nought: itself.
static SIMPLIFIED: [u16; (LAST - FIRST + 1) as usize] = simplified();

const fn simplified() -> [u16; (LAST - FIRST + 1) as usize] {
    let bytes = VARIANTS.as_bytes();
    let mut table = [0; (LAST - FIRST + 1) as usize];
    let mut at = 0;
    while at + 6 <= bytes.len() {
        table[(ideograph(bytes, at) - FIRST) as usize] = ideograph(bytes, at + 3) as u16;
        at += 6;
    }
    table
}

/// Three octets of UTF-8.
const fn ideograph(bytes: &[u8], at: usize) -> u32 {
    (bytes[at] as u32 & 0x0F) << 12 | (bytes[at + 1] as u32 & 0x3F) << 6 | (bytes[at + 2] as u32 & 0x3F)
}

/// What ends a sentence, as `fold` writes it.
pub const END: char = '\n';

/// A character as it is compared; none: it is not read.
pub fn fold_char(c: char) -> Option<char> {
    match c {
        'a'..='z' | '0'..='9' => Some(c),
        'A'..='Z' => Some(c.to_ascii_lowercase()),
        '\n' | '\u{B}' | '\u{C}' | '!' | '?' | ';' | '。' | '！' | '？' | '；' | '｡' => Some(END),
        '\u{85}' | '\u{2028}' | '\u{2029}' | '‼' | '\u{2047}'..='\u{2049}' => Some(END),
        '\u{FE12}' | '\u{FE14}'..='\u{FE16}' | '\u{FE54}' | '\u{FE56}' | '\u{FE57}' => Some(END),
        '\u{4E00}'..='\u{9FFF}' => match SIMPLIFIED[(c as u32 - FIRST) as usize] {
            0 => Some(c),
            simple => char::from_u32(u32::from(simple)),
        },
        // Full width.
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(c as u32 - 0xFEE0).and_then(fold_char),
        // Letters that nobody sees.
        '\u{115F}' | '\u{1160}' | '\u{3164}' | '\u{FFA0}' => None,
        // Marks, blanks, signs and pictures.
        _ if !c.is_alphanumeric() => None,
        _ => Some(c.to_lowercase().next().unwrap_or(c)),
    }
}

/// A text as it is compared.
pub fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    fold_into(text, &mut folded);
    folded
}

/// The same behind what is there already.
pub fn fold_into(text: &str, folded: &mut String) {
    folded.extend(text.chars().filter_map(fold_char));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_the_same_however_it_is_spelt() {
        for spelt in [
            "抢劫",
            "搶劫",
            "抢 劫",
            "抢-劫",
            "抢，劫",
            "抢\u{200B}劫",
            "【抢】劫",
            "抢*劫",
            "抢…劫",
            "抢\u{FE0F}劫",
            "抢★劫",
            "抢\u{2800}劫",
            "抢\u{3164}劫",
            "抢😀劫",
            "抢・劫",
            "抢│劫",
        ] {
            assert_eq!(fold(spelt), "抢劫", "{spelt}");
        }
        assert_eq!(fold("ＡＢＣ１２３ Ünder ab-c"), "abc123ünderabc");
        assert_eq!(fold("被抢。劫后余生！\r\n快"), "被抢\n劫后余生\n\n快", "two sentences make no word");
        for end in ["。", "｡", "‼", "\u{2028}", "\u{85}", "﹖", "⁈"] {
            assert_eq!(fold(&format!("抢{end}劫")), "抢\n劫", "{end}");
        }
        assert_eq!(fold("後面發現車門，麼"), "后面发现车门么");
        assert_eq!(fold(""), "");
    }

    #[test]
    fn nothing_is_folded_twice() {
        let pairs: Vec<char> = VARIANTS.trim_end().chars().collect();
        assert!(pairs.len() > 4000, "{}", pairs.len());
        for pair in pairs.chunks(2) {
            assert_eq!(fold_char(pair[0]), Some(pair[1]));
            assert_eq!(fold_char(pair[1]), Some(pair[1]), "{}", pair[1]);
        }
    }
}
