//! Which lane an event stands in.

use std::collections::{BTreeMap, BTreeSet};

use corral_core::journal::{Event, JournalFile, Record, full_name};

use super::data::Item;
use super::lanes::{Lanes, Section};
use super::names;

/// Name and machine of every process by its number. The machine is left empty where the name alone tells which process is meant.
pub(super) fn processes(file: &JournalFile) -> BTreeMap<u32, (String, String)> {
    let began = |record: &Record<'static>| match &record.event {
        Event::ProcessBegan { process, name, machine, .. } => Some((*process, name.to_string(), machine.to_string())),
        _ => None,
    };
    let all: Vec<(u32, String, String)> = file.records.iter().filter_map(began).collect();
    let mut machines: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (_, name, machine) in &all {
        machines.entry(name).or_default().insert(machine);
    }
    let is_one = |name: &str| machines[name].len() == 1;
    let told = all.iter().map(|(process, name, machine)| {
        let machine = if is_one(name) { String::new() } else { machine.clone() };
        (*process, (name.clone(), machine))
    });
    told.collect()
}

/// The lane of an event or a log line. `named` are the names that violations say.
pub(super) fn lane(
    item: &Item<'_>,
    known: &BTreeMap<u32, (String, String)>,
    lanes: &mut Lanes,
    named: &BTreeSet<String>,
) -> usize {
    let who = |process: u32| match known.get(&process) {
        Some((name, machine)) => names::process(name, machine),
        None => "the run loop".to_owned(),
    };
    let record = match item {
        Item::Log(log) if known.contains_key(&log.process) => return lanes.of(Section::Logs, "", &who(log.process)),
        Item::Log(log) => return lanes.of(Section::Logs, "", &names::process(&log.name, "")),
        Item::Event(record) => record,
    };
    let by = |section, lanes: &mut Lanes| lanes.of(section, "", &who(record.process));
    let mut object = |kind: &str, name: &str| lanes.of_object(kind, name, named.contains(names::own(name)));
    match &record.event {
        Event::Violation { .. } => lanes.of(Section::Run, "", "violations"),
        Event::Phase { .. } => lanes.of(Section::Run, "", "phases"),
        Event::Step { .. } => lanes.of(Section::Run, "", "client's steps"),
        Event::Hazard { .. } => lanes.of(Section::Run, "", "hazards"),
        Event::Probe { .. } => lanes.of(Section::Run, "", "probes"),
        Event::Fault { kind, target, .. } => lanes.of(Section::Faults, "", &format!("{kind}: {target}")),
        Event::Machine { name, .. } => lanes.of(Section::Machines, "", name),
        Event::ProcessBegan { process, .. } | Event::ProcessEnded { process, .. } => {
            let is_program = known.get(process).is_some_and(|(name, _)| names::is_program(name));
            let section = if is_program { Section::Programs } else { Section::Processes };
            lanes.of(section, "", &who(*process))
        }
        Event::Panicked { .. } => by(Section::Processes, lanes),
        Event::Executed { .. } => by(Section::Programs, lanes),
        Event::Connected { .. } => by(Section::Network, lanes),
        Event::ApiWrite { kind, namespace, name, .. } => object(kind, &full_name(namespace, name)),
        Event::ApiRefused { kind, name, .. } => object(kind, name),
        Event::ApiRequest { within, .. } => {
            let controller = names::controller(within);
            let label = if controller.is_empty() { "(no reconcile)" } else { controller };
            lanes.of(Section::Requests, &who(record.process), label)
        }
        Event::Call { method, .. } => {
            let label = format!("{} · {}", who(record.process), names::method(method));
            lanes.of(Section::Calls, "", &label)
        }
        Event::StoreOperation { verb, .. } => lanes.of(Section::Store, "", verb),
        Event::RunBegan { .. } | Event::Note { .. } | Event::ScheduleDraw { .. } => by(Section::Other, lanes),
    }
}
