//! Problems as whoever mends them wants to see them: the line quoted, and what to do.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::Path;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, Severity, SourceCode};

use super::{At, Problem};
use crate::observe::codes;

/// A problem beside the file that it stands in.
#[derive(Debug)]
struct Told<'a> {
    problem: &'a Problem,
    file: Option<&'a NamedSource<String>>,
    /// First octet and length of the line.
    line: Option<(usize, usize)>,
}

impl std::fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (code, what) = (self.problem.code, &self.problem.what);
        match self.line {
            Some(_) => write!(f, "[{code}] {what}"),
            None => write!(f, "[{code}] {}: {what}", self.problem.at),
        }
    }
}

impl std::error::Error for Told<'_> {}

impl Diagnostic for Told<'_> {
    fn severity(&self) -> Option<Severity> {
        Some(Severity::Error)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        codes::find(self.problem.code).map(|row| Box::new(row.then) as Box<dyn std::fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.line.and(self.file).map(|file| file as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let (at, len) = self.line?;
        Some(Box::new(std::iter::once(LabeledSpan::new(None, at, len))))
    }
}

/// Where line `n` begins, its spaces aside, and how long it is.
fn line(text: &str, n: usize) -> Option<(usize, usize)> {
    let mut at = 0;
    for (i, line) in text.split_inclusive('\n').enumerate() {
        if i + 1 == n {
            let indent = line.len() - line.trim_start().len();
            return Some((at + indent, line.trim().len()));
        }
        at += line.len();
    }
    None
}

/// All of them as one text.
fn report(problems: &[Problem], theme: GraphicalTheme, width: usize) -> String {
    let mut files: BTreeMap<&Path, NamedSource<String>> = BTreeMap::new();
    let lines = problems.iter().filter_map(|p| if let At::Line(path, _) = &p.at { Some(path) } else { None });
    for path in lines {
        let text = || super::read_text(path).unwrap_or_default();
        files.entry(path).or_insert_with(|| NamedSource::new(path.display().to_string(), text()));
    }
    let handler = GraphicalReportHandler::new_themed(theme).with_width(width).with_context_lines(0);
    let mut all = String::new();
    for problem in problems {
        let (file, line) = match &problem.at {
            At::Line(path, n) => {
                let file = files.get(path as &Path);
                (file, file.and_then(|f| line(f.inner(), *n)))
            }
            At::File(_) | At::Key(_) => (None, None),
        };
        let _ = handler.render_report(&mut all, &Told { problem, file, line });
    }
    all
}

/// Writes them to whoever looks at the terminal.
pub fn tell(problems: &[Problem]) {
    let theme =
        if std::io::stderr().is_terminal() { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    eprint!("{}", report(problems, theme, 120));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_quotes_its_line_and_says_what_to_do() {
        let path = std::env::temp_dir().join(format!("gw-tell-{}.toml", std::process::id()));
        std::fs::write(&path, "a = 1\n  b = 2\n").expect("written");
        let at = |at: At| Problem { code: "GW-0202", at, what: "node.digit is not 0 to 9".into() };
        let problems = [at(At::Line(path.clone(), 2)), at(At::File("none.csv".into())), at(At::Line(path.clone(), 9))];
        let said = report(&problems, GraphicalTheme::unicode_nocolor(), 120);
        let place = format!("{}:2:3", path.display());
        for part in ["[GW-0202] node.digit is not 0 to 9", &place, "b = 2", "give every node of the city", "none.csv: "]
        {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert_eq!(said.matches("[GW-0202]").count(), 3, "{said}");
        std::fs::remove_file(path).expect("removed");
    }
}
