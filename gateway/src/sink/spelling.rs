//! Numbers and names in what people write, however they are spelt: made unreadable.
//!
//! A number is digits of any script, written out ones too, with whatever stands between them but letters. What is spelt
//! by letters between its digits, or told in a riddle, is not found.

use codecs::fold::fold_char;

/// Digits of a telephone with its area, a mobile, an account; a date and most addresses have fewer.
const NUMBER: usize = 9;
/// Characters that stand between two digits of one number, at most.
const BETWEEN: usize = 4;

/// The first of ten digits that follow each other, of every script that people here could write.
const NOUGHTS: [u32; 27] = [
    0x30, 0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xE50, 0xED0, 0xF20,
    0x1040, 0x17E0, 0x1810, 0x1946, 0x19D0, 0xFF10, 0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6,
];
/// The same of those that begin with one.
const ONES: [u32; 8] = [0x2460, 0x2474, 0x2488, 0x2776, 0x2780, 0x278A, 0x24F5, 0x3220];
/// Written out, each in its ways.
const WRITTEN: [&str; 10] =
    ["〇零○Ｏ⓪", "一壹幺弌", "二贰貳两兩弍", "三叁參叄弎", "四肆", "五伍", "六陆陸", "七柒", "八捌", "九玖"];

/// A digit; none: no digit. One whose worth nobody knows is ten.
fn digit(c: char) -> Option<u8> {
    if c.is_ascii() {
        return c.to_digit(10).map(|d| d as u8);
    }
    if let Some(worth) = WRITTEN.iter().position(|ways| ways.contains(c)) {
        return Some(worth as u8);
    }
    // Tens and hundreds are no digits but words.
    if "十百千万萬亿億拾佰仟".contains(c) || !c.is_numeric() {
        return None;
    }
    let code = u32::from(c);
    let of = |first: &u32, most: u32| code.checked_sub(*first).filter(|d| *d < most);
    let nought = NOUGHTS.iter().find_map(|first| of(first, 10));
    let worth = nought.or_else(|| ONES.iter().find_map(|first| of(first, 9)).map(|d| d + 1));
    Some(worth.map_or(10, |d| d as u8))
}

/// What only stands between: blanks, points, strokes, signs, what nobody sees.
fn is_between(c: char) -> bool {
    !c.is_alphanumeric()
}

/// A name or number without what stands between its characters, in small letters; digits as they are worth.
pub(super) fn bare(text: &str) -> Vec<char> {
    text.chars().filter(|c| !is_between(*c)).map(folded).collect()
}

fn folded(c: char) -> char {
    match digit(c) {
        Some(d) if d < 10 => char::from(b'0' + d),
        // In traditional characters it is the same name.
        _ => fold_char(c).unwrap_or(c),
    }
}

/// Without long numbers, and without what is known of who reports (`bare`).
pub(super) fn masked(text: &str, known: &[Vec<char>]) -> String {
    let mut all: Vec<char> = text.chars().collect();
    let places: Vec<usize> = (0..all.len()).filter(|at| !is_between(all[*at])).collect();
    let folded: Vec<char> = places.iter().map(|at| folded(all[*at])).collect();
    let mut hidden: Vec<usize> = Vec::new();
    for known in known.iter().filter(|known| !known.is_empty() && known.len() <= folded.len()) {
        let found = folded.windows(known.len()).enumerate().filter(|(_, there)| there == known);
        let (front, back) = shown(known.len());
        hidden.extend(found.flat_map(|(first, _)| &places[first + front..first + known.len() - back]));
    }
    for number in numbers(&all) {
        let (front, back) = shown(number.len());
        hidden.extend(&number[front..number.len() - back]);
    }
    hidden.into_iter().for_each(|at| all[at] = '*');
    all.into_iter().collect()
}

/// How much of what is hidden is shown, in front and behind.
fn shown(len: usize) -> (usize, usize) {
    match len {
        0..=6 => (1.min(len), 0),
        7..=10 => (2, 2),
        _ => (3, 4),
    }
}

/// Where the digits of each long number stand.
fn numbers(all: &[char]) -> Vec<Vec<usize>> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < all.len() {
        let mut digits: Vec<usize> = Vec::new();
        let mut end = at;
        while end < all.len() && (digit(all[end]).is_some() || is_between(all[end])) {
            match (digit(all[end]), digits.last()) {
                (Some(_), last) if last.is_none_or(|last| end - last <= BETWEEN + 1) => digits.push(end),
                (Some(_), _) => break,
                (None, _) => {}
            }
            end += 1;
        }
        let date = date(all, &digits);
        if digits.len() - date >= NUMBER {
            found.push(digits.split_off(date));
        }
        at = end.max(at + 1);
    }
    found
}

/// How many of the first digits are a date, with a time of day or without: 2026-11-30 12:30:00.
fn date(all: &[char], digits: &[usize]) -> usize {
    let mut groups: Vec<(u32, usize)> = Vec::new();
    let mut last = None;
    for at in digits {
        let worth = u32::from(digit(all[*at]).unwrap_or(10));
        match groups.last_mut().filter(|_| last == Some(at - 1)) {
            Some((number, len)) => (*number, *len) = (number.saturating_mul(10).saturating_add(worth), *len + 1),
            None => groups.push((worth, 1)),
        }
        last = Some(*at);
    }
    let is = |n: usize, from: u32, to: u32, most: usize| {
        groups.get(n).is_some_and(|(number, len)| (from..=to).contains(number) && *len <= most)
    };
    let is_date = is(0, 1900, 2100, 4) && is(1, 1, 12, 2) && is(2, 1, 31, 2);
    let is_time = is(3, 0, 23, 2) && is(4, 0, 59, 2) && groups.get(4).is_some_and(|(_, len)| *len == 2);
    let count = match (is_date, is_time, is(5, 0, 59, 2)) {
        (false, ..) => 0,
        (true, false, _) => 3,
        (true, true, false) => 5,
        (true, true, true) => 6,
    };
    groups.iter().take(count).map(|(_, len)| len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_anybody_s_are_unreadable_in_what_people_write_however_they_are_spelt() {
        for (text, told) in [
            ("账号6222021234567890，电话13812345678", "账号622*********7890，电话138****5678"),
            ("139-1234-5678", "139-****-5678"),
            ("０６３２ 5551234", "０６３* ***1234"),
            ("(139)12345678", "(139)****5678"),
            ("+86(139)1234-5678", "+86(1**)****-5678"),
            ("1 3 9 1 2 3 4 5 6 7 8", "1 3 9 * * * * 5 6 7 8"),
            ("一三九一二三四五六七八", "一三九****五六七八"),
            ("壹叁玖1234伍陆柒捌", "壹叁玖****伍陆柒捌"),
            ("①③⑨①②③④⑤⑥⑦⑧", "①③⑨****⑤⑥⑦⑧"),
            ("١٣٩١٢٣٤٥٦٧٨", "١٣٩****٥٦٧٨"),
        ] {
            assert_eq!(masked(text, &[]), told, "{text}");
        }
        let between = [
            ".", "－", "\u{3000}", "\u{a0}", "\t", "\n", "—", "\u{2011}", "/", "·", "_", ",", "，", "、", "\u{200b}",
            "  ", " - ",
        ];
        for between in between {
            let told = masked(&["139", "1234", "5678"].join(between), &[]);
            assert_eq!(told, ["139", "****", "5678"].join(between), "{between:?}");
        }
        for text in [
            "2026-11-30 3楼 12 人",
            "2026-11-30 12:30:05",
            "鲁D12345 110",
            "5号楼12单元301室",
            "一百二十三万四千五百六十七元",
        ] {
            assert_eq!(masked(text, &[]), text, "it is nobody's number");
        }
    }

    #[test]
    fn who_reports_is_unreadable_however_they_are_spelt() {
        let known: Vec<Vec<char>> = ["欧阳小伟", "John Smith", "55512345"].map(bare).into();
        for (text, told) in [
            ("我是欧阳小伟", "我是欧***"),
            ("我是歐陽小偉", "我是歐***"),
            ("欧 阳 小 伟 报警", "欧 * * * 报警"),
            ("JOHN SMITH here", "JO** ***TH here"),
            ("电话 5551-2345", "电话 55**-**45"),
            ("伍伍伍12345", "伍伍****45"),
        ] {
            assert_eq!(masked(text, &known), told, "{text}");
        }
    }
}
