//! Suggestions: which category a text speaks of, which unit handles it and which supervises, and the words that say so.
//!
//! A suggestion never decides: nothing but a person's triage, or a keyword of danger, sets a category.

use std::collections::BTreeMap;

use codecs::fold::fold;
use codecs::record::{AlertRecord, Suggestion};

use crate::keyword::{Dictionary, Entry, Sounds};

/// A word that speaks for a category.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Clue {
    pub word: String,
    /// Six digits.
    pub category: String,
    /// How sure it is by itself, in percent: 1 to 99.
    pub percent: u8,
    pub by_sound: bool,
}

/// Which unit of an alert's chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UnitFor {
    City,
    County,
    Station,
    /// A branch, by its code.
    Unit(String),
}

/// A kind of incident, and whose it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Category {
    pub name: String,
    pub handled_by: UnitFor,
    pub supervised_by: UnitFor,
}

/// The most suggestions of an alert; what is likelier stands first.
const SUGGESTIONS_MAX: usize = 3;
/// Below it nothing is suggested.
const PERCENT_MIN: u8 = 20;
/// Words of an alert that are kept for its suggestions.
const CLUES_MAX: usize = 64;

#[derive(Clone)]
pub struct Suggestions {
    /// By their words, as these are compared.
    clues: BTreeMap<String, Vec<Clue>>,
    /// Of the same words, in the same order.
    words: Vec<String>,
    dictionary: Dictionary,
    categories: BTreeMap<String, Category>,
}

impl Suggestions {
    /// # Errors
    /// When the dictionary is too large to build, or a word has nothing to read; says so.
    pub fn new(
        clues: Vec<Clue>,
        categories: BTreeMap<String, Category>,
        sounds: &Sounds,
    ) -> Result<Suggestions, String> {
        let mut by_word: BTreeMap<String, Vec<Clue>> = BTreeMap::new();
        for clue in clues {
            by_word.entry(fold(&clue.word)).or_default().push(clue);
        }
        let sounding = |clues: &[Clue]| clues.iter().any(|c| c.by_sound);
        let entries = by_word.iter().map(|(word, clues)| Entry { word, by_sound: sounding(clues) });
        let dictionary = Dictionary::new(entries, sounds)?;
        Ok(Suggestions { words: by_word.keys().cloned().collect(), clues: by_word, dictionary, categories })
    }

    /// Suggests nothing.
    #[expect(clippy::expect_used, reason = "a dictionary of no words is built")]
    pub fn none() -> Suggestions {
        Suggestions::new(Vec::new(), BTreeMap::new(), &Sounds::default()).expect("a dictionary of no words")
    }

    pub(crate) fn category(&self, code: &str) -> Option<&Category> {
        self.categories.get(code)
    }

    /// What the words of a text speak for.
    pub fn of(&self, text: &str) -> Vec<Suggestion> {
        let found = self.dictionary.find_once(text);
        self.weigh(found.iter().map(|n| self.words[*n].as_str()))
    }

    /// Adds the words of a text to those that the alert had, and weighs all of them anew; whether there is one more.
    pub(crate) fn note(&self, record: &mut AlertRecord, text: &str) -> bool {
        let mut is_new = false;
        for found in self.dictionary.find_once(text) {
            let clues = &mut record.incident.clues;
            let word = &self.words[found];
            if clues.len() < CLUES_MAX && !clues.contains(word) {
                clues.push(word.clone());
                is_new = true;
            }
        }
        if is_new {
            record.incident.suggested = self.weigh(record.incident.clues.iter().map(String::as_str));
        }
        is_new
    }

    /// Names the units, as the alert's place and complaint have them.
    pub(crate) fn place(&self, record: &mut AlertRecord, unit: impl Fn(&AlertRecord, &UnitFor) -> String) {
        let mut suggested = std::mem::take(&mut record.incident.suggested);
        for one in &mut suggested {
            if let Some(category) = self.categories.get(&one.category) {
                one.handling = unit(record, &category.handled_by);
                one.supervising = unit(record, &category.supervised_by);
            }
        }
        record.incident.suggested = suggested;
    }

    /// Words that are independent of each other make a category surer together, and never certain.
    fn weigh<'a>(&'a self, words: impl Iterator<Item = &'a str>) -> Vec<Suggestion> {
        let mut doubt: BTreeMap<&str, (f64, Vec<String>)> = BTreeMap::new();
        for clue in words.filter_map(|word| self.clues.get(word)).flatten() {
            let (left, words) = doubt.entry(&clue.category).or_insert((1.0, Vec::new()));
            *left *= 1.0 - f64::from(clue.percent.min(99)) / 100.0;
            words.push(clue.word.clone());
        }
        let sure = |left: f64| ((1.0 - left) * 100.0).round().min(99.0) as u8;
        let mut all: Vec<Suggestion> = doubt
            .into_iter()
            .map(|(category, (left, words))| Suggestion {
                name: self.categories.get(category).map(|c| c.name.clone()).unwrap_or_default(),
                category: category.to_owned(),
                percent: sure(left),
                words,
                handling: String::new(),
                supervising: String::new(),
            })
            .filter(|s| s.percent >= PERCENT_MIN)
            .collect();
        // The surest first; of equal ones the one with the lower code, as the map has them.
        all.sort_by_key(|s| std::cmp::Reverse(s.percent));
        all.truncate(SUGGESTIONS_MAX);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Suggestions {
        let clue = |word: &str, category: &str, percent| Clue {
            word: word.into(),
            category: category.into(),
            percent,
            by_sound: false,
        };
        let clues = vec![
            clue("转账", "100700", 60),
            clue("验证码", "100700", 50),
            clue("追尾", "300100", 80),
            clue("打人", "200100", 19),
            clue("转账", "200900", 30),
        ];
        let whose =
            |name: &str| Category { name: name.into(), handled_by: UnitFor::Station, supervised_by: UnitFor::County };
        let categories = BTreeMap::from([("100700".to_owned(), whose("诈骗"))]);
        Suggestions::new(clues, categories, &Sounds::default()).expect("builds")
    }

    #[test]
    fn words_make_a_category_surer_together_and_say_why() {
        let said = |text: &str| {
            let all = table().of(text);
            all.iter().map(|s| format!("{} {}% {}", s.category, s.percent, s.words.join("+"))).collect::<Vec<_>>()
        };
        let both = ["100700 80% 转账+验证码", "200900 30% 转账"];
        assert_eq!(said("他让我轉 账，还要验证码，再转账"), both);
        assert_eq!(said("追尾了，他打人"), ["300100 80% 追尾"], "below a fifth nothing is suggested");
        assert!(said("你好").is_empty());
        assert!(Suggestions::none().of("转账").is_empty());
    }
}
