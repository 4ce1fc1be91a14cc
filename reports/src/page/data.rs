//! What is embedded in the page: a run as rows of numbers, bars and lanes, small enough to be sent by mail.

use std::collections::BTreeMap;

use corral_core::Nanos;
use corral_core::journal::{Event, JournalFile, LogEntry, Record};
use serde::Serialize;

use super::bars::{Bar, Bars};
use super::heartbeats::Heartbeats;
use super::lanes::{Group, Lane, Lanes, Section};
use super::reads::Writes;
use super::rows;
use super::strings::Strings;
use super::summary::Summary;
use super::{lane_of, names};
use crate::requests::writes_by_request;
use crate::teardown::is_teardown;

/// More fields of one write than this are counted only.
const MOST_CHANGES: usize = 60;

/// A run as the page's script reads it. Rows are named by their index in `events`.
#[derive(Serialize)]
pub(super) struct Data {
    title: String,
    /// The time that is shown at first: the workload, up to the violation.
    from: u64,
    to: u64,
    /// When the run ended.
    end: u64,
    strings: Vec<String>,
    /// By number: name, machine, address and what it is called in short.
    processes: BTreeMap<u32, [u64; 4]>,
    groups: Vec<Group>,
    lanes: Vec<Lane>,
    /// Kind, weight, nanoseconds since the row before, sequence (0 for a log line), lane, process, cause's sequence; then the kind's fields.
    events: Vec<Vec<u64>>,
    bars: Vec<Bar>,
    /// By row: field and value by turns.
    changes: BTreeMap<usize, Vec<u64>>,
    /// By row, eight numbers a read: kind, name, version, age, whether cached, row that was seen, last row that was missed (both plus one), how many.
    reads: BTreeMap<usize, Vec<u64>>,
    /// Row of a request and row of what it wrote, by turns.
    made: Vec<usize>,
    /// How many events were left out as heartbeats.
    folded: usize,
}

/// Either kind of row.
pub(super) enum Item<'a> {
    Event(&'a Record<'static>),
    Log(&'a LogEntry),
}

impl Item<'_> {
    pub fn at(&self) -> Nanos {
        match self {
            Item::Event(record) => record.at,
            Item::Log(log) => log.at,
        }
    }
}

/// Everything that becomes a row, in order.
pub(super) fn items<'a>(file: &'a JournalFile, heartbeats: &Heartbeats) -> Vec<Item<'a>> {
    let kept = file.records.iter().filter(|record| !heartbeats.folded.contains(&record.sequence));
    let mut items: Vec<Item<'a>> = kept.map(Item::Event).collect();
    items.extend(file.logs.iter().map(Item::Log));
    // Stable: events stay in their order, and log lines follow what happened at the same time.
    items.sort_by_key(Item::at);
    items
}

impl Data {
    pub fn of(file: &JournalFile, summary: &Summary) -> Data {
        let heartbeats = Heartbeats::of(file);
        let items = items(file, &heartbeats);
        let mut building = Building::new(file, summary);
        for (row, item) in items.iter().enumerate() {
            building.add(row, item);
        }
        let mut bars = building.bars.finish(file.header.ended_at.0);
        for stretch in &heartbeats.stretches {
            let lane = building.lanes.of_object("Lease", &stretch.lease, false);
            let label = building.strings.of(&format!("renewed {} times", stretch.count));
            bars.push(Bar::heartbeats(lane, stretch.from, stretch.to, label));
        }
        let (groups, lanes, now) = building.lanes.finish();
        for event in &mut building.events {
            event[4] = now[event[4] as usize] as u64;
        }
        bars.iter_mut().for_each(|bar| bar.move_to(&now));
        bars.sort_by_key(Bar::order);
        Data {
            title: file.header.title.clone(),
            from: summary.shown.0.0,
            to: summary.shown.1.0,
            end: file.header.ended_at.0,
            strings: building.strings.into_vec(),
            processes: building.processes,
            groups,
            lanes,
            events: building.events,
            bars,
            changes: building.changes,
            reads: building.reads,
            made: building.made,
            folded: heartbeats.folded.len(),
        }
    }
}

struct Building<'a> {
    file: &'a JournalFile,
    summary: &'a Summary,
    strings: Strings,
    lanes: Lanes,
    bars: Bars,
    writes: Writes,
    /// The write that each request made, both by their sequences.
    made_by: BTreeMap<u64, u64>,
    /// Of the writes, by their sequences.
    rows: BTreeMap<u64, usize>,
    processes: BTreeMap<u32, [u64; 4]>,
    /// Name of each process, and its machine where the name alone does not tell.
    known: BTreeMap<u32, (String, String)>,
    events: Vec<Vec<u64>>,
    changes: BTreeMap<usize, Vec<u64>>,
    reads: BTreeMap<usize, Vec<u64>>,
    made: Vec<usize>,
    /// The time of each row so far.
    times: Vec<u64>,
}

impl<'a> Building<'a> {
    fn new(file: &'a JournalFile, summary: &'a Summary) -> Building<'a> {
        let mut lanes = Lanes::default();
        for label in ["violations", "phases", "client's steps", "hazards", "probes"] {
            lanes.of(Section::Run, "", label);
        }
        let known = lane_of::processes(file);
        let mut strings = Strings::new();
        let mut processes = BTreeMap::new();
        for record in &file.records {
            if let Event::ProcessBegan { process, name, machine, address: [a, b, c, d] } = &record.event {
                let short = names::process(name, &known[process].1);
                let texts = [name, machine, &*format!("{a}.{b}.{c}.{d}"), &*short];
                processes.insert(*process, texts.map(|text| strings.of(text)));
            }
        }
        Building {
            file,
            summary,
            strings,
            lanes,
            bars: Bars::default(),
            writes: Writes::default(),
            made_by: writes_by_request(&file.records),
            rows: BTreeMap::new(),
            processes,
            known,
            events: Vec::with_capacity(file.records.len()),
            changes: BTreeMap::new(),
            reads: BTreeMap::new(),
            made: Vec::new(),
            times: Vec::with_capacity(file.records.len()),
        }
    }

    fn add(&mut self, row: usize, item: &Item<'_>) {
        let at = item.at().0;
        let lane = lane_of::lane(item, &self.known, &mut self.lanes, &self.summary.named);
        if at >= self.summary.shown.0.0 {
            self.lanes.used(lane);
        }
        let (kind, weight, sequence, process, cause, fields) = match item {
            Item::Log(log) => {
                let fields = vec![self.strings.of(&log.level), self.strings.of(&log.text)];
                ("log", rows::log_weight(log), 0, log.process, 0, fields)
            }
            Item::Event(record) => {
                let ended_at = self.file.header.ended_at;
                if !is_teardown(record, ended_at) {
                    self.bars.note(row, lane, record, &self.known, &mut self.strings);
                }
                self.note_writes(row, record);
                let known = &self.known;
                let name = |process: u32| known.get(&process).map_or(String::new(), |(name, _)| name.clone());
                let fields = rows::fields(record, ended_at, &mut self.strings, name);
                let weight = rows::weight(record, ended_at);
                (record.event.kind(), weight, record.sequence, record.process, record.cause, fields)
            }
        };
        let head = [
            rows::kind_number(kind),
            weight as u64,
            at - self.times.last().copied().unwrap_or(0),
            sequence,
            lane as u64,
            process.into(),
            cause,
        ];
        self.times.push(at);
        self.events.push(head.into_iter().chain(fields).collect());
    }

    fn note_writes(&mut self, row: usize, record: &Record<'static>) {
        self.writes.note(row, &record.event);
        if matches!(record.event, Event::ApiWrite { .. }) {
            self.rows.insert(record.sequence, row);
        }
        let made = self.made_by.get(&record.sequence).and_then(|write| self.rows.get(write)).copied();
        self.made.extend(made.into_iter().flat_map(|write| [row, write]));
        let strings = &mut self.strings;
        let until = match &record.event {
            // What was written while a call ran is no news that its caller had missed.
            Event::Call { took_ns, .. } => self.times.partition_point(|at| *at < record.at.0.saturating_sub(*took_ns)),
            _ => made.unwrap_or(row),
        };
        let reads = self.writes.told(record, until);
        if !reads.is_empty() {
            let plus_one = |row: Option<usize>| row.map_or(0, |row| row as u64 + 1);
            let numbers = reads.iter().flat_map(|told| {
                let (missed, count) = told.missed.unzip();
                let read = told.read;
                let texts = [strings.of(&read.kind), strings.of(&read.name)];
                let seen = [read.resource_version, read.age_ns, u64::from(read.cached)];
                let rows = [plus_one(told.saw), plus_one(missed), count.unwrap_or(0) as u64];
                texts.into_iter().chain(seen).chain(rows)
            });
            self.reads.insert(row, numbers.collect());
        }
        if let Some(changes) = self.file.changes.get(&record.sequence) {
            let mut told: Vec<u64> = changes
                .iter()
                .take(MOST_CHANGES)
                .flat_map(|change| [strings.of(&change.field), strings.of(&change.value)])
                .collect();
            if changes.len() > MOST_CHANGES {
                let more = format!("(and {} more)", changes.len() - MOST_CHANGES);
                told.extend([strings.of(&more), 0]);
            }
            self.changes.insert(row, told);
        }
    }
}
