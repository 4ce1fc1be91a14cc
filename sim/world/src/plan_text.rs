//! Plans and seed files as people write them: a line for each value, whatever lies inside it on that line.

use std::fmt::Write as _;

use serde::Serialize;
use toml::{Table, Value};

/// Keys of a seed file before its sections, in the order in which they are read.
const HEAD: [&str; 9] = ["version", "issue", "title", "scenario", "seed", "found", "fails", "passes", "reached"];
/// Sections, and lists of sections, after them.
const SECTIONS: [&str; 4] = ["expect", "cluster", "step", "fault"];
/// Keys of a section that stand before its others.
const FIRST: [&str; 4] = ["oracle", "signature", "on", "after"];

/// The text of a seed file or a plan.
///
/// # Panics
/// It is neither of them.
pub(crate) fn text(of: &impl Serialize) -> String {
    let table = Table::try_from(of).expect("a seed file can be written as TOML");
    let mut text = String::new();
    for (key, value) in HEAD.iter().filter_map(|key| table.get_key_value(*key)) {
        writeln!(text, "{key} = {value}").expect("a string takes everything");
    }
    for (key, value) in SECTIONS.iter().filter_map(|key| table.get_key_value(*key)) {
        match value {
            Value::Table(section) if section.is_empty() => {}
            Value::Table(section) => write_section(&mut text, &format!("[{key}]"), section, true),
            Value::Array(sections) => {
                for (index, section) in sections.iter().filter_map(Value::as_table).enumerate() {
                    write_section(&mut text, &format!("[[{key}]]"), section, index == 0);
                }
            }
            other => panic!("{key} = {other} is no section"),
        }
    }
    text
}

fn write_section(text: &mut String, head: &str, section: &Table, is_apart: bool) {
    if is_apart && !text.is_empty() {
        text.push('\n');
    }
    text.push_str(head);
    text.push('\n');
    let place = |key: &str| FIRST.iter().position(|first| *first == key).unwrap_or(FIRST.len());
    let mut entries: Vec<_> = section.iter().collect();
    entries.sort_by_key(|(key, _)| place(key));
    for (key, value) in entries {
        writeln!(text, "{key} = {value}").expect("a string takes everything");
    }
}
