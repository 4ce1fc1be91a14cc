//! Lanes: what stands beside what in the timeline. A lane belongs to a group; groups have a fixed order, and some are closed at first.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::Serialize;

/// Sections of the timeline, in the order in which they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Section {
    Run,
    Faults,
    Machines,
    Objects,
    Requests,
    Calls,
    Store,
    Processes,
    Programs,
    Network,
    Logs,
    Other,
}

/// A lane's place before all lanes are known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub section: Section,
    /// What the group is of, if its section has several: a kind of object, a client.
    pub of: String,
    pub label: String,
}

/// A lane as the page has it.
#[derive(Debug, Serialize)]
pub(super) struct Lane {
    /// Which group it is in.
    pub group: usize,
    /// What stands at its left.
    pub label: String,
    /// Kind and full name, if it is an object's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<[String; 2]>,
}

/// A group as the page has it.
#[derive(Debug, Serialize)]
pub(super) struct Group {
    pub label: String,
    /// Whether its lanes are shown at first.
    pub open: bool,
}

/// Lanes as they are met, and what is known of them.
#[derive(Default)]
pub(super) struct Lanes {
    met: IndexMap<Key, Met>,
}

#[derive(Default)]
struct Met {
    object: Option<[String; 2]>,
    /// Events since the workload began.
    used: u64,
    /// Whether a violation names it.
    named: bool,
}

/// Lanes of objects that are open at first; more would bury the rest.
const MOST_OPEN: usize = 26;

/// Kinds whose writes are Kubernetes' own noise.
const NOISE: &[&str] = &["Lease", "Event", "Endpoints", "EndpointSlice", "Setting", "CustomResourceDefinition"];

impl Lanes {
    /// The number of a lane until [`Lanes::finish`] orders them.
    pub fn of(&mut self, section: Section, of: &str, label: &str) -> usize {
        let key = Key { section, of: of.to_owned(), label: label.to_owned() };
        let entry = self.met.entry(key);
        let index = entry.index();
        entry.or_default();
        index
    }

    /// The lane of an object, which a violation may have named.
    pub fn of_object(&mut self, kind: &str, name: &str, is_named: bool) -> usize {
        let index = self.of(Section::Objects, kind, name);
        self.met[index].object.get_or_insert_with(|| [kind.to_owned(), name.to_owned()]);
        self.met[index].named |= is_named;
        index
    }

    /// Counts an event of the time that people look at.
    pub fn used(&mut self, lane: usize) {
        self.met[lane].used += 1;
    }

    /// Groups and lanes in their order, and where each lane of before stands now.
    pub fn finish(self) -> (Vec<Group>, Vec<Lane>, Vec<usize>) {
        let mut kinds: BTreeMap<(Section, &str), (bool, u64, usize)> = BTreeMap::new();
        for (key, met) in &self.met {
            let (named, used, lanes) = kinds.entry((key.section, &key.of)).or_default();
            (*named, *used, *lanes) = (*named | met.named, *used + met.used, *lanes + 1);
        }
        // Groups of one section: noise last, those that a violation names first, then by how much was done.
        let mut order: Vec<_> = kinds
            .iter()
            .map(|(&(section, of), &(named, used, lanes))| {
                let is_noise = section == Section::Objects && NOISE.contains(&of);
                ((section, is_noise, !named, std::cmp::Reverse(used), of), lanes)
            })
            .collect();
        order.sort();
        let mut room = MOST_OPEN;
        let groups: Vec<Group> = order
            .iter()
            .map(|&((section, is_noise, not_named, used, of), lanes)| {
                let open = match section {
                    Section::Run | Section::Faults | Section::Machines | Section::Store => true,
                    Section::Objects => !is_noise && used.0 > 0 && (!not_named || lanes <= room),
                    _ => false,
                };
                if open && section == Section::Objects {
                    room = room.saturating_sub(lanes);
                }
                Group { label: title(section, of), open }
            })
            .collect();
        let place: BTreeMap<(Section, &str), usize> =
            order.iter().enumerate().map(|(index, ((section, _, _, _, of), _))| ((*section, *of), index)).collect();
        let mut lanes: Vec<usize> = (0..self.met.len()).collect();
        lanes.sort_by_key(|&index| {
            let (key, met) = self.met.get_index(index).expect("in range");
            (place[&(key.section, key.of.as_str())], !met.named, index)
        });
        let mut now = vec![0; lanes.len()];
        for (position, &before) in lanes.iter().enumerate() {
            now[before] = position;
        }
        let lanes = lanes.iter().map(|&index| {
            let (key, met) = self.met.get_index(index).expect("in range");
            let label = if met.object.is_some() { super::names::own(&key.label) } else { &key.label };
            let group = place[&(key.section, key.of.as_str())];
            Lane { group, label: label.to_owned(), object: met.object.clone() }
        });
        (groups, lanes.collect(), now)
    }
}

fn title(section: Section, of: &str) -> String {
    let said = match section {
        Section::Run => "Run",
        Section::Faults => "Faults",
        Section::Machines => "Machines",
        Section::Objects => return of.to_owned(),
        Section::Requests => return format!("Requests of {of}"),
        Section::Calls => "Calls",
        Section::Store => "Object store",
        Section::Processes => "Processes",
        Section::Programs => "Programs run",
        Section::Network => "Connections",
        Section::Logs => "Logs",
        Section::Other => "Other",
    };
    said.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_violation_names_stands_first_and_noise_is_closed() {
        let mut lanes = Lanes::default();
        let lease = lanes.of_object("Lease", "ns/l", false);
        let other = lanes.of_object("Volume", "ns/v", false);
        let first = lanes.of_object("Backup", "ns/a", false);
        let named = lanes.of_object("Backup", "ns/b", true);
        let phase = lanes.of(Section::Run, "", "phases");
        for lane in [lease, lease, other, other, other, first, named] {
            lanes.used(lane);
        }
        let (groups, placed, now) = lanes.finish();
        let told: Vec<_> = groups.iter().map(|group| (group.label.as_str(), group.open)).collect();
        assert_eq!(told, [("Run", true), ("Backup", true), ("Volume", true), ("Lease", false)]);
        let labels: Vec<_> = placed.iter().map(|lane| lane.label.as_str()).collect();
        assert_eq!(labels, ["phases", "b", "a", "v", "l"]);
        assert_eq!((now[phase], now[named], now[lease]), (0, 1, 4));
    }
}
