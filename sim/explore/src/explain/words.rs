//! Any event in a line of words.

use std::time::Duration;

use corral_core::journal::{Event, JournalFile, Read, Record};
use corral_world::text::brief;

use super::history::{History, full_name};
use super::lines;
use super::objects::own_name;

/// Reads named of one event.
const MOST_READS: usize = 2;

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
        Event::ApiRequest { verb, kind, subresource, name, code, within, reads, .. } => {
            let of = if subresource.is_empty() { String::new() } else { format!(" {subresource} of") };
            format!("{verb}{of} {kind} {}: {code}{}{}", own_name(name), why(within), ground(reads))
        }
        Event::ApiRefused { verb, kind, name, code, reason, client } => {
            format!("{client} was refused to {verb} {kind} {}: {code} {reason}", own_name(name))
        }
        Event::Call { method, peer, outcome, took_ns, within, reads } => {
            let took = brief(Duration::from_nanos(*took_ns));
            format!("called {method} at {peer}: {outcome} after {took}{}{}", why(within), ground(reads))
        }
        Event::StoreOperation { verb, key, code, .. } => format!("{verb} {key} in the store: {code}"),
        Event::Step { what, outcome } => format!("client: {what}: {outcome}"),
        Event::Fault { kind, target, begins } => {
            format!("fault {kind} of {target} {}", if *begins { "strikes" } else { "ends" })
        }
        Event::ProcessBegan { name, machine, .. } => format!("process {name} begins on {machine}"),
        Event::ProcessEnded { process, end } => {
            format!("process {} ends: {end:?}", history.processes.get(process).map_or("", String::as_str))
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

/// On what ground: the oldest reads first.
fn ground(reads: &[Read<'_>]) -> String {
    let mut reads: Vec<&Read<'_>> = reads.iter().collect();
    reads.sort_by_key(|read| std::cmp::Reverse(read.age_ns));
    let told = reads.iter().take(MOST_READS).map(|read| {
        let age = brief(Duration::from_nanos(read.age_ns));
        let name = if read.name == "*" { "list" } else { own_name(&read.name) };
        if read.resource_version == 0 {
            format!("{} {name} absent, {age} old", read.kind)
        } else {
            format!("{} {name} as of {age} before", read.kind)
        }
    });
    let told: Vec<String> = told.collect();
    if told.is_empty() { String::new() } else { format!("; it had read {}", told.join(", ")) }
}
