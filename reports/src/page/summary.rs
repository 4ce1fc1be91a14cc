//! What a run came to, out of its journal: for the top of the page, and for what is shown first.

use std::collections::{BTreeMap, BTreeSet};

use corral_core::Nanos;
use corral_core::journal::{Event, FaultPhase, JournalFile};

use crate::faults::OpenFaults;

/// What a run came to.
pub(super) struct Summary {
    /// Damage: oracle, when, detail; each once.
    pub violations: Vec<(String, Nanos, String)>,
    /// Hazards by name: how often, and when first.
    pub hazards: BTreeMap<String, (u64, Nanos)>,
    /// Situations that were reached, and when first.
    pub probes: BTreeMap<String, Nanos>,
    /// Faults that struck: kind, target, from, until; both times are the same if it was over at once.
    pub faults: Vec<(String, String, Nanos, Option<Nanos>)>,
    /// Words of the violations that may be objects' names.
    pub named: BTreeSet<String>,
    /// The time to look at first: from the workload to a little after the first violation.
    pub shown: (Nanos, Nanos),
}

impl Summary {
    pub fn of(file: &JournalFile) -> Summary {
        let mut summary = Summary {
            violations: Vec::new(),
            hazards: BTreeMap::new(),
            probes: BTreeMap::new(),
            faults: Vec::new(),
            named: BTreeSet::new(),
            shown: (Nanos::ZERO, file.header.ended_at),
        };
        let mut open = OpenFaults::<usize>::default();
        let mut phases = BTreeMap::new();
        for record in &file.records {
            match &record.event {
                Event::Violation { oracle, detail, .. } => summary.note_violation(oracle, record.at, detail),
                Event::Hazard { name, .. } => {
                    summary.hazards.entry(name.to_string()).or_insert((0, record.at)).0 += 1;
                }
                Event::Probe { name } => {
                    summary.probes.entry(name.to_string()).or_insert(record.at);
                }
                Event::Fault { kind, target, phase: FaultPhase::Ends } => {
                    if let Some(index) = open.end(kind, target) {
                        summary.faults[index].3 = Some(record.at);
                    }
                }
                Event::Fault { kind, target, phase } => {
                    let is_over = *phase == FaultPhase::Once;
                    if !is_over {
                        open.begin(kind, target, summary.faults.len());
                    }
                    let until = is_over.then_some(record.at);
                    summary.faults.push((kind.to_string(), target.to_string(), record.at, until));
                }
                Event::Phase { name } => {
                    phases.entry(name.to_string()).or_insert(record.at);
                }
                _ => {}
            }
        }
        let from = phases.get("workload").copied().unwrap_or(Nanos::ZERO);
        let until = summary.violations.iter().map(|violation| violation.1).min();
        let until = until.or(phases.get("settle").copied()).filter(|until| *until > from);
        let until = until.unwrap_or(file.header.ended_at);
        // A margin on both sides, so that neither end sticks to the edge.
        let margin = until.since(from) / 20;
        summary.shown = (from - margin, until + margin);
        summary
    }

    fn note_violation(&mut self, oracle: &str, at: Nanos, detail: &str) {
        let is_known = self.violations.iter().any(|known| known.0 == oracle && known.2 == detail);
        if !is_known {
            self.violations.push((oracle.to_owned(), at, detail.to_owned()));
        }
        let words = detail.split(|letter: char| !(letter.is_alphanumeric() || "-._".contains(letter)));
        self.named.extend(words.map(|word| word.trim_matches('.')).filter(|word| word.len() > 3).map(str::to_owned));
    }
}
