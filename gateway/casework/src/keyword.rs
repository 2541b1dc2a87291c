//! The keyword warning (item 1A.73): words of danger found in whatever text there is.

use aho_corasick::{AhoCorasick, MatchKind};

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keyword {
    pub word: String,
    /// 1 特别重大 … 4 一般.
    pub level: u8,
    /// The category it suggests, six digits.
    pub category: Option<String>,
    /// Whoever writes this may have somebody beside them: no receipt, no ring, nothing unasked.
    pub silent: bool,
}

#[derive(Clone)]
pub struct KeywordTable {
    words: Vec<Keyword>,
    automaton: AhoCorasick,
}

impl KeywordTable {
    /// # Errors
    /// When the table is too large to build; says so.
    pub fn new(words: Vec<Keyword>) -> Result<KeywordTable, String> {
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .ascii_case_insensitive(true)
            .build(words.iter().map(|k| &k.word))
            .map_err(|e| e.to_string())?;
        Ok(KeywordTable { words, automaton })
    }

    /// A table that finds nothing.
    #[expect(clippy::expect_used, reason = "an automaton of no words is built")]
    pub fn empty() -> KeywordTable {
        KeywordTable::new(Vec::new()).expect("an automaton of no words")
    }

    /// Every distinct keyword in the text, in order of appearance.
    pub fn find(&self, text: &str) -> Vec<&Keyword> {
        let mut found: Vec<&Keyword> = Vec::new();
        for hit in self.automaton.find_iter(text) {
            let keyword = &self.words[hit.pattern().as_usize()];
            if !found.iter().any(|k| k.word == keyword.word) {
                found.push(keyword);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_word_is_found_once() {
        let word = |w: &str, level| Keyword { word: w.into(), level, category: None, silent: false };
        let table = KeywordTable::new(vec![word("刀", 3), word("持刀", 2), word("爆炸", 1)]).expect("builds");
        let found: Vec<_> = table.find("有人持刀,他持刀追我,要爆炸了").iter().map(|k| k.word.as_str()).collect();
        assert_eq!(found, ["持刀", "爆炸"]);
        assert!(table.find("").is_empty());
    }
}
