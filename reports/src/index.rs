//! The index of a night: what is wrong, since when, why, and the line that shows it again. It needs no script.

use corral_core::Nanos;

use crate::html::{self, count, escape};
use crate::page::COLOURS;
use crate::{Finding, Night};

const STYLE: &str = include_str!("index.css");

/// The page of a night.
pub fn index(night: &Night) -> String {
    let findings = night.sorted();
    let details: String =
        findings.iter().enumerate().map(|(number, finding)| details(night, number + 1, finding)).collect();
    let body = format!("<main>\n{}{}{}{details}{}</main>", top(night), totals(night), table(&findings), about(night));
    html::document(&night.title, &format!("{COLOURS}{STYLE}"), &body, "")
}

fn top(night: &Night) -> String {
    let (class, word) = match night.findings.len() {
        0 => ("good", "nothing found".to_owned()),
        number => ("bad", count(number, "finding")),
    };
    format!(
        "<h1>{} <span class=\"verdict {class}\">{word}</span></h1>\n\
         <p class=\"how\">Each finding below is something that an oracle forbids (damage to stored data, an operation that never ends, an error that a \
         client must not meet), found by running Longhorn in a simulated cluster; equal failures of many runs are told once: the most frequent first, \
         and last what came only with others. A finding says what is wrong, when in the run it was \
         seen and how it came about; its grey box is the command that shows it again, and <em>report</em> opens the run's timeline.</p>\n",
        escape(&night.title)
    )
}

fn totals(night: &Night) -> String {
    let simulated = night.simulated_seconds;
    let faster = if night.real_seconds > 0.0 { simulated / night.real_seconds } else { 0.0 };
    let told = [
        (grouped(night.runs), "runs"),
        (grouped(night.failed), "runs with damage"),
        (span(simulated), "simulated"),
        (span(night.real_seconds), "real time"),
        (format!("{}×", grouped(faster.round() as u64)), "faster than real"),
        (grouped(night.events), "events"),
        (grouped(night.coverage), "distinct situations"),
    ];
    let items: String =
        told.iter().map(|(value, name)| format!("<li><b>{value}</b> {name}</li>")).collect::<Vec<_>>().concat();
    format!("<ul class=\"totals\">{items}</ul>\n")
}

fn table(findings: &[&Finding]) -> String {
    if findings.len() < 2 {
        return String::new();
    }
    let rows: String = findings
        .iter()
        .enumerate()
        .map(|(number, finding)| {
            format!(
                "<tr><td class=\"number\">{}</td><td><a href=\"#finding-{}\">{}</a><br><small>{}</small></td><td>{}</td></tr>",
                grouped(finding.runs),
                number + 1,
                escape(&finding.detail),
                escape(&finding.oracle),
                escape(&finding.scenario)
            )
        })
        .collect();
    format!(
        "<table class=\"overview\"><thead><tr><th>Runs</th><th>What is wrong</th><th>Scenario</th></tr></thead>\
         <tbody>{rows}</tbody></table>\n"
    )
}

fn details(night: &Night, number: usize, finding: &Finding) -> String {
    let files = &finding.files;
    let links = [
        ("Report with timeline", Some(&files.report)),
        ("Seed file", Some(&files.seed)),
        ("Journal", Some(&files.journal)),
        ("Journal of the run that passes", files.twin.as_ref()),
    ];
    let links = links
        .map(|(label, name)| name.filter(|name| !name.is_empty()).map_or_else(String::new, |name| file(label, name)));
    let share = format!("{} of {}", grouped(finding.runs), count(night.runs as usize, "run"));
    let seen_at =
        if finding.at_ns == 0 { "unknown".into() } else { format!("{} of simulated time", Nanos(finding.at_ns)) };
    let facts = [
        ("found in", share),
        ("scenario", finding.scenario.clone()),
        ("seed", finding.seed.to_string()),
        ("tested", finding.arm.clone()),
        ("seen at", seen_at),
        ("oracle", finding.oracle.clone()),
        ("signature", finding.signature.clone()),
    ];
    let facts: String =
        facts.iter().map(|(name, value)| format!("<div><dt>{name}</dt><dd>{}</dd></div>", escape(value))).collect();
    let story = if finding.story.is_empty() { String::new() } else { format!("<p>{}</p>\n", escape(&finding.story)) };
    let own = format!("{} {}", finding.scenario, finding.seed);
    let others: Vec<&str> = finding.examples.iter().map(String::as_str).filter(|example| *example != own).collect();
    let examples = match others.as_slice() {
        [] => String::new(),
        others => format!("<p class=\"examples\">Also shown by: {}</p>\n", escape(&others.join(", "))),
    };
    [
        format!("<article id=\"finding-{number}\">\n<h2>{number}. {}</h2>\n{story}", escape(&finding.detail)),
        format!(
            "<h3>To see it again</h3>\n{}<p class=\"files\">{}</p>\n",
            html::shell(&finding.reproduce, false),
            links.concat()
        ),
        format!("<dl>{facts}</dl>\n"),
        html::lines("What makes it go away, and what does not", "why", &finding.attribution),
        html::lines("Where it parts from the nearest run that passes", "why", &finding.divergence),
        html::lines("How it came about", "why", &finding.chain),
        html::lines("What it does not need: removed while it was made smaller", "why", &finding.removed),
        examples,
        "</article>\n".to_owned(),
    ]
    .concat()
}

fn about(night: &Night) -> String {
    let facts = [
        ("tested", night.arm.clone()),
        ("seeds asked for", night.seeds.join(", ")),
        ("scenarios", night.scenarios.join(", ")),
        ("commit", night.commit.clone()),
        ("toolchain", night.toolchain.clone()),
        ("machine", night.machine.clone()),
    ];
    let facts: String = facts
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("<div><dt>{name}</dt><dd>{}</dd></div>", escape(value)))
        .collect();
    format!("<footer><h2>What was run</h2><dl>{facts}</dl></footer>\n")
}

/// A link to a file beside this page, whatever its name: a name is never taken for an address.
fn file(label: &str, name: &str) -> String {
    let mut path = String::from("./");
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' | b'+' | b'~' => path.push(byte.into()),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    format!("<a href=\"{path}\">{label}</a> ")
}

/// A number in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).expect("digits are ASCII")).collect();
    groups.join("\u{202f}")
}

/// Seconds as people say them.
fn span(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60, whole % 60) {
        (0, 0, 0, _) => format!("{seconds:.1} s"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, hours, ..) => format!("{} d {hours} h", grouped(days)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_told_for_people() {
        assert_eq!((grouped(7), grouped(1_234_567)), ("7".into(), "1\u{202f}234\u{202f}567".into()));
        let told: Vec<String> = [0.04, 62.0, 3_720.0, 90_000.0].map(span).into();
        assert_eq!(told, ["0.0 s", "1 min 2 s", "1 h 2 min", "1 d 1 h"]);
    }

    #[test]
    fn a_files_name_is_no_address() {
        assert_eq!(file("x", "javascript:alert(1)"), "<a href=\"./javascript%3Aalert%281%29\">x</a> ");
        assert_eq!(file("x", "a b/\"><c"), "<a href=\"./a%20b/%22%3E%3Cc\">x</a> ");
    }
}
