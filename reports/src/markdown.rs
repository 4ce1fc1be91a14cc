//! A night as Markdown, to open an issue with or to show in a build server's summary.

use std::fmt::Write as _;

use crate::html::count;
use crate::{Finding, Night};

/// Lines of a chain that an issue needs at the most.
const CHAIN: usize = 15;

/// The night in a page of Markdown.
pub fn markdown(night: &Night) -> String {
    let mut text = format!("# {}\n\n", inline(&night.title));
    let Night { runs, failed, commit, toolchain, machine, .. } = night;
    let (simulated, real) = (night.simulated_seconds / 3600.0, night.real_seconds / 3600.0);
    let seeds = if night.seeds.is_empty() { String::new() } else { format!(" ({})", night.seeds.join("; ")) };
    let runs = count(*runs as usize, "run");
    line(&mut text, format_args!("{runs}{seeds}, {failed} with damage; {simulated:.1} h simulated in {real:.2} h."));
    line(&mut text, format_args!("Corral {commit}, Rust {toolchain}, {}.\n", inline(machine)));
    if night.findings.is_empty() {
        text.push_str("Nothing was found.\n");
    }
    for finding in night.sorted() {
        of_finding(&mut text, finding);
    }
    text
}

fn of_finding(text: &mut String, finding: &Finding) {
    let Finding { oracle, signature, scenario, seed, runs, .. } = finding;
    line(text, format_args!("## {}: {}\n", inline(oracle), inline(signature)));
    line(
        text,
        format_args!(
            "{} Told of {scenario}, seed {seed}, {}; {}.\n",
            inline(&finding.story),
            inline(&finding.arm),
            count(*runs as usize, "run")
        ),
    );
    fenced(text, "sh", &finding.reproduce);
    fenced(text, "text", &finding.divergence);
    // The end of a chain is nearest to the damage.
    fenced(text, "text", &finding.chain[finding.chain.len().saturating_sub(CHAIN)..]);
    for told in &finding.attribution {
        line(text, format_args!("- {}", inline(told)));
    }
    text.push('\n');
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    writeln!(text, "{what}").expect("a string takes everything");
}

/// A block as it stands; nothing in it ends it early.
fn fenced(text: &mut String, language: &str, lines: &[String]) {
    if !lines.is_empty() {
        let lines: Vec<String> = lines.iter().map(|told| told.replace("```", "'''")).collect();
        line(text, format_args!("```{language}\n{}\n```\n", lines.join("\n")));
    }
}

/// Text that means nothing but itself.
fn inline(text: &str) -> String {
    text.chars()
        .flat_map(|letter| {
            let is_mark = "\\`*_<>[]#|&".contains(letter);
            is_mark.then_some('\\').into_iter().chain(std::iter::once(if letter == '\n' { ' ' } else { letter }))
        })
        .collect()
}
