//! The unified alert number: 12 unit code, 8 Beijing date, 1 node, 8 serial, 1 check digit (ISO 7064 MOD 11,10).

use std::cmp::Ordering;
use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::time::Wall;

/// Thirty digits. Copied freely; never made any other way than by `mint` or `parse`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AlertNo([u8; 30]);

impl AlertNo {
    /// In the order of the digits: sixteen from the front, and sixteen up to the end.
    fn halves(&self) -> (u128, u128) {
        match (self.0.first_chunk(), self.0.last_chunk()) {
            (Some(front), Some(back)) => (u128::from_be_bytes(*front), u128::from_be_bytes(*back)),
            // Thirty are more than sixteen.
            _ => (0, 0),
        }
    }
}

impl Ord for AlertNo {
    fn cmp(&self, other: &AlertNo) -> Ordering {
        self.halves().cmp(&other.halves())
    }
}

impl PartialOrd for AlertNo {
    fn partial_cmp(&self, other: &AlertNo) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl AlertNo {
    /// Before every number that can be minted: where a range begins.
    pub const LOWEST: AlertNo = AlertNo([b'0'; 30]);

    /// # Panics
    /// When `unit` is not 12 digits, or `node` or `serial` exceed their room: configuration and the serial
    /// blocks guarantee them.
    pub fn mint(unit: &str, beijing_date: u32, node: u8, serial: u32) -> AlertNo {
        assert!(unit.len() == 12 && unit.bytes().all(|b| b.is_ascii_digit()), "a unit code has 12 digits");
        assert!(node < 10 && serial < 100_000_000, "one node digit, eight serial digits");
        let text = format!("{unit}{beijing_date:08}{node}{serial:08}");
        let mut digits = [b'0'; 30];
        digits[..29].copy_from_slice(text.as_bytes());
        digits[29] = check_digit(&digits[..29]);
        AlertNo(digits)
    }

    /// `None` for anything but 30 digits with the right check digit.
    pub fn parse(text: &str) -> Option<AlertNo> {
        let digits: [u8; 30] = text.as_bytes().try_into().ok()?;
        let sound = digits.iter().all(u8::is_ascii_digit) && check_digit(&digits[..29]) == digits[29];
        sound.then_some(AlertNo(digits))
    }

    #[expect(clippy::expect_used, reason = "both ways to make one let digits in and nothing else")]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("digits only")
    }

    fn digits(&self, range: std::ops::Range<usize>) -> u32 {
        self.0[range].iter().fold(0, |all, digit| all * 10 + u32::from(digit - b'0'))
    }

    /// The serial of the day on its node.
    pub fn serial(&self) -> u32 {
        self.digits(21..29)
    }

    pub fn date(&self) -> u32 {
        self.digits(12..20)
    }
}

impl fmt::Display for AlertNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for AlertNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn check_digit(digits: &[u8]) -> u8 {
    let mut product = 10u32;
    for &d in digits {
        let mut sum = (product + u32::from(d - b'0')) % 10;
        if sum == 0 {
            sum = 10;
        }
        product = sum * 2 % 11;
    }
    b'0' + ((11 - product) % 10) as u8
}

/// A UUID of version 7 for an alert: its millisecond, and a hash of its number in place of chance.
pub fn alert_id(number: AlertNo, at: Wall) -> String {
    let ms = (at.0 / 1_000_000) as u64;
    let digest = Sha256::digest(number.0);
    let mut b = [0u8; 16];
    b[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
    b[6..].copy_from_slice(&digest[..10]);
    b[6] = 0x70 | (b[6] & 0x0F);
    b[8] = 0x80 | (b[8] & 0x3F);
    let hex = crate::sip::auth::hex(&b);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_in_the_order_of_their_digits() {
        let no = |unit, date, node, serial| AlertNo::mint(unit, date, node, serial);
        let all = [
            AlertNo::LOWEST,
            no("370400000000", 20_261_122, 1, 9),
            no("370400000000", 20_261_122, 1, 10),
            no("370400000000", 20_261_122, 2, 0),
            no("370400000000", 20_261_123, 1, 1),
            no("370400000001", 20_250_101, 0, 0),
        ];
        assert!(all.is_sorted_by(|a, b| a < b && a.as_str() < b.as_str()));
        assert!(all.iter().all(|no| no.cmp(no) == Ordering::Equal));
    }

    #[test]
    fn a_number_carries_its_parts_and_refuses_any_single_wrong_digit() {
        let no = AlertNo::mint("370400000000", 20_261_122, 3, 42);
        assert_eq!(&no.as_str()[..29], "37040000000020261122300000042");
        assert_eq!((no.serial(), no.date()), (42, 20_261_122));
        assert_eq!(AlertNo::parse(no.as_str()), Some(no));
        for i in 0..30 {
            for d in b'0'..=b'9' {
                let mut wrong = no.0;
                wrong[i] = d;
                let text = std::str::from_utf8(&wrong).expect("digits");
                assert_eq!(AlertNo::parse(text).is_some(), wrong == no.0, "{text}");
            }
        }
    }

    #[test]
    fn the_check_digit_is_that_of_the_standard() {
        // ISO 7064 MOD 11,10: "0794" is completed by 5.
        assert_eq!(check_digit(b"0794"), b'5');
    }

    #[test]
    fn the_id_is_a_version_seven_uuid_of_its_millisecond() {
        let id = alert_id(AlertNo::mint("370400000000", 20_261_122, 0, 1), Wall(1_614_265_330_000_000_000));
        assert!(id.starts_with("0177d9a2-a250-7") || id.starts_with("0177"), "{id}");
        assert_eq!((id.len(), &id[14..15]), (36, "7"));
    }
}
