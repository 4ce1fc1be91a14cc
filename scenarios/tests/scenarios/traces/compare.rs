//! What differs between our writes of a flow and the recorded ones: of each object the sequence of its writes, and the order between kinds.

use std::collections::{BTreeMap, BTreeSet};

use super::trace::Write;

/// A write as it is compared: names, addresses and checksums that differ from run to run are taken out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    actor: String,
    verb: String,
    kind: String,
    subresource: String,
    gone: bool,
    changed: BTreeSet<String>,
}

/// A kind and the name of an object of it.
type Object = (String, String);

/// Longest list of fields in a line, in fields.
const SHOWN_FIELDS: usize = 12;

fn step(write: &Write) -> Step {
    // The journal has no patches: they are updates.
    let verb = if write.verb == "patch" { "update" } else { &write.verb };
    Step {
        actor: write.actor.clone(),
        verb: verb.to_owned(),
        kind: write.kind.clone(),
        subresource: write.subresource.clone(),
        gone: write.gone,
        changed: write.changed.iter().map(|path| normalised(path)).collect(),
    }
}

/// What differs, as lines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Differences {
    /// Of each object, where the sequences of writes differ.
    objects: BTreeMap<Object, BTreeSet<String>>,
    /// Writes to different kinds in the other order.
    orders: BTreeSet<String>,
}

impl Differences {
    /// Those between our writes of one run and the recorded ones.
    pub fn between(ours: &[Write], recorded: &[Write]) -> Differences {
        let (ours_by_object, recorded_by_object) = (by_object(ours), by_object(recorded));
        let names: BTreeSet<&Object> = ours_by_object.keys().chain(recorded_by_object.keys()).collect();
        let mut objects: BTreeMap<Object, BTreeSet<String>> = BTreeMap::new();
        for name in names {
            let none = Vec::new();
            let (ours, recorded) =
                (ours_by_object.get(name).unwrap_or(&none), recorded_by_object.get(name).unwrap_or(&none));
            let lines = gaps(ours, recorded)
                .into_iter()
                .map(|(ours, recorded)| numberless(&format!("{} {}: {}", name.0, name.1, gap(&ours, &recorded))));
            objects.insert(name.clone(), lines.collect());
        }
        Differences { objects, orders: reversed(ours, recorded) }
    }

    /// What every run differs in: an object that is written as in the recording in one of the runs, and an order that is not reversed in one of
    /// them, are matters of time in ours as in the real one. Of an object that always differs the run that differs least.
    pub fn of_all(runs: &[Differences]) -> BTreeSet<String> {
        let objects: BTreeSet<&Object> = runs.iter().flat_map(|run| run.objects.keys()).collect();
        let least = |object: &Object| {
            let of_runs = runs.iter().map(|run| run.objects.get(object).cloned().unwrap_or_default());
            of_runs.min_by_key(BTreeSet::len).unwrap_or_default()
        };
        let mut lines: BTreeSet<String> = objects.into_iter().flat_map(least).collect();
        let orders = runs.iter().map(|run| run.orders.clone());
        lines.extend(orders.reduce(|one, other| &one & &other).unwrap_or_default());
        lines
    }

    /// All lines.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.objects.values().flatten().chain(&self.orders).map(String::as_str)
    }
}

fn by_object(writes: &[Write]) -> BTreeMap<Object, Vec<Step>> {
    let mut objects: BTreeMap<Object, Vec<Step>> = BTreeMap::new();
    for write in writes {
        // The name of a DaemonSet's pod ends in five random letters.
        let is_manager = write.kind == "Pod" && write.name.starts_with("longhorn-manager-");
        let name = if is_manager { "longhorn-manager".to_owned() } else { normalised(&write.name) };
        objects.entry((write.kind.clone(), name)).or_default().push(step(write));
    }
    objects
}

/// The stretches between what both sequences have in common, in a longest common subsequence.
fn gaps(ours: &[Step], recorded: &[Step]) -> Vec<(Vec<Step>, Vec<Step>)> {
    let mut longest = vec![vec![0; recorded.len() + 1]; ours.len() + 1];
    for (i, our) in ours.iter().enumerate().rev() {
        for (j, theirs) in recorded.iter().enumerate().rev() {
            longest[i][j] =
                if our == theirs { longest[i + 1][j + 1] + 1 } else { longest[i + 1][j].max(longest[i][j + 1]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    let (mut gaps, mut open) = (Vec::new(), (Vec::new(), Vec::new()));
    while i < ours.len() || j < recorded.len() {
        if i < ours.len() && j < recorded.len() && ours[i] == recorded[j] {
            gaps.push(std::mem::take(&mut open));
            (i, j) = (i + 1, j + 1);
        } else if j == recorded.len() || (i < ours.len() && longest[i + 1][j] >= longest[i][j + 1]) {
            open.0.push(ours[i].clone());
            i += 1;
        } else {
            open.1.push(recorded[j].clone());
            j += 1;
        }
    }
    gaps.push(open);
    gaps.retain(|(ours, recorded)| !ours.is_empty() || !recorded.is_empty());
    gaps
}

/// A stretch where the two differ. Writes of the same sort are compared field by field.
fn gap(ours: &[Step], recorded: &[Step]) -> String {
    let sort = |step: &Step| (step.actor.clone(), step.verb.clone(), step.subresource.clone(), step.gone);
    let are_pairs =
        ours.len() == recorded.len() && ours.iter().zip(recorded).all(|(one, other)| sort(one) == sort(other));
    if !are_pairs {
        return format!("ours {}, recorded {}", list(ours), list(recorded));
    }
    let pairs = ours.iter().zip(recorded).map(|(ours, recorded)| {
        let only = |one: &Step, other: &Step| fields(&one.changed.difference(&other.changed).cloned().collect());
        format!("{} ours+{} recorded+{}", head(ours), only(ours, recorded), only(recorded, ours))
    });
    pairs.collect::<Vec<_>>().join(", ")
}

fn list(steps: &[Step]) -> String {
    let steps: Vec<String> = steps.iter().map(|step| format!("{} {}", head(step), fields(&step.changed))).collect();
    format!("[{}]", steps.join(", "))
}

fn head(step: &Step) -> String {
    let actor = if step.actor == "longhorn-manager" { String::new() } else { format!("{} ", step.actor) };
    let subresource = if step.subresource.is_empty() { String::new() } else { format!("/{}", step.subresource) };
    let gone = if step.gone { " gone" } else { "" };
    format!("{actor}{}{subresource}{gone}", step.verb)
}

/// Fields, those below the third level (of containers, the fifth) as one.
fn fields(paths: &BTreeSet<String>) -> String {
    let levels =
        |path: &str| if path.starts_with("spec.containers") || path.starts_with("spec.volumes") { 5 } else { 3 };
    let short: BTreeSet<String> = paths.iter().map(|path| shortened(path, levels(path))).collect();
    let mut shown: Vec<String> = short.iter().take(SHOWN_FIELDS).cloned().collect();
    if short.len() > shown.len() {
        shown.push(format!("and {} more", short.len() - shown.len()));
    }
    format!("{{{}}}", shown.join(" "))
}

fn shortened(path: &str, levels: usize) -> String {
    let (mut depth, mut quoted) = (0, false);
    for (place, letter) in path.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            '.' | '[' if !quoted => depth += 1,
            _ => {}
        }
        if depth == levels {
            return path[..place].to_owned();
        }
    }
    path.to_owned()
}

/// Writes that both have, to different kinds, whose order is the other way round: all of the one before all of the other.
fn reversed(ours: &[Write], recorded: &[Write]) -> BTreeSet<String> {
    let ours: Vec<Step> = ours.iter().map(step).collect();
    let recorded: Vec<Step> = recorded.iter().map(step).collect();
    let (ours_spans, recorded_spans) = (spans(&ours), spans(&recorded));
    let common: Vec<&Step> = recorded_spans.keys().filter(|step| ours_spans.contains_key(*step)).copied().collect();
    let mut lines = BTreeSet::new();
    for one in &common {
        for other in common.iter().filter(|other| other.kind != one.kind) {
            let recorded_first = recorded_spans[one].1 < recorded_spans[other].0;
            if recorded_first && ours_spans[other].1 < ours_spans[one].0 {
                let text = |step: &Step| format!("{} {} {}", step.kind, head(step), fields(&step.changed));
                lines.insert(numberless(&format!("order: ours {} before {}", text(other), text(one))));
            }
        }
    }
    lines
}

/// Where each step comes first, and where last.
fn spans(steps: &[Step]) -> BTreeMap<&Step, (usize, usize)> {
    let mut spans: BTreeMap<&Step, (usize, usize)> = BTreeMap::new();
    for (place, step) in steps.iter().enumerate() {
        spans.entry(step).or_insert((place, place)).1 = place;
    }
    spans
}

/// Without what differs from run to run: the machine's name, addresses, random and checksum suffixes.
fn normalised(text: &str) -> String {
    let text = text.replace("worker-1", "n1");
    let mut result = String::new();
    let mut rest = text.as_str();
    while let Some(start) = rest.find("tcp://") {
        let end = rest[start..].find('"').map_or(rest.len(), |length| start + length);
        result.push_str(&rest[..start]);
        result.push_str("tcp://<address>");
        rest = &rest[end..];
    }
    result.push_str(rest);
    let is_part = |letter: char| letter.is_ascii_alphanumeric();
    let mut parts: Vec<String> = Vec::new();
    let mut last_was_part = false;
    for letter in result.chars() {
        if is_part(letter) && last_was_part {
            parts.last_mut().expect("there is one").push(letter);
        } else {
            parts.push(letter.to_string());
        }
        last_was_part = is_part(letter);
    }
    parts.iter().map(|part| hexless(part)).collect()
}

fn hexless(part: &str) -> String {
    let is_hex = part.chars().all(|letter| matches!(letter, '0'..='9' | 'a'..='f'));
    match part.len() {
        8 | 16 | 32 if is_hex => format!("<{}hex>", part.len()),
        _ => part.to_owned(),
    }
}

/// The backups of a flow are numbered; what differs, differs with each.
fn numberless(line: &str) -> String {
    let mut result = line.to_owned();
    for number in 1..=7 {
        result = result.replace(&format!("snap-{number}"), "snap-N").replace(&format!("backup-{number}"), "backup-N");
    }
    result
}
