//! The top of the page: the verdict, how to get it again, why, and what the run was. It needs no script.

use corral_core::Nanos;

use super::Page;
use super::plan::Plan;
use super::summary::Summary;
use crate::html::{self, count, escape};

/// The top of the page.
pub(super) fn head(page: &Page<'_>, summary: &Summary, parted: Option<(Nanos, Nanos)>) -> String {
    let header = &page.run.header;
    let plan = Plan::of(&header.run);
    let parts = [
        verdict(page, summary),
        reproduce(page, parted),
        html::lines("Where it parts from the run that passes", "why", page.divergence),
        html::lines("How it came about", "why", page.chain),
        facts(page, summary, &plan),
    ];
    format!("<header class=\"top\">\n{}</header>\n", parts.concat())
}

fn verdict(page: &Page<'_>, summary: &Summary) -> String {
    let found = &summary.violations;
    let (class, word) = match found.len() {
        0 => ("good", "no violation".to_owned()),
        number => ("bad", count(number, "violation")),
    };
    let items: String = found
        .iter()
        .map(|(oracle, at, detail)| {
            let when = time_button(*at, &at.to_string());
            format!("<li>{when} <b>{}</b> {}</li>", escape(oracle), escape(detail))
        })
        .collect();
    let list = if items.is_empty() { String::new() } else { format!("<ul class=\"violations\">{items}</ul>\n") };
    let decided = page.decided.map_or_else(String::new, |(open, lost)| {
        let (open, lost) = (time_button(open, &open.to_string()), time_button(lost, &lost.to_string()));
        format!("<p>Decided between {open}, up to where it could still pass, and {lost}: what lies between is where to look.</p>\n")
    });
    let title = escape(&page.run.header.title);
    format!("<h1>{title} <span class=\"verdict {class}\">{word}</span></h1>\n{list}{decided}")
}

fn reproduce(page: &Page<'_>, parted: Option<(Nanos, Nanos)>) -> String {
    let mut told = format!(
        "<section class=\"again\"><h2>To get it again</h2>{}",
        html::shell(std::slice::from_ref(&page.run.header.reproduce), true)
    );
    if let Some(twin) = page.twin {
        let parts = match parted {
            Some((at, _)) => format!(", first otherwise at {}", time_button(at, &at.to_string())),
            None => ", which did the same to the end".to_owned(),
        };
        told.push_str(&format!("<p>Beside it: {}{parts}</p>", escape(&twin.header.title)));
        told.push_str(&html::shell(std::slice::from_ref(&twin.header.reproduce), true));
    }
    told.push_str("</section>\n");
    told
}

fn facts(page: &Page<'_>, summary: &Summary, plan: &Plan) -> String {
    let header = &page.run.header;
    let mut all = plan.facts.clone();
    let own = [
        ("simulated", header.ended_at.to_string()),
        ("events", page.run.records.len().to_string()),
        ("log lines", page.run.logs.len().to_string()),
        ("digest", header.digest.clone()),
        ("commit", header.commit.clone()),
        ("toolchain", header.toolchain.clone()),
    ];
    all.extend(own.map(|(name, value)| (name.to_owned(), value)));
    let told: String = all
        .iter()
        .map(|(name, value)| format!("<div><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(value)))
        .collect();
    let struck = summary.faults.iter().map(|(kind, target, from, until)| {
        let when = match until {
            Some(until) if until == from => from.to_string(),
            Some(until) => format!("{from} to {until}"),
            None => format!("{from} to the end"),
        };
        (*from, format!("{when}  {kind} of {target}"))
    });
    let hazards = summary.hazards.iter().map(|(name, (times, first))| (*first, format!("{name}, {times} times")));
    let probes = summary.probes.iter().map(|(name, at)| (*at, name.clone()));
    let columns = [
        column("Steps planned", plan.steps.iter().map(|step| (None, step.clone())).collect()),
        column("Faults planned", plan.faults.iter().map(|fault| (None, fault.clone())).collect()),
        column("Faults that struck", struck.map(|(at, said)| (Some(at), said)).collect()),
        column("Hazards: dangerous, no damage yet", hazards.map(|(at, said)| (Some(at), said)).collect()),
        column("Situations reached", probes.map(|(at, said)| (Some(at), said)).collect()),
    ];
    format!(
        "<section class=\"run\"><h2>The run</h2><dl>{told}</dl>\n<div class=\"columns\">{}</div></section>\n",
        columns.concat()
    )
}

/// Leads to a time in the timeline.
fn time_button(at: Nanos, label: &str) -> String {
    format!("<button type=\"button\" class=\"time\" data-at=\"{}\">{}</button>", at.0, escape(label))
}

/// A list under a small heading; a line with a time leads to it in the timeline.
fn column(heading: &str, lines: Vec<(Option<Nanos>, String)>) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let items: String = lines
        .iter()
        .map(|(at, said)| match at {
            None => format!("<li>{}</li>", escape(said)),
            Some(at) => format!("<li>{}</li>", time_button(*at, said)),
        })
        .collect();
    format!("<div><h3>{}</h3><ul>{items}</ul></div>", escape(heading))
}
