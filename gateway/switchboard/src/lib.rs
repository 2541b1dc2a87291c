//! The only place where SIP, media, dispatch and casework meet.
//!
//! Three machines: the `Shard` (calls, one a thread), the `Desk` (seats and officers, one in all), the `Casebook`
//! (alerts, one in all). Small messages pass between them and nothing else. Sans-IO: the shell carries the messages,
//! sends the packets and writes the journal.
//!
//! Contract of every machine here: feed one input, drain every output, then feed the next.

// Nothing that comes from outside may end a call: what can fail is a value, and each exception says why it cannot.
#![cfg_attr(
    not(test),
    deny(clippy::expect_used, clippy::panic, clippy::todo, clippy::unreachable, clippy::unwrap_used)
)]

mod casebook;
mod desk;
pub mod gate;
pub mod limits;
mod message;
pub mod replay;
pub mod route;
pub mod serials;
mod shard;

/// One person's number is written in many ways: +86138…, 0086138… and 86138… are 138…, and so are 0138…, 138-… and 138 …;
/// anything else stays as it came.
pub(crate) fn telephone(number: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_digit() || matches!(b, b'+' | b'*' | b'#');
    if !number.bytes().all(is_plain) {
        // What ends a sentence may stand behind it; between numbers it tells them apart.
        let number = number.trim_end_matches(|c: char| c.is_whitespace() || "。，、,.;；".contains(c));
        let said = bare_address(number).chars().filter_map(dialled);
        return telephone_of_digits(&said.collect::<String>());
    }
    telephone_of_digits(number)
}

/// What an address of a telephone names: its number, without scheme, host and parameters.
fn bare_address(text: &str) -> &str {
    let scheme = |text: &str, name: &str| text.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name));
    let (number, is_sip) = match ["tel:", "sip:", "sips:"].into_iter().find(|name| scheme(text, name)) {
        Some(name) => (&text[name.len()..], name != "tel:"),
        None => (text, false),
    };
    let number = number.split_once('@').filter(|_| is_sip).map_or(number, |(user, _)| user);
    // Parameters have values; what else stands behind a semicolon may be another number.
    let is_parameter = |rest: &str| rest.contains('=') || number.len() < text.len();
    number.split_once(';').filter(|(_, rest)| is_parameter(rest)).map_or(number, |(number, _)| number)
}

/// A character as it is dialled; none: it only stands between others. What is neither spoils the number.
fn dialled(c: char) -> Option<char> {
    match c {
        '０'..='９' => char::from_u32(u32::from(c) - 0xFEE0),
        '＋' => Some('+'),
        '(' | ')' | '（' | '）' | '.' | '·' | '/' | '-' | '_' | '・' | '．' => None,
        c if c.is_whitespace() || ('\u{2010}'..='\u{2015}').contains(&c) => None,
        '－' | '\u{2212}' | '\u{fe63}' | '\u{ad}' => None,
        // Unseen: joiners, and what turns the writing's direction, as it comes with a copied contact.
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => None,
        c => Some(c),
    }
}

fn telephone_of_digits(number: &str) -> String {
    // A long-distance carrier's prefix in front, and what ends dialling behind, are no part of it.
    let is_long = |rest: &&str| rest.trim_end_matches('#').len() >= 10;
    let number = ["17951", "17911", "17909", "12593"]
        .into_iter()
        .find_map(|p| number.strip_prefix(p).filter(is_long))
        .unwrap_or(number);
    let number = Some(number.trim_end_matches('#')).filter(|n| n.len() >= 10).unwrap_or(number);
    // The plus and the noughts say the same: one of them is too much.
    let number =
        number.strip_prefix('+').filter(|rest| rest.starts_with("00") || rest.starts_with("086")).unwrap_or(number);
    let abroad = number.strip_prefix('+').or_else(|| number.strip_prefix("00").filter(|rest| rest.len() >= 7));
    if let Some(abroad) = abroad.filter(|abroad| !abroad.starts_with("86")) {
        // Another country's number is nobody's here, whatever its digits.
        return format!("+{abroad}");
    }
    let bare = abroad.unwrap_or(number);
    // A mobile number behind the nought of a long-distance call.
    let is_mobile = |n: &&str| n.len() == 11 && n.starts_with('1') && (b'3'..=b'9').contains(&n.as_bytes()[1]);
    if let Some(mobile) = bare.strip_prefix("086").filter(is_mobile) {
        return mobile.to_owned();
    }
    let national = bare.strip_prefix("86").filter(|_| bare.len() >= 12).unwrap_or(bare);
    let is_cut = national.len() < bare.len();
    match national.strip_prefix('0').filter(is_mobile) {
        Some(mobile) => mobile.to_owned(),
        // Behind the country's code a town's stands without its nought; a mobile number and a service's have none.
        None if is_cut && !is_mobile(&national) && !national.starts_with(['0', '*', '#']) && !is_service(national) => {
            format!("0{national}")
        }
        None => national.to_owned(),
    }
}

/// 400 and 800, and short numbers.
fn is_service(national: &str) -> bool {
    national.len() < 9 || national.len() == 10 && (national.starts_with("400") || national.starts_with("800"))
}

/// Whether it is a number that could be dialled: three to twenty digits, as `telephone` leaves them.
pub(crate) fn is_telephone(number: &str) -> bool {
    let (mut digits, mut other_than_nought) = (0, false);
    for b in number.strip_prefix('+').unwrap_or(number).bytes() {
        match b {
            b'0'..=b'9' => {
                digits += 1;
                other_than_nought |= b != b'0';
            }
            b'*' | b'#' => {}
            _ => return false,
        }
    }
    // A pseudonym of stars, or of noughts, is nobody's number.
    // No number has more than fifteen digits (E.164): what has is two that were run together.
    number.len() <= 20 && (3..=15).contains(&digits) && other_than_nought
}

pub use casebook::{
    Casebook, CasebookConfig, ChannelRule, News, Notice, Orders, Outbound, Output as CasebookOutput, Patience,
};
pub use casework::{
    Calendar, CallFact, Candidate, Case, Category, Clue, Fact, Features, Fetch, HandlingFact, IncidentFact, Keyword,
    KeywordTable, Matter, Reason, Rule, Rules, Similar, Sounds, Suggestions, TextFact, UnitFor, When,
    is_call_unfinished, is_word,
};
pub use desk::{Desk, DeskConfig, Gauges, Output as DeskOutput};
pub use dispatch::approach::Approaching;
pub use dispatch::callback::CallBack;
pub use dispatch::conversation::QuotaRule;
pub use dispatch::nearest::{Grid, GridMap, Place};
pub use dispatch::officer::{Responder, Roster};
pub use dispatch::seat::{Group, GroupId, Seat, SeatId, SeatState};
pub use dispatch::{CallKey, Policy};
pub use media::negotiate::Own;
pub use media::{Prompt, Stats as MediaStats, TICK};
pub use message::{
    Action, AgencyCase, Body, Failure, Incoming, KeptBinding, OutgoingMessage, Reply, RequestId, SayRequest,
    SerialBlock, ToCasebook, ToDesk, ToShard,
};
pub use shard::{Counts, Observed, Output as ShardOutput, Shard, ShardConfig, Subscriber, Trunk, track_name};
pub use sip::{
    Account, Binding, CallIds, Counters as SipCounters, Flow, Mint, Rules as RegistrarRules, Seed, Transport,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_person_s_number_is_one_however_it_is_written() {
        for number in [
            "13800000021",
            "+8613800000021",
            "008613800000021",
            "8613800000021",
            "013800000021",
            "138-0000-0021",
            "138 0000 0021",
            "+86 138 0000 0021",
            "086-13800000021",
            "（138）0000－0021",
            "１３８００００００２１",
            "138\u{200b}00000021",
            "tel:+86-138-0000-0021;phone-context=+86",
            "Tel:13800000021",
            "sip:+8613800000021@ims.example",
            "\u{202a}138 0000 0021\u{202c}",
            "138\u{2212}0000\u{fe63}0021",
            "138 0000 0021。",
            "+008613800000021",
            "+0086 138 0000 0021",
            "+086 138 0000 0021",
            "1795113800000021",
            "12593138-0000-0021",
            "13800000021#",
        ] {
            assert_eq!(telephone(number), "13800000021", "{number}");
        }
        for number in ["01012345678", "110", "400-8", "+4930123456"] {
            assert!(is_telephone(&telephone(number)), "{number}");
        }
        for number in ["06325550011", "+86 632 5550011", "0086 632 5550011", "866325550011", "0632-5550011"] {
            assert_eq!(telephone(number), "06325550011", "{number}");
        }
        assert_eq!(["01012345678", "+86 10 12345678"].map(telephone), ["01012345678", "01012345678"]);
        assert_eq!(["4008001234", "+86 400 800 1234"].map(telephone), ["4008001234", "4008001234"]);
        assert_eq!(["+49 30 123456", "0049 30 123456"].map(telephone), ["+4930123456", "+4930123456"]);
        assert_ne!(telephone("+1 380 000 0051"), telephone("13800000051"), "another country's");
        for other in [
            "anonymous",
            "tel:",
            "138a",
            "",
            "***",
            "5551234、13900009911",
            "5551234 13900009911",
            "0632-5550001,8",
            "5551234;13900009916",
        ] {
            assert!(!is_telephone(&telephone(other)), "{other}");
        }
    }
}
