//! How texts are read: words of danger, words that speak for a category, characters that sound alike, and categories.

use std::collections::BTreeMap;
use std::path::Path;

use switchboard::{Category, Clue, Keyword, Sounds, Suggestions, UnitFor, is_word};

use super::{Row, Table, read as read_file};
use crate::config::{At, Config, Problem};

/// Words of one table.
const WORDS_MAX: usize = 50_000;
/// Characters of a word, and of a category's name.
const WORD_MAX: usize = 32;

pub(super) struct Words {
    pub keywords: Vec<Keyword>,
    pub sounds: Sounds,
    pub suggestions: Suggestions,
    pub categories: BTreeMap<String, Category>,
}

/// Reads the four tables of words that a configuration may name.
pub(super) fn read(config: &Config, base: &Path, p: &mut Vec<Problem>) -> Words {
    let tables = &config.tables;
    let is_unit = |code: &str| config.unit.contains_key(code);
    let sounds = tables.sounds.as_ref().map(|f| sounds(&base.join(f), p)).unwrap_or_default();
    let categories = tables.categories.as_ref().map(|f| categories(&base.join(f), is_unit, p)).unwrap_or_default();
    let is_category = |code: &str| is_code(code) && (categories.is_empty() || categories.contains_key(code));
    let keywords = tables.keywords.as_ref().map(|f| keywords(&base.join(f), is_category, p)).unwrap_or_default();
    let clues = tables.clues.as_ref().map(|f| clues(&base.join(f), is_category, p)).unwrap_or_default();
    let suggestions = Suggestions::new(clues, categories.clone(), &sounds).unwrap_or_else(|what| {
        p.push(Problem { code: "GW-0229", at: At::Key("tables.clues".into()), what });
        Suggestions::none()
    });
    Words { keywords, sounds, suggestions, categories }
}

fn is_code(code: &str) -> bool {
    code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit())
}

fn is_short(word: &str) -> bool {
    is_word(word) && word.chars().count() <= WORD_MAX
}

/// The rows of a table of words; more than fit are told.
fn rows<'a>(table: &'a Table, p: &mut Vec<Problem>) -> impl Iterator<Item = &'a Row> + use<'a> {
    if let Some(row) = table.rows.get(WORDS_MAX) {
        p.push(table.problem(row, "GW-0229", format!("at most {WORDS_MAX} rows are read")));
    }
    table.rows.iter().take(WORDS_MAX)
}

fn keywords(file: &Path, is_category: impl Fn(&str) -> bool, p: &mut Vec<Problem>) -> Vec<Keyword> {
    let text = read_file(file, p);
    let table = Table::parse(file, &text, &["word", "level", "category"], p);
    let mut all = Vec::new();
    for row in rows(&table, p) {
        let cell = |c| table.cell(row, c);
        let category = Some(cell("category")).filter(|c| !c.is_empty()).map(str::to_owned);
        let (silent, by_sound) = (table.flag(row, "silent", p), table.flag(row, "by_sound", p));
        let level = cell("level").parse::<u8>().ok().filter(|level| (1..=4).contains(level));
        let fault = match level {
            None => Some("a keyword's level is 1 to 4"),
            Some(_) if !is_short(cell("word")) => Some("a keyword is 1 to 32 characters of one sentence"),
            Some(_) if category.as_deref().is_some_and(|c| !is_category(c)) => {
                Some("a category is six digits, and in the table of categories where there is one")
            }
            Some(_) if silent && by_sound => Some("nobody is silent by a mere sound: a word is `silent` or `by_sound`"),
            Some(_) => None,
        };
        match (level, fault) {
            (Some(level), None) => {
                all.push(Keyword { word: cell("word").into(), level, category, silent, by_sound });
            }
            (_, fault) => p.push(table.problem(row, "GW-0229", fault.unwrap_or_default().into())),
        }
    }
    all
}

fn clues(file: &Path, is_category: impl Fn(&str) -> bool, p: &mut Vec<Problem>) -> Vec<Clue> {
    let text = read_file(file, p);
    let table = Table::parse(file, &text, &["word", "category", "percent"], p);
    let mut all: Vec<Clue> = Vec::new();
    for row in rows(&table, p) {
        let cell = |c| table.cell(row, c);
        let by_sound = table.flag(row, "by_sound", p);
        let percent = cell("percent").parse::<u8>().ok().filter(|percent| (1..=99).contains(percent));
        match percent {
            Some(percent) if is_short(cell("word")) && is_category(cell("category")) => {
                all.push(Clue { word: cell("word").into(), category: cell("category").into(), percent, by_sound })
            }
            _ => {
                let what = "a clue is a word of 1 to 32 characters, a category that there is, and 1 to 99 percent";
                p.push(table.problem(row, "GW-0229", what.into()));
            }
        }
    }
    all
}

fn categories(file: &Path, is_unit: impl Fn(&str) -> bool, p: &mut Vec<Problem>) -> BTreeMap<String, Category> {
    let text = read_file(file, p);
    let table = Table::parse(file, &text, &["code", "name", "handled_by", "supervised_by"], p);
    let unit_for = |cell: &str| match cell {
        "city" => Some(UnitFor::City),
        "county" => Some(UnitFor::County),
        "station" => Some(UnitFor::Station),
        code => Some(UnitFor::Unit(code.to_owned())).filter(|_| is_unit(code)),
    };
    let mut all = BTreeMap::new();
    for row in rows(&table, p) {
        let cell = |c| table.cell(row, c);
        let (code, name) = (cell("code"), cell("name"));
        let is_named = !name.is_empty() && name.chars().count() <= WORD_MAX;
        match (unit_for(cell("handled_by")), unit_for(cell("supervised_by"))) {
            _ if !is_code(code) || !is_named || all.contains_key(code) => {
                let what = "a category has six digits of its own and a name of 1 to 32 characters";
                p.push(table.problem(row, "GW-0257", what.into()));
            }
            (Some(handled_by), Some(supervised_by)) => {
                all.insert(code.to_owned(), Category { name: name.to_owned(), handled_by, supervised_by });
            }
            _ => {
                let what = "handled_by and supervised_by are city, county, station or the code of a unit";
                p.push(table.problem(row, "GW-0257", what.into()));
            }
        }
    }
    all
}

fn sounds(file: &Path, p: &mut Vec<Problem>) -> Sounds {
    let text = read_file(file, p);
    let table = Table::parse(file, &text, &["sound", "characters"], p);
    let mut all = Sounds::default();
    for row in rows(&table, p) {
        let characters = table.cell(row, "characters");
        if characters.chars().count() < 2 {
            p.push(table.problem(row, "GW-0229", "a sound has two characters or more".into()));
        }
        all.add(characters);
    }
    all
}
