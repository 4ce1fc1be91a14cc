//! Bars: what lasts. Faults, phases, machines' states, lives of processes and objects, calls.

use std::collections::BTreeMap;

use corral_core::journal::{End, Event, FaultPhase, Record};
use serde::Serialize;

use super::strings::Strings;
use crate::faults::OpenFaults;

/// What a bar is, for its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Class {
    Fault,
    Phase,
    Running,
    Frozen,
    Off,
    Process,
    EndedBadly,
    Object,
    Deleting,
    Call,
    CallFailed,
    Program,
    Heartbeats,
}

/// Lane, from, to, class, label, rows where it begins and ends (plus one; 0 for none).
#[derive(Debug, Serialize)]
pub(super) struct Bar(usize, u64, u64, Class, u64, usize, usize);

impl Bar {
    pub fn heartbeats(lane: usize, from: u64, to: u64, label: u64) -> Bar {
        Bar(lane, from, to, Class::Heartbeats, label, 0, 0)
    }

    /// Tells a bar its lane's place.
    pub fn move_to(&mut self, places: &[usize]) {
        self.0 = places[self.0];
    }

    pub fn order(&self) -> (usize, u64, u64) {
        (self.0, self.1, self.2)
    }
}

/// What an open bar belongs to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Process(u32),
    /// The one that began in this row.
    Fault(usize),
    /// A machine, an object or the run: one bar at a time in its lane.
    Lane(usize),
}

/// Bars as they begin and end.
#[derive(Default)]
pub(super) struct Bars {
    open: BTreeMap<Owner, Bar>,
    /// The rows in which they began.
    faults: OpenFaults<usize>,
    done: Vec<Bar>,
}

impl Bars {
    /// Those that have ended, and those that had not when the run did.
    pub fn finish(mut self, end: u64) -> Vec<Bar> {
        self.done.extend(self.open.into_values().map(|bar| Bar(bar.0, bar.1, end.max(bar.1), bar.3, bar.4, bar.5, 0)));
        self.done
    }

    fn begin(&mut self, owner: Owner, lane: usize, at: u64, class: Class, label: u64, row: usize) {
        self.end(&owner, at, None, row);
        self.open.insert(owner, Bar(lane, at, at, class, label, row + 1, 0));
    }

    fn end(&mut self, owner: &Owner, at: u64, class: Option<Class>, row: usize) {
        if let Some(mut bar) = self.open.remove(owner) {
            (bar.2, bar.3, bar.6) = (at, class.unwrap_or(bar.3), row + 1);
            self.done.push(bar);
        }
    }

    fn span(&mut self, lane: usize, at: u64, took: u64, class: Class, label: u64, row: usize) {
        self.done.push(Bar(lane, at.saturating_sub(took), at, class, label, row + 1, row + 1));
    }

    /// What an event begins or ends.
    pub fn note(
        &mut self,
        row: usize,
        lane: usize,
        record: &Record<'_>,
        known: &BTreeMap<u32, (String, String)>,
        strings: &mut Strings,
    ) {
        let at = record.at.0;
        match &record.event {
            Event::Phase { name } => self.begin(Owner::Lane(lane), lane, at, Class::Phase, strings.of(name), row),
            Event::Machine { state, .. } => {
                let class = match state.as_ref() {
                    "running" => Class::Running,
                    "frozen" => Class::Frozen,
                    _ => Class::Off,
                };
                self.begin(Owner::Lane(lane), lane, at, class, strings.of(state), row);
            }
            Event::Fault { kind, target, phase: FaultPhase::Ends } => {
                if let Some(began) = self.faults.end(kind, target) {
                    self.end(&Owner::Fault(began), at, None, row);
                }
            }
            Event::Fault { kind, target, phase } => {
                let label = strings.of(&format!("{kind} of {target}"));
                self.begin(Owner::Fault(row), lane, at, Class::Fault, label, row);
                match phase {
                    FaultPhase::Once => self.end(&Owner::Fault(row), at, None, row),
                    _ => self.faults.begin(kind, target, row),
                }
            }
            Event::ProcessBegan { process, name, .. } => {
                let program = super::names::is_program(name);
                let class = if program { Class::Program } else { Class::Process };
                let label = if program { 0 } else { strings.of(&format!("process {process}")) };
                self.begin(Owner::Process(*process), lane, at, class, label, row);
            }
            Event::ProcessEnded { process, end } => {
                let is_daemon = known.get(process).is_some_and(|(name, _)| !super::names::is_program(name));
                let class = (is_daemon && *end != End::Exited(0)).then_some(Class::EndedBadly);
                if let (Some(_), Some(bar)) = (class, self.open.get_mut(&Owner::Process(*process))) {
                    bar.4 = strings.of(&format!("process {process}, {end}"));
                }
                self.end(&Owner::Process(*process), at, class, row);
            }
            Event::ApiWrite { verb, deleting, .. } => {
                let owner = Owner::Lane(lane);
                let class = self.open.get(&owner).map(|bar| bar.3);
                match (verb.as_ref(), class) {
                    ("delete", _) => self.end(&owner, at, None, row),
                    (_, class) if *deleting && class != Some(Class::Deleting) => {
                        self.begin(owner, lane, at, Class::Deleting, strings.of("deleting"), row);
                    }
                    (_, None) => self.begin(owner, lane, at, Class::Object, 0, row),
                    _ => {}
                }
            }
            Event::Call { outcome, took_ns, .. } => {
                let failed = !outcome.eq_ignore_ascii_case("ok");
                let class = if failed { Class::CallFailed } else { Class::Call };
                self.span(lane, at, *took_ns, class, 0, row);
            }
            Event::Executed { took_ns, .. } => self.span(lane, at, *took_ns, Class::Program, 0, row),
            _ => {}
        }
    }
}
