//! Words found in whatever text there is, however they are spelt: the warning of danger (items 1A.73, 1A.75), and the
//! dictionary that both it and the suggestions are read with.

use aho_corasick::{AhoCorasick, MatchKind};
use codecs::fold::fold;

/// Characters that sound alike; a city lists those that matter to its words.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sounds {
    /// Of each unified ideograph the one that stands for its sound; nought: itself. Empty without any.
    signs: Vec<u16>,
}

const FIRST: u32 = 0x4E00;
const LAST: u32 = 0x9FFF;

/// An ideograph's place in the table.
fn place(c: char) -> Option<usize> {
    (FIRST..=LAST).contains(&(c as u32)).then(|| (c as u32 - FIRST) as usize)
}

impl Sounds {
    /// These ideographs sound alike; of one that has several sounds the first counts.
    pub fn add(&mut self, characters: &str) {
        let folded = fold(characters);
        let ideographs = || folded.chars().filter(|c| place(*c).is_some());
        let Some(sign) = ideographs().next().map(|first| self.sign(first)) else { return };
        self.signs.resize((LAST - FIRST + 1) as usize, 0);
        for at in ideographs().filter_map(place) {
            if self.signs[at] == 0 {
                self.signs[at] = sign as u16;
            }
        }
    }

    fn sign(&self, c: char) -> char {
        let sign = place(c).and_then(|at| self.signs.get(at)).filter(|sign| **sign != 0);
        sign.and_then(|sign| char::from_u32(u32::from(*sign))).unwrap_or(c)
    }

    fn of(&self, folded: &str) -> String {
        let mut signs = String::with_capacity(folded.len());
        signs.extend(folded.chars().map(|c| self.sign(c)));
        signs
    }
}

/// A word of a dictionary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry<'a> {
    pub word: &'a str,
    /// Whether it is also found in characters that sound like it.
    pub by_sound: bool,
}

/// Finds words in a text as it is compared (`codecs::fold`).
#[derive(Clone)]
pub(crate) struct Dictionary {
    by_form: AhoCorasick,
    /// With each pattern's place among the words.
    by_sound: Option<(AhoCorasick, Vec<usize>)>,
    sounds: Sounds,
}

impl Dictionary {
    /// # Errors
    /// A word of which nothing is left once it is folded, or too many; says so.
    pub(crate) fn new<'a>(
        entries: impl Iterator<Item = Entry<'a>> + Clone,
        sounds: &Sounds,
    ) -> Result<Dictionary, String> {
        if let Some(none) = entries.clone().find(|e| !is_word(e.word)) {
            return Err(format!("`{}` is no word", none.word));
        }
        let sounding: Vec<usize> = entries.clone().enumerate().filter(|(_, e)| e.by_sound).map(|(n, _)| n).collect();
        let patterns: Vec<String> = entries.map(|e| fold(e.word)).collect();
        let by_sound = (!sounding.is_empty()).then(|| automaton(sounding.iter().map(|n| sounds.of(&patterns[*n]))));
        Ok(Dictionary {
            by_sound: by_sound.transpose()?.map(|automaton| (automaton, sounding)),
            by_form: automaton(patterns.into_iter())?,
            sounds: sounds.clone(),
        })
    }

    /// Places of the words that stand in the text, in the order of their appearance, each as often as it does; behind
    /// them those that only sound so.
    fn find(&self, text: &str, mut found: impl FnMut(usize)) {
        if self.by_form.patterns_len() == 0 || text.is_empty() {
            return;
        }
        let folded = fold(text);
        whole(&self.by_form, &folded).into_iter().for_each(&mut found);
        if let Some((automaton, places)) = &self.by_sound {
            let sounds = self.sounds.of(&folded);
            whole(automaton, &sounds).into_iter().for_each(|hit| found(places[hit]));
        }
    }

    /// Each word that stands in the text, once.
    pub(crate) fn find_once(&self, text: &str) -> Vec<usize> {
        let mut all = Vec::new();
        self.find(text, |word| {
            if !all.contains(&word) {
                all.push(word);
            }
        });
        all
    }
}

/// Whether it can be found: something of it is read, and it is within one sentence.
pub fn is_word(word: &str) -> bool {
    let folded = fold(word);
    !folded.is_empty() && !folded.contains(codecs::fold::END)
}

fn automaton(words: impl Iterator<Item = String>) -> Result<AhoCorasick, String> {
    AhoCorasick::builder().match_kind(MatchKind::Standard).build(words).map_err(|e| e.to_string())
}

/// Every word that is no part of another there. Two that share a character both stand: which of them was meant nobody
/// knows once blanks and commas are gone.
fn whole(automaton: &AhoCorasick, text: &str) -> Vec<usize> {
    let mut hits: Vec<_> = automaton.find_overlapping_iter(text).collect();
    hits.sort_by_key(|hit| (hit.start(), std::cmp::Reverse(hit.end())));
    let mut end = 0;
    hits.retain(|hit| {
        let is_whole = hit.end() > end;
        end = end.max(hit.end());
        is_whole
    });
    hits.into_iter().map(|hit| hit.pattern().as_usize()).collect()
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Keyword {
    pub word: String,
    /// 1 特别重大 … 4 一般.
    pub level: u8,
    /// The category it suggests, six digits.
    pub category: Option<String>,
    /// Whoever writes this may have somebody beside them: no receipt, no ring, nothing unasked.
    pub silent: bool,
    /// Found in characters that sound like it, too.
    pub by_sound: bool,
}

#[derive(Clone)]
pub struct KeywordTable {
    words: Vec<Keyword>,
    dictionary: Dictionary,
}

impl KeywordTable {
    /// # Errors
    /// When the table is too large to build, or a word has nothing to read; says so.
    pub fn new(words: Vec<Keyword>, sounds: &Sounds) -> Result<KeywordTable, String> {
        let entries = words.iter().map(|k| Entry { word: &k.word, by_sound: k.by_sound });
        let dictionary = Dictionary::new(entries, sounds)?;
        Ok(KeywordTable { words, dictionary })
    }

    /// A table that finds nothing.
    #[expect(clippy::expect_used, reason = "an automaton of no words is built")]
    pub fn empty() -> KeywordTable {
        KeywordTable::new(Vec::new(), &Sounds::default()).expect("an automaton of no words")
    }

    /// Every distinct keyword in the text, in order of appearance.
    pub fn find(&self, text: &str) -> Vec<&Keyword> {
        self.dictionary.find_once(text).into_iter().map(|word| &self.words[word]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(words: &[(&str, bool)], sounds: &Sounds, text: &str) -> Vec<String> {
        let word = |(w, by_sound): &(&str, bool)| Keyword {
            word: (*w).into(),
            level: 1,
            by_sound: *by_sound,
            ..Keyword::default()
        };
        let table = KeywordTable::new(words.iter().map(word).collect(), sounds).expect("builds");
        table.find(text).iter().map(|k| k.word.clone()).collect()
    }

    #[test]
    fn the_longest_word_is_found_once() {
        let words = [("刀", false), ("持刀", false), ("爆炸", false)];
        let sounds = Sounds::default();
        assert_eq!(found(&words, &sounds, "有人持刀,他持刀追我,要爆炸了"), ["持刀", "爆炸"]);
        assert!(found(&words, &sounds, "").is_empty());
    }

    #[test]
    fn a_word_is_found_however_it_is_spelt_and_by_its_sound_where_the_city_wants_it() {
        let mut sounds = Sounds::default();
        sounds.add("杀沙煞刹");
        sounds.add("人仁壬");
        let words = [("杀人", true), ("搶劫", false), ("SOS", false)];
        for (text, word) in [
            ("有人要殺人", "杀人"),
            ("沙 仁", "杀人"),
            ("抢-劫", "搶劫"),
            ("抢\u{200B}劫", "搶劫"),
            ("ｓ.ｏ.ｓ", "SOS"),
        ] {
            assert_eq!(found(&words, &sounds, text), [word], "{text}");
        }
        for text in ["杀。人", "强劫", "傻人"] {
            assert!(found(&words, &sounds, text).is_empty(), "{text}: another sentence, another word, no sound listed");
        }
        assert_eq!(found(&words, &Sounds::default(), "杀人"), ["杀人"], "without a list of sounds by form");
    }

    #[test]
    fn a_word_across_a_comma_hides_none_that_was_meant() {
        let sounds = Sounds::default();
        let words = [("伤人", false), ("人质", false), ("抢劫", false), ("劫持", false)];
        assert_eq!(found(&words, &sounds, "有人被打伤，人质还在里面"), ["伤人", "人质"]);
        assert_eq!(found(&words, &sounds, "钱被抢，劫持了我女儿"), ["抢劫", "劫持"]);
    }

    #[test]
    fn a_word_of_which_nothing_is_read_is_no_word() {
        for word in ["", " ", "***", "。", "杀。人"] {
            let word = Keyword { word: word.into(), level: 1, ..Keyword::default() };
            assert!(KeywordTable::new(vec![word], &Sounds::default()).is_err());
        }
    }
}
