//! How long a text from outside may be, in one table: what is longer is cut at a character, and its alert says so.
//!
//! The framing of each protocol has limits of its own below these (a SIP message 64 KiB and 128 headers, an SDP 32
//! media, a PDU, a webhook 1 MiB). What is larger there is refused by its protocol's own word.

use codecs::record::fingerprint;

/// One row: what it is, how many octets of it are kept, and the mark of an alert of which some was cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    pub name: &'static str,
    pub octets: usize,
    pub mark: &'static str,
}

macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident = $octets:literal;)*) => {
        $($(#[$doc])* pub const $name: Limit = Limit {
            name: stringify!($name),
            octets: $octets,
            mark: concat!("cut_", stringify!($name)),
        };)*
        /// The whole table.
        pub const ALL: &[Limit] = &[$($name),*];
    };
}

limits! {
    /// A calling or called number, a telephone number that a channel names.
    NUMBER = 64;
    /// A user of a channel: an openid, an account.
    USER = 128;
    DISPLAY_NAME = 128;
    /// A Call-ID, and whatever else names a message on its channel.
    MESSAGE_ID = 256;
    /// What a position is called.
    LABEL = 512;
    /// What a platform calls a file.
    FILE_NAME = 512;
    /// A line of what was said or written.
    LINE = 8192;
}

impl Limit {
    /// As much of a text as may be kept; whether some was cut off.
    pub fn cut(self, text: &mut String) -> bool {
        if text.len() <= self.octets {
            return false;
        }
        let end = (0..=self.octets).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.shrink_to_fit();
        true
    }
}

/// Cuts several texts; the marks of those that were too long, each once.
#[derive(Default)]
pub struct Cutter {
    pub marks: Vec<&'static str>,
}

impl Cutter {
    pub fn cut(&mut self, limit: Limit, text: &mut String) {
        if limit.cut(text) && !self.marks.contains(&limit.mark) {
            self.marks.push(limit.mark);
        }
    }

    /// A text by which things are told apart: what is cut off goes on counting.
    pub fn name(&mut self, limit: Limit, text: &mut String) {
        if text.len() <= limit.octets {
            return;
        }
        let tail = fingerprint(&[text.as_bytes()]);
        self.cut(Limit { octets: limit.octets - tail.len(), ..limit }, text);
        text.push_str(&tail);
    }

    pub fn kept(&mut self, limit: Limit, mut text: String) -> String {
        self.cut(limit, &mut text);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_too_long_stay_different() {
        let mut cutter = Cutter::default();
        let [mut a, mut b] = ["a", "b"].map(|end| format!("{}{end}", "字".repeat(100)));
        cutter.name(MESSAGE_ID, &mut a);
        cutter.name(MESSAGE_ID, &mut b);
        assert!(a != b && a.len() <= MESSAGE_ID.octets && a.len() > MESSAGE_ID.octets - 4);
        assert_eq!(cutter.marks, ["cut_MESSAGE_ID"]);
    }

    #[test]
    fn what_is_too_long_is_cut_at_a_character_and_marked_once() {
        let mut cutter = Cutter::default();
        assert_eq!(cutter.kept(NUMBER, "110".into()), "110");
        assert!(cutter.marks.is_empty());
        let long = "报".repeat(400);
        let kept = cutter.kept(LABEL, long.clone());
        assert_eq!((kept.len(), kept.chars().all(|c| c == '报')), (510, true));
        cutter.kept(LABEL, long);
        assert_eq!(cutter.marks, ["cut_LABEL"]);
    }

    #[test]
    fn the_table_has_each_name_once_and_no_row_without_a_limit() {
        let names: std::collections::BTreeSet<_> = ALL.iter().map(|l| l.name).collect();
        assert_eq!(names.len(), ALL.len());
        assert!(ALL.iter().all(|l| (1..=8192).contains(&l.octets)));
    }
}
