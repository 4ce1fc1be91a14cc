//! The chain as lines: chosen, put into words, cut to the length that was asked for.

use std::time::Duration;

use corral_core::Nanos;
use corral_core::journal::{Change, End, Event, LogEntry, Record, full_name};
use corral_world::Violation;
use corral_world::text::brief;

use super::Run;
use super::history::{Object, Stale};
use super::objects::{Role, own_name};
use super::words::{LONGEST_REMARK, last_words};

/// Longest value of a field that is printed whole.
const LONGEST_VALUE: usize = 48;
/// Fields of one write that are printed.
const MOST_FIELDS: usize = 4;

/// One event of the chain.
struct Line {
    at: Nanos,
    /// What is left out first: the highest.
    weight: u32,
    /// Lines of one key that follow each other say the same.
    key: String,
    text: String,
    /// How many more like it follow, and until when.
    more: Option<(u32, Nanos)>,
}

/// The lines of a chain.
pub(super) fn of(run: &Run<'_>, violation: &Violation, most: usize) -> Vec<String> {
    let events = run.journal.records.iter().take_while(|record| record.at <= violation.at);
    let events = events.filter_map(|record| run.line(record));
    let remarks =
        run.journal.logs.iter().filter(|remark| remark.at <= violation.at).filter_map(|remark| run.remark(remark));
    let mut all: Vec<Line> = events.chain(remarks).collect();
    all.sort_by_key(|line| line.at);
    let mut lines: Vec<Line> = Vec::new();
    for line in all {
        // The same again, with little between that is told.
        match lines.iter_mut().rev().take(4).find(|before| before.key == line.key) {
            Some(before) => before.more = Some((before.more.map_or(1, |(count, _)| count + 1), line.at)),
            None => lines.push(line),
        }
    }
    let heading = format!("{:>15}  {}: {}", violation.at.to_string(), violation.oracle, violation.detail);
    let room = most.saturating_sub(2);
    let left_out = lines.len().saturating_sub(room);
    cut(&mut lines, room);
    let mut told: Vec<String> = lines.iter().map(Line::told).collect();
    told.push(heading);
    if left_out > 0 {
        told.push(format!("{:>15}  ({left_out} events of these objects that tell less are left out)", ""));
    }
    told
}

/// Leaves out what tells least: the heaviest, and of those the ones in the middle of what is told.
fn cut(lines: &mut Vec<Line>, room: usize) {
    while lines.len() > room {
        let heaviest = lines.iter().map(|line| line.weight).max().unwrap_or_default();
        let candidates: Vec<usize> = (0..lines.len()).filter(|index| lines[*index].weight == heaviest).collect();
        lines.remove(candidates[candidates.len() / 2]);
    }
}

impl Line {
    fn told(&self) -> String {
        let more = self.more.map_or(String::new(), |(count, until)| format!(" ({count} more like it until {until})"));
        format!("{:>15}  {}{more}", self.at.to_string(), self.text)
    }
}

impl Run<'_> {
    /// A process' own words, if they are of an object of the chain.
    fn remark(&self, remark: &LogEntry) -> Option<Line> {
        let is_told = |(object, role): (&Object, &Role)| {
            *role != Role::Read && own_name(&object.1).len() > 3 && remark.text.contains(own_name(&object.1))
        };
        if remark.at < self.history.workload_at || !self.objects.iter().any(is_told) {
            return None;
        }
        let text: String = remark.text.chars().take(LONGEST_REMARK).collect();
        let text = format!("{} says: {text}", short(&remark.name));
        Some(Line { at: remark.at, weight: 4, key: text.clone(), text, more: None })
    }

    fn line(&self, record: &Record<'_>) -> Option<Line> {
        let line = |weight: u32, key: String, text: String| {
            // Set-up is told as far as it makes what is named.
            let is_told = record.at >= self.history.workload_at || weight == 0;
            is_told.then_some(Line { at: record.at, weight, key, text, more: None })
        };
        // What is like nothing but itself.
        let own = |weight: u32, text: String| line(weight, text.clone(), text);
        match &record.event {
            Event::ApiWrite {
                verb, kind, subresource, namespace, name, resource_version, deleting, client, ..
            } => {
                let object = (kind.to_string(), full_name(namespace, name));
                let role = *self.objects.get(&object)?;
                let changes = self.journal.changes(record.sequence);
                let (fields, is_told, is_plain) = fields(changes, verb == "create");
                let what = match &**verb {
                    "create" => format!("created{}", self.owners(&object)),
                    "delete" => "gone".to_owned(),
                    _ if *deleting && changes.iter().any(|change| change.field == "metadata.deletionTimestamp") => {
                        format!("is to be deleted{}", finalizers(changes))
                    }
                    _ if !is_told => return None,
                    _ => fields,
                };
                let request = self.history.requests.get(&(kind.to_string(), *resource_version));
                let scope = request.map_or("", |request| request.within.as_str());
                let by =
                    request.and_then(|request| self.history.processes.get(&request.process)).map(|name| short(name));
                let by = by.unwrap_or(client);
                let scope = scope.strip_suffix(own_name(name)).map_or(scope, str::trim_end);
                let why = if scope.is_empty() { String::new() } else { format!(", {scope}") };
                let stale = request.and_then(|request| request.stale.as_ref()).map_or_else(String::new, missed);
                let is_end = verb != "update" || what.starts_with("is to be deleted");
                let weight = match role {
                    Role::Named => 0,
                    Role::Family => 2,
                    Role::Read => 4,
                } + 2 * u32::from(!is_end)
                    + 2 * u32::from(is_plain && !is_end);
                let key = format!("{object:?} {verb} {subresource} {what} {scope}");
                line(weight, key, format!("{kind} {name}: {what} (by {by}{why}){stale}"))
            }
            Event::ApiRefused { verb, kind, name, code, reason, client } => {
                let role = *self.objects.get(&(kind.to_string(), name.to_string()))?;
                // Conflicts are tried again.
                let weight = if role == Role::Named && *code != 409 { 1 } else { 6 };
                let text = format!("{kind} {}: {verb} refused, {code} {reason} (to {client})", own_name(name));
                line(weight, format!("{kind} {name} {verb} {code} {client}"), text)
            }
            Event::Call { method, peer, outcome, reads, .. } => {
                let is_about = |read: &corral_core::journal::Read<'_>| {
                    self.objects.get(&(read.kind.to_string(), read.name.to_string())) == Some(&Role::Named)
                };
                if !reads.iter().any(is_about) {
                    return None;
                }
                let by = self.history.processes.get(&record.process).map_or("somebody", |name| short(name));
                let weight = if outcome == "ok" || outcome == "Ok" { 6 } else { 3 };
                line(
                    weight,
                    format!("{method} {peer} {outcome} {by}"),
                    format!("{by} called {method} at {peer}: {outcome}"),
                )
            }
            Event::StoreOperation { verb, key, code, client, .. } => {
                let is_about =
                    |(object, role): (&Object, &Role)| *role != Role::Read && key.contains(own_name(&object.1));
                if !self.objects.iter().any(is_about) || key.contains("/locks/") || key.contains("/blocks/") {
                    return None;
                }
                line(3, format!("{verb} {key} {code}"), format!("store: {verb} {key}: {code} (by {})", short(client)))
            }
            Event::Step { what, outcome } => {
                let is_about =
                    |(object, role): (&Object, &Role)| *role == Role::Named && what.contains(own_name(&object.1));
                let weight = match (&**outcome, self.objects.iter().any(is_about)) {
                    ("yes", true) => 2,
                    ("yes", false) => 5,
                    _ => 1,
                };
                // The tenth place that was read is told like the first.
                let numberless: Vec<&str> =
                    what.split(' ').map(|word| if word.parse::<u64>().is_ok() { "#" } else { word }).collect();
                line(weight, format!("{} {outcome}", numberless.join(" ")), format!("client: {what}: {outcome}"))
            }
            Event::Fault { kind, target, phase } => own(0, format!("fault: {kind} of {target} {phase}")),
            // Most follow from a fault, which is told.
            Event::Machine { name, state } => own(3, format!("machine {name} is {state}")),
            Event::Phase { name } => own(5, format!("phase: {name}")),
            Event::Panicked { message, location } => own(0, format!("panic at {location}: {message}")),
            Event::ProcessEnded { process, end } => {
                let name = self.history.processes.get(process)?;
                let is_part =
                    self.objects.keys().any(|(kind, object)| kind == "Pod" && name.starts_with(object.as_str()));
                // A container's own process, and no program that it ran.
                let is_container = is_part && name.matches('/').count() == 2 && !name.contains(':');
                let how = end.to_string();
                if !is_container {
                    return None;
                }
                let words =
                    if *end == End::Exited(0) { String::new() } else { last_words(self.journal, name, record.at) };
                line(2, format!("{name} {how}"), format!("process {} {how}{words}", short(name)))
            }
            _ => None,
        }
    }

    fn owners(&self, object: &Object) -> String {
        let owners = self.history.objects.get(object).map(|life| &life.owners);
        let owners: Vec<String> =
            owners.into_iter().flatten().map(|(kind, name)| format!("{kind} {}", own_name(name))).collect();
        if owners.is_empty() { String::new() } else { format!(", owned by {}", owners.join(" and ")) }
    }
}

/// What a request did not see.
pub(super) fn missed(stale: &Stale) -> String {
    let age = brief(Duration::from_nanos(stale.age_ns));
    let (kind, name) = &stale.object;
    format!("; it had read {kind} {} {age} before, and missed what was written at {}", own_name(name), stale.written_at)
}

/// A container's process by its pod.
pub(super) fn short(process: &str) -> &str {
    let mut parts = process.split('/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(_), Some(pod), Some(_)) => pod,
        _ => process,
    }
}

fn finalizers(changes: &[Change]) -> String {
    let found = changes.iter().find(|change| change.field == "metadata.finalizers");
    found.map_or(String::new(), |change| format!(", finalizers now: {}", change.value))
}

/// Fields that change because something else did.
fn is_dull(field: &str) -> bool {
    let last = field.rsplit('.').next().unwrap_or_default();
    let dull = ["ownerID", "currentImage", "lastProbeTime", "lastTransitionTime", "observedGeneration", "logFetched"];
    dull.contains(&last)
        || field.starts_with("metadata.annotations")
        || field.ends_with("At")
        || field.ends_with("Time")
}

/// Fields that only say that something works, or where it is.
fn is_plain(field: &str) -> bool {
    let plain = ["conditions", "containerStatuses", "podIP", "podIPs", "hostIP", "hostIPs", "startTime", "qosClass"];
    plain.contains(&field)
}

/// What changed, in words; whether it tells anything; whether that is of little interest.
pub(super) fn fields(changes: &[Change], is_new: bool) -> (String, bool, bool) {
    let mut told: Vec<(String, &str)> = Vec::new();
    for change in changes.iter().filter(|change| !is_dull(&change.field) && !is_new) {
        let field = change.field.strip_prefix("status.").unwrap_or(&change.field);
        // Of what lies deep in an entry of a map, the entry is named.
        let entry = field.match_indices('.').nth(if field.starts_with("spec.") { 2 } else { 1 });
        match entry.map(|(end, _)| &field[..end]) {
            Some(entry) if told.iter().any(|(name, _)| name == entry) => {}
            Some(entry) => told.push((entry.to_owned(), if change.value.is_empty() { "" } else { "changed" })),
            None => told.push((field.to_owned(), change.value.as_str())),
        }
    }
    told.sort_by_key(|(field, _)| is_plain(field));
    let text = told.iter().take(MOST_FIELDS).map(|(field, value)| {
        let short: String = value.chars().take(LONGEST_VALUE).collect();
        let dots = if short.len() < value.len() { "…" } else { "" };
        if short.is_empty() { format!("{field} gone") } else { format!("{field} = {short}{dots}") }
    });
    let mut text = text.collect::<Vec<_>>().join(", ");
    if told.len() > MOST_FIELDS {
        text.push_str(&format!(" and {} more", told.len() - MOST_FIELDS));
    }
    (text, !told.is_empty(), told.iter().all(|(field, _)| is_plain(field)))
}
