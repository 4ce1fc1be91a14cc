//! Any event in a line of words.

use std::time::Duration;

use corral_core::Nanos;
use corral_core::journal::{End, Event, JournalFile, Read, Record, full_name};
use corral_world::text::brief;

use super::history::History;
use super::lines;
use super::objects::own_name;

/// Longest remark of a process that is printed whole.
pub(super) const LONGEST_REMARK: usize = 140;

/// Whether an event says something by itself: not a lease's renewal, nor a connection that was made.
pub(super) fn is_telling(event: &Event<'_>) -> bool {
    match event {
        Event::ApiWrite { kind, .. } | Event::ApiRequest { kind, .. } => kind != "Lease",
        Event::Connected { outcome, .. } => outcome != "ok",
        Event::Probe { .. } | Event::ScheduleDraw { .. } => false,
        _ => true,
    }
}

/// What happened, in words.
pub(super) fn tell(record: &Record<'_>, journal: &JournalFile, history: &History) -> String {
    match &record.event {
        Event::ApiWrite { verb, kind, namespace, name, client, deleting, .. } => {
            let (fields, ..) = lines::fields(journal.changes(record.sequence), verb == "create");
            let fields = if fields.is_empty() { String::new() } else { format!(": {fields}") };
            let deleting = if *deleting { " (which is being deleted)" } else { "" };
            format!("{client} {verb}s {kind} {}{deleting}{fields}", own_name(&full_name(namespace, name)))
        }
        Event::ApiRequest { verb, kind, subresource, name, code, resource_version, within, reads, .. } => {
            let of = if subresource.is_empty() { String::new() } else { format!(" {subresource} of") };
            let ground = ground(reads, kind, *resource_version, record.at, history);
            format!("{verb}{of} {kind} {}: {code}{}{ground}", own_name(name), why(within))
        }
        Event::ApiRefused { verb, kind, name, code, reason, client } => {
            format!("{client} was refused to {verb} {kind} {}: {code} {reason}", own_name(name))
        }
        Event::Call { method, peer, outcome, took_ns, within, reads } => {
            let took = brief(Duration::from_nanos(*took_ns));
            let ground = ground(reads, "", 0, record.at, history);
            format!("called {method} at {peer}: {outcome} after {took}{}{ground}", why(within))
        }
        Event::StoreOperation { verb, key, code, client, .. } => {
            format!("{verb} {key} in the store for {}: {code}", lines::short(client))
        }
        Event::Step { what, outcome } => format!("client: {what}: {outcome}"),
        Event::Fault { kind, target, phase } => format!("fault {kind} of {target} {phase}"),
        Event::ProcessBegan { name, machine, .. } => format!("process {name} begins on {machine}"),
        Event::ProcessEnded { process, end } => {
            let name = history.processes.get(process).map_or("", String::as_str);
            let words = if *end == End::Exited(0) { String::new() } else { last_words(journal, name, record.at) };
            format!("process {} {}{words}", lines::short(name), end)
        }
        Event::Executed { command, code, .. } => format!("ran {command}: {code}"),
        Event::Connected { to, outcome } => format!("connects to {to}: {outcome}"),
        Event::Machine { name, state } => format!("machine {name} is {state}"),
        Event::Phase { name } => format!("phase {name}"),
        Event::Panicked { message, location } => format!("panic at {location}: {message}"),
        Event::Hazard { name, object, detail } => format!("hazard {name}: {object}: {detail}"),
        Event::Violation { oracle, detail, .. } => format!("violation {oracle}: {detail}"),
        Event::Note { text } => text.to_string(),
        other => other.kind().to_owned(),
    }
}

fn why(within: &str) -> String {
    if within.is_empty() { String::new() } else { format!(" ({within})") }
}

/// On what ground, if that was out of date.
fn ground(reads: &[Read<'_>], kind: &str, version: u64, at: Nanos, history: &History) -> String {
    history.stale(kind, version, reads, at).map_or_else(String::new, |stale| lines::missed(&stale))
}

/// What a process said last before this time, if it said anything.
pub(super) fn last_words(journal: &JournalFile, name: &str, at: Nanos) -> String {
    let before = journal.logs.iter().filter(|remark| remark.at <= at && remark.name == name);
    let last = before.max_by_key(|remark| remark.at);
    last.map_or(String::new(), |remark| {
        format!("; it said last: {}", remark.text.chars().take(LONGEST_REMARK).collect::<String>())
    })
}
