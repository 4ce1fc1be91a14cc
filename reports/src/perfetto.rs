//! A journal as a trace that <https://ui.perfetto.dev> opens: Chrome's JSON trace event format.
//!
//! A machine is a process there and a process of ours is a thread; what overlaps in one thread is put into a second one of the same name.
//! Faults and objects are asynchronous events, writes are instants, and arrows lead from causes to what they caused.

mod tracks;

use std::collections::BTreeMap;

use corral_core::journal::{Event, FaultPhase, JournalFile, Record, full_name};
use serde_json::{Value, json};

use crate::faults::OpenFaults;
use crate::requests::writes_by_request;
use crate::teardown::is_teardown;
use tracks::{OBJECTS, RUN, Tracks};

/// A journal as Chrome's JSON trace events.
pub fn perfetto(file: &JournalFile) -> String {
    let mut trace = Trace { tracks: Tracks::of(file), events: Vec::new(), end: file.header.ended_at.0 };
    trace.lives(file);
    trace.faults_and_phases(file);
    trace.objects(file);
    for record in &file.records {
        trace.moment(record);
    }
    trace.arrows(file);
    // By time, and nothing ends before what begins with it: readers want a track's events in order.
    trace.events.sort_by_key(|event| (event.0, event.1));
    let mut events = trace.tracks.metadata();
    events.extend(trace.events.into_iter().map(|(_, _, event)| event));
    let header = &file.header;
    let other = json!({
        "title": header.title, "digest": header.digest, "commit": header.commit, "reproduce": header.reproduce,
    });
    json!({ "traceEvents": events, "displayTimeUnit": "ns", "otherData": other }).to_string()
}

/// Microseconds, as the format has them, with the nanoseconds behind the point.
fn micros(ns: u64) -> f64 {
    ns as f64 / 1_000.0
}

struct Trace {
    tracks: Tracks,
    /// When, what stands first at the same time, and the event.
    events: Vec<(u64, u8, Value)>,
    end: u64,
}

impl Trace {
    /// A span in a track of this process, or in another of the same name if that one is taken.
    fn span(&mut self, process: u32, label: &str, name: &str, (from, to): (u64, u64), args: Value) {
        let (pid, tid) = self.tracks.free(process, label, from, to);
        let event = json!({
            "ph": "X", "name": name, "cat": "span", "ts": micros(from), "dur": micros(to - from), "pid": pid, "tid": tid, "args": args,
        });
        self.events.push((from, 1, event));
    }

    fn instant(&mut self, record: &Record<'_>, label: &str, category: &str, name: &str, args: Value) {
        let (pid, tid) = self.tracks.moments(record.process, label);
        let event = json!({
            "ph": "i", "s": "t", "name": name, "cat": category, "ts": micros(record.at.0), "pid": pid, "tid": tid, "args": args,
        });
        self.events.push((record.at.0, 2, event));
    }

    /// Both ends of something that lasts across tracks.
    fn lasting(&mut self, pid: u32, category: &str, name: &str, (from, to): (u64, u64), args: Value) {
        let id = format!("0x{:x}", self.events.len() + 1);
        let end = |ph: &str, at: u64, args: Value| json!({ "ph": ph, "name": name, "cat": category, "id": id, "ts": micros(at), "pid": pid, "tid": 0, "args": args });
        self.events.push((from, 0, end("b", from, args)));
        self.events.push((to, 3, end("e", to, json!({}))));
    }

    /// Lives of processes.
    fn lives(&mut self, file: &JournalFile) {
        let mut began: BTreeMap<u32, (u64, &str)> = BTreeMap::new();
        for record in &file.records {
            match &record.event {
                Event::ProcessBegan { process, name, .. } => {
                    began.insert(*process, (record.at.0, name));
                }
                Event::ProcessEnded { process, end } if !is_teardown(record, file.header.ended_at) => {
                    if let Some((from, name)) = began.remove(process) {
                        self.span(
                            *process,
                            "",
                            name,
                            (from, record.at.0),
                            json!({ "process": process, "end": end.to_string() }),
                        );
                    }
                }
                _ => {}
            }
        }
        for (process, (from, name)) in began {
            self.span(process, "", name, (from, self.end.max(from)), json!({ "process": process }));
        }
    }

    fn faults_and_phases(&mut self, file: &JournalFile) {
        let mut open = OpenFaults::default();
        let mut phase: Option<(u64, &str)> = None;
        for record in &file.records {
            match &record.event {
                Event::Fault { kind, target, phase } => {
                    let from = match phase {
                        FaultPhase::Begins => {
                            open.begin(kind, target, record.at.0);
                            None
                        }
                        FaultPhase::Ends => open.end(kind, target),
                        FaultPhase::Once => Some(record.at.0),
                    };
                    if let Some(from) = from {
                        self.lasting(RUN, "fault", &format!("{kind}: {target}"), (from, record.at.0), json!({}));
                    }
                }
                Event::Phase { name } => {
                    if let Some((from, name)) = phase.replace((record.at.0, name)) {
                        self.lasting(RUN, "phase", name, (from, record.at.0), json!({}));
                    }
                }
                _ => {}
            }
        }
        for (kind, target, from) in open.rest() {
            self.lasting(RUN, "fault", &format!("{kind}: {target}"), (from, self.end.max(from)), json!({}));
        }
        if let Some((from, name)) = phase {
            self.lasting(RUN, "phase", name, (from, self.end.max(from)), json!({}));
        }
    }

    /// Lives of objects.
    fn objects(&mut self, file: &JournalFile) {
        let mut alive: BTreeMap<(&str, String), (u64, &str)> = BTreeMap::new();
        for record in &file.records {
            if let Event::ApiWrite { verb, kind, namespace, name, uid, .. } = &record.event {
                let object = (&**kind, full_name(namespace, name));
                if verb == "delete" {
                    if let Some((from, uid)) = alive.remove(&object) {
                        let name = format!("{kind} {}", object.1);
                        self.lasting(OBJECTS, kind, &name, (from, record.at.0), json!({ "uid": uid }));
                    }
                } else {
                    alive.entry(object).or_insert((record.at.0, uid));
                }
            }
        }
        for ((kind, name), (from, uid)) in alive {
            let said = format!("{kind} {name}");
            self.lasting(OBJECTS, kind, &said, (from, self.end.max(from)), json!({ "uid": uid }));
        }
    }

    /// What happened at one time, and calls, which are told when they end.
    fn moment(&mut self, record: &Record<'_>) {
        let sequence = record.sequence;
        let at = record.at.0;
        match &record.event {
            Event::ApiWrite { verb, kind, subresource, namespace, name, resource_version, client, .. } => {
                let said = format!("{verb} {kind} {}", full_name(namespace, name));
                let args = json!({
                    "sequence": sequence, "subresource": subresource, "version": resource_version, "client": client,
                });
                self.instant(record, "writes", "write", &said, args);
            }
            Event::ApiRequest { verb, kind, name, code, within, .. } => {
                let args = json!({ "sequence": sequence, "code": code, "within": within });
                self.instant(record, "requests", "request", &format!("{verb} {kind} {name}: {code}"), args);
            }
            Event::Call { method, peer, outcome, took_ns, within, .. } => {
                let args = json!({ "sequence": sequence, "peer": peer, "outcome": outcome, "within": within });
                let name = format!("{method}{}", if outcome.eq_ignore_ascii_case("ok") { "" } else { " (failed)" });
                self.span(record.process, "calls", &name, (at.saturating_sub(*took_ns), at), args);
            }
            Event::ApiRefused { verb, kind, name, code, reason, client } => {
                let args = json!({ "sequence": sequence, "reason": reason, "client": client });
                self.instant(record, "refused", "refused", &format!("{verb} {kind} {name}: {code}"), args);
            }
            Event::StoreOperation { verb, key, bytes, code, client } => {
                let args = json!({ "sequence": sequence, "bytes": bytes, "code": code, "client": client });
                self.instant(record, "store", "store", &format!("{verb} {key}"), args);
            }
            Event::Step { what, outcome } => {
                self.instant(record, "steps", "step", what, json!({ "sequence": sequence, "outcome": outcome }));
            }
            Event::Hazard { name, object, detail } => {
                let args = json!({ "sequence": sequence, "object": object, "detail": detail });
                self.instant(record, "hazards", "hazard", name, args);
            }
            Event::Violation { oracle, detail, .. } => {
                self.instant(
                    record,
                    "violations",
                    "violation",
                    oracle,
                    json!({ "sequence": sequence, "detail": detail }),
                );
            }
            Event::Panicked { message, location } => {
                self.instant(record, "panics", "panic", message, json!({ "sequence": sequence, "location": location }));
            }
            Event::Probe { name } => self.instant(record, "probes", "probe", name, json!({ "sequence": sequence })),
            Event::Machine { name, state } => {
                self.instant(
                    record,
                    "machines",
                    "machine",
                    &format!("{name} is {state}"),
                    json!({ "sequence": sequence }),
                );
            }
            Event::Note { text } => self.instant(record, "notes", "note", text, json!({ "sequence": sequence })),
            Event::RunBegan { .. }
            | Event::Phase { .. }
            | Event::ProcessBegan { .. }
            | Event::ProcessEnded { .. }
            | Event::Executed { .. }
            | Event::Connected { .. }
            | Event::Fault { .. }
            | Event::ScheduleDraw { .. } => {}
        }
    }

    /// Arrows from causes to what they caused: those that the journal names, and from a write to the answer that its client was given.
    fn arrows(&mut self, file: &JournalFile) {
        let by_sequence: BTreeMap<u64, &Record<'_>> =
            file.records.iter().map(|record| (record.sequence, record)).collect();
        let made_by = writes_by_request(&file.records);
        let mut number = 0;
        for record in &file.records {
            let cause = match &record.event {
                Event::ApiRequest { .. } if record.cause == 0 => made_by.get(&record.sequence),
                _ => Some(&record.cause),
            };
            let cause = cause.and_then(|cause| by_sequence.get(cause).copied());
            let Some(cause) = cause.filter(|cause| cause.at <= record.at) else { continue };
            let (Some(one), Some(other)) = (label(&cause.event), label(&record.event)) else { continue };
            number += 1;
            for (ph, end, label, order) in [("s", cause, one, 4), ("f", record, other, 5)] {
                let (pid, tid) = self.tracks.moments(end.process, label);
                let mut event = json!({
                    "ph": ph, "name": "led to", "cat": "cause", "id": number, "ts": micros(end.at.0), "pid": pid, "tid": tid,
                });
                if ph == "f" {
                    event["bp"] = "e".into();
                }
                self.events.push((end.at.0, order, event));
            }
        }
    }
}

/// The track of what an arrow may begin or end at.
fn label(event: &Event<'_>) -> Option<&'static str> {
    match event {
        Event::ApiWrite { .. } => Some("writes"),
        Event::ApiRequest { .. } => Some("requests"),
        Event::ApiRefused { .. } => Some("refused"),
        Event::StoreOperation { .. } => Some("store"),
        Event::Step { .. } => Some("steps"),
        Event::Hazard { .. } => Some("hazards"),
        Event::Violation { .. } => Some("violations"),
        _ => None,
    }
}
