//! The configuration as it is written: every mistake of one reading, and where each key stands.

use std::ops::Range;
use std::path::Path;

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{At, Config, Problem};

/// Mistakes that are told of one file; beyond them nobody reads on.
const MISTAKES_MAX: usize = 100;

/// A file and its text.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub path: &'a Path,
    pub text: &'a str,
}

impl Source<'_> {
    /// Reads as much of the configuration as makes sense. What does not is told, taken out, and the rest read on: one
    /// mistake hides no other.
    pub fn read(self) -> (Option<Config>, Vec<Problem>) {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        let mut problems: Vec<Problem> =
            errors.iter().map(|e| self.problem(e.span(), suggest(e.message()))).take(MISTAKES_MAX).collect();
        let span = table.span();
        let mut table = table.into_inner();
        // A key that has been taken out is missed by nobody.
        let mut taken: Vec<String> = Vec::new();
        while problems.len() < MISTAKES_MAX {
            let whole = Spanned::new(span.clone(), table.clone());
            let error = match Config::deserialize(toml::Deserializer::from(whole)) {
                Ok(config) => return (Some(config), problems),
                Err(error) => error,
            };
            let at = error.span();
            let missing = error.message().strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
            if !missing.is_some_and(|name| taken.iter().any(|t| t == name)) {
                problems.push(self.problem(at.clone(), suggest(error.message())));
            }
            match at.and_then(|at| take_out(&mut table, &at)) {
                Some(key) => taken.push(key),
                None => break,
            }
        }
        (None, problems)
    }

    fn problem(self, span: Option<Range<usize>>, what: String) -> Problem {
        let line = span.map_or(1, |s| line_of(self.text, s.start));
        Problem { code: "GW-0102", at: At::Line(self.path.to_owned(), line), what }
    }

    /// Where a key stands, such as `channel.x.secret`: file and line of it, or of the nearest table around it.
    pub fn place(self, key: &str) -> At {
        let (table, _) = DeTable::parse_recoverable(self.text);
        let (mut table, mut at, mut rest) = (table.get_ref(), 0, key);
        while let Some((name, value, further)) = step(table, rest) {
            at = name.start;
            rest = further;
            match value.get_ref() {
                DeValue::Table(inner) => table = inner,
                _ => break,
            }
        }
        At::Line(self.path.to_owned(), line_of(self.text, at))
    }
}

/// The key that a path begins with, its value, and what is left of the path.
fn step<'t, 'p>(table: &'t DeTable<'_>, path: &'p str) -> Option<(Range<usize>, &'t Spanned<DeValue<'t>>, &'p str)> {
    // A name may have dots of its own: the longest that fits.
    let fits = |name: &str| path.strip_prefix(name).filter(|rest| rest.is_empty() || rest.starts_with('.'));
    let found = table.iter().filter_map(|(k, v)| fits(k.get_ref()).map(|rest| (k, v, rest)));
    let (key, value, rest) = found.max_by_key(|(k, ..)| k.get_ref().len())?;
    // Lifetimes of a table's text are those of the whole.
    let value: &'t Spanned<DeValue<'t>> = value;
    Some((key.span(), value, rest.trim_start_matches('.')))
}

/// Takes out the innermost entry whose key or value stands there; what it was called.
fn take_out(table: &mut DeTable<'_>, at: &Range<usize>) -> Option<String> {
    let covers = |span: Range<usize>| span.start <= at.start && at.end <= span.end;
    for (_, value) in table.iter_mut() {
        if let DeValue::Table(inner) = value.get_mut()
            && let Some(key) = take_out(inner, at)
        {
            return Some(key);
        }
    }
    let name = table.iter().find(|(k, v)| covers(k.span()) || covers(v.span())).map(|(k, _)| k.clone())?;
    table.remove(&name);
    Some(name.into_inner().into_owned())
}

/// The line of a byte offset, from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
}

/// serde's "unknown field `x`, expected one of …" with the nearest of those named first.
fn suggest(message: &str) -> String {
    let words: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let Some((&wrong, known)) = words.split_first().filter(|_| message.starts_with("unknown field")) else {
        return message.to_owned();
    };
    let best = known.iter().min_by_key(|k| edits(wrong, k)).filter(|k| edits(wrong, k) <= 3);
    match best {
        Some(best) => format!("unknown key `{wrong}`, did you mean `{best}`? Known here: {}", known.join(", ")),
        None => format!("unknown key `{wrong}`. Known here: {}", known.join(", ")),
    }
}

/// Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = include_str!("../../../deploy/example/city.toml");

    fn source(text: &str) -> Source<'_> {
        Source { path: Path::new("city.toml"), text }
    }

    #[test]
    fn one_mistake_hides_no_other() {
        let text = GOOD
            .replace("wrap_up  =", "wrap_upp =")
            .replace("tone                = \"300ms\"", "tone = 300")
            .replace("digit    = 1", "digit = \"one\"")
            .replace("calls           = 600", "calls = -1")
            .replace("[trunk.telecom]\n", "[trunk.telecom]\nsource = []\n");
        let (config, problems) = source(&text).read();
        let lines: Vec<usize> = problems.iter().map(line).collect();
        let wrong = ["wrap_upp", "tone = 300", "digit = \"one\"", "calls = -1", "source = []"];
        let mut meant: Vec<usize> =
            wrong.iter().map(|w| text.lines().position(|l| l.contains(w)).expect("there") + 1).collect();
        let mut told = lines.clone();
        meant.sort_unstable();
        told.sort_unstable();
        assert_eq!(told, meant, "{problems:?}");
        // The digit has to be there, and it is not missed as well.
        assert!(config.is_none() && !problems.iter().any(|p| p.what.contains("missing field")), "{problems:?}");
    }

    #[test]
    fn a_file_that_is_no_toml_in_two_places_says_both() {
        let text = GOOD.replace("wrap_up  = \"20s\"", "wrap_up = 20s").replace("[storage]", "[storage");
        let (_, problems) = source(&text).read();
        for wrong in ["wrap_up = 20s", "[storage\n"] {
            let line = text[..text.find(wrong).expect("there")].matches('\n').count() + 1;
            assert!(problems.iter().any(|p| super::tests::line(p) == line), "{wrong}: {problems:?}");
        }
    }

    fn line(problem: &Problem) -> usize {
        if let At::Line(_, line) = problem.at { line } else { 0 }
    }

    #[test]
    fn a_key_is_found_where_it_stands_and_else_its_table() {
        let text = "[channel.a]\nkind = 'x'\n[channel.\"a.b\"]\nkind = 'y'\n";
        let lines = ["channel.a.kind", "channel.a.secret", "channel.a.b.kind", "channel.z.kind", "nothing"]
            .map(|key| source(text).place(key).to_string());
        assert_eq!(lines, [2, 1, 4, 1, 1].map(|line| format!("city.toml:{line}")));
    }
}
