//! Lists of field paths, and how our definitions compare with one.
//!
//! A list is what people copy out of another installation's definitions: a heading `## Kind`, with anything in brackets after it,
//! and one line a field, `path type [choices] marks`. It is the notation of [`crate::crds::field_paths`], taken generously: fences
//! and lines that are not fields are passed over, a format that the list leaves out is not missed, a record in braces
//! (`list<Condition{type,status}>`) stands for its fields, and of the marks only `n` (null is stored) is looked at.

use std::collections::{BTreeMap, BTreeSet};

use crate::crds;
use crate::kinds::DEFINITIONS;
use crate::releases::Release;

/// One line of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    path: String,
    field_type: String,
    choices: BTreeSet<String>,
    is_nullable: bool,
}

/// What a list has and a release's definitions lack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Fields in the list.
    pub listed: usize,
    /// Those of them that the definitions have as the list says.
    pub present: usize,
    /// One line for each that they have not, or have otherwise.
    pub gaps: Vec<String>,
    /// Fields of the definitions that are not in the list, of kinds that are.
    pub unlisted: Vec<String>,
}

/// Why a text is no list.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ListingError {
    /// A field stands before the first heading.
    #[error("line {0}: a field before the first \"## Kind\"")]
    NoKind(usize),
    /// A kind stands twice.
    #[error("line {0}: the kind {1} is listed twice")]
    Repeated(usize, String),
    /// Nothing in it is a field.
    #[error("no field: a list has headings \"## Kind\" and lines \"path type\"")]
    Empty,
}

/// Compares the definitions of `release` with a list.
pub fn compare(text: &str, release: Release) -> Result<Comparison, ListingError> {
    let mut comparison = Comparison::default();
    for (kind, lines) in parse(text)? {
        comparison.listed += lines.len();
        let Some(definition) = DEFINITIONS.iter().find(|definition| definition.kind == kind) else {
            comparison.gaps.push(format!("{kind}: no such kind ({} fields)", lines.len()));
            continue;
        };
        let field_paths = crds::field_paths(definition, release);
        let ours: BTreeMap<_, _> =
            field_paths.iter().filter_map(|line| parse_line(line)).map(|line| (line.path.clone(), line)).collect();
        let nulls = nullable_records(&field_paths);
        for line in &lines {
            match difference(line, ours.get(&line.path), &nulls) {
                None => comparison.present += 1,
                Some(difference) => comparison.gaps.push(format!("{kind} {}: {difference}", line.path)),
            }
        }
        let listed: BTreeSet<_> = lines.iter().map(|line| line.path.as_str()).collect();
        let unlisted = ours.values().filter(|line| !listed.contains(line.path.as_str()));
        comparison.unlisted.extend(unlisted.map(|line| format!("{kind} {} {}", line.path, line.field_type)));
    }
    Ok(comparison)
}

impl Comparison {
    /// The comparison as people read it; the last line is the share of the list that is there.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for gap in &self.gaps {
            text += &format!("{gap}\n");
        }
        if !self.unlisted.is_empty() {
            text += &format!("not in the list: {}\n", self.unlisted.join(", "));
        }
        let hundredths = self.present * 10_000 / self.listed.max(1);
        let percent = match hundredths % 100 {
            0 => format!("{}", hundredths / 100),
            rest => format!("{}.{rest:02}", hundredths / 100),
        };
        text + &format!("{percent} % ({} of {} fields)\n", self.present, self.listed)
    }
}

fn parse(text: &str) -> Result<BTreeMap<String, Vec<Line>>, ListingError> {
    let mut kinds = BTreeMap::<String, Vec<Line>>::new();
    let mut kind: Option<String> = None;
    for (index, line) in text.lines().enumerate() {
        if let Some(heading) = line.strip_prefix("## ") {
            let name = heading.split([' ', '(']).next().unwrap_or_default().to_owned();
            if kinds.insert(name.clone(), Vec::new()).is_some() {
                return Err(ListingError::Repeated(index + 1, name));
            }
            kind = Some(name);
        } else if let Some(field) = parse_line(line) {
            let kind = kind.as_ref().ok_or(ListingError::NoKind(index + 1))?;
            kinds.entry(kind.clone()).or_default().extend(expand(field));
        }
    }
    kinds.retain(|_, lines| !lines.is_empty());
    if kinds.is_empty() { Err(ListingError::Empty) } else { Ok(kinds) }
}

/// A field's line; none for what is not one: prose, fences, the line of a nullable record.
fn parse_line(line: &str) -> Option<Line> {
    let (path, rest) = line.split_once(' ')?;
    let is_path = path.chars().all(|c| c.is_ascii_alphanumeric() || "._-[]{}".contains(c));
    let type_end = rest.find(" [").unwrap_or_else(|| rest.find(' ').unwrap_or(rest.len()));
    let (field_type, rest) = rest.split_at(type_end);
    let is_type =
        ["string", "boolean", "integer", "object", "list<", "map<"].iter().any(|word| field_type.starts_with(word));
    if !is_path || !is_type {
        return None;
    }
    let (choices, marks) = match rest.trim_start().strip_prefix('[') {
        Some(list) => list.split_once(']')?,
        None => ("", rest),
    };
    let choices = choices.split(',').map(|choice| choice.trim().trim_matches('\'').to_owned());
    Some(Line {
        path: path.to_owned(),
        field_type: field_type.to_owned(),
        choices: if rest.trim_start().starts_with('[') { choices.collect() } else { BTreeSet::new() },
        is_nullable: marks.split(' ').any(|mark| mark == "n"),
    })
}

/// `status.conditions[] list<Condition{type,status}>` stands for a text of each name.
fn expand(line: Line) -> Vec<Line> {
    let Some((_, names)) = line.field_type.split_once('{') else { return vec![line] };
    let names = names.trim_end_matches(['>', '}']).split(',');
    let field = |name: &str| Line {
        path: format!("{}.{}", line.path, name.trim()),
        field_type: "string".to_owned(),
        choices: BTreeSet::new(),
        is_nullable: false,
    };
    names.map(field).collect()
}

/// Paths of lists and maps of records that store null: they have a line with marks and no type.
fn nullable_records(lines: &[String]) -> BTreeSet<&str> {
    let split = lines.iter().filter_map(|line| line.split_once(' '));
    split.filter(|(_, marks)| ["n", "r n"].contains(marks)).map(|(path, _)| path).collect()
}

fn difference(listed: &Line, ours: Option<&Line>, nulls: &BTreeSet<&str>) -> Option<String> {
    let Some(ours) = ours else { return Some(format!("missing ({})", listed.field_type)) };
    if !same_type(&listed.field_type, &ours.field_type) {
        return Some(format!("{} in the list, {} here", listed.field_type, ours.field_type));
    }
    if listed.choices != ours.choices {
        let list = |choices: &BTreeSet<String>| {
            if choices.is_empty() { "any".to_owned() } else { format!("{choices:?}") }
        };
        return Some(format!("takes {} in the list, {} here", list(&listed.choices), list(&ours.choices)));
    }
    let stores_null = ours.is_nullable || nulls.contains(ours.path.as_str());
    (listed.is_nullable && !stores_null).then(|| "stores null in the list, not here".to_owned())
}

/// A list may leave formats out, also inside `map<...>`.
fn same_type(listed: &str, ours: &str) -> bool {
    let without_format = |text: &str| {
        text.split_once('/').map_or(text.to_owned(), |(bare, rest)| {
            format!("{bare}{}", rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '-'))
        })
    };
    listed == ours || listed == without_format(ours)
}
