//! `corral list`.

use std::collections::BTreeMap;
use std::sync::Arc;

use corral_scenarios::{HAZARDS, catalogue};
use corral_world::{OWN_FAULT, PANIC, RESTLESS, Scenario};

use crate::arguments::Listing;
use crate::failure::{Done, Status};
use crate::say::say;
use crate::table::table;

/// Oracles that every run has, whatever its scenario.
const OF_EVERY_RUN: [(&str, &str); 3] = [
    (PANIC, "no process of the system panics"),
    (RESTLESS, "when faults and clients have ended, controllers stop writing"),
    (OWN_FAULT, "the simulator and the scenarios do not fail themselves"),
];

/// Prints what there is.
pub fn list(what: Listing) -> Done {
    let scenarios = catalogue().scenarios();
    let row = |cells: &[&str]| cells.iter().map(|&cell| cell.to_owned()).collect::<Vec<_>>();
    let mut rows = match what {
        Listing::Scenarios => scenarios.iter().map(|scenario| row(&[scenario.name(), scenario.about()])).collect(),
        Listing::Oracles => oracles(&scenarios),
        Listing::Hazards => HAZARDS.iter().map(|(name, about)| row(&[name, about])).collect(),
        Listing::Probes => scenarios
            .iter()
            .flat_map(|scenario| {
                scenario.probes().into_iter().map(|probe| row(&[probe.name, scenario.name(), probe.about]))
            })
            .collect(),
        Listing::Faults => corral_world::FAULT_MENU.iter().map(|(name, about)| row(&[name, about])).collect(),
        Listing::Releases => corral_scenarios::releases().into_iter().map(|(name, about)| vec![name, about]).collect(),
        Listing::Defects => corral_scenarios::defects(),
        Listing::Parameters => scenarios
            .iter()
            .flat_map(|scenario| {
                let rows = scenario.parameters().iter();
                rows.map(|parameter| row(&[scenario.name(), parameter.key, parameter.default, parameter.about]))
                    .collect::<Vec<_>>()
            })
            .collect(),
    };
    if rows.is_empty() {
        rows.push(row(&["none"]));
    }
    say(table(&rows).trim_end());
    Ok(Status::AsExpected)
}

/// Each oracle once: what it demands, and of which scenarios.
fn oracles(scenarios: &[Arc<dyn Scenario>]) -> Vec<Vec<String>> {
    let mut known: BTreeMap<&str, (&str, Vec<&str>)> = BTreeMap::new();
    for scenario in scenarios {
        for (name, about) in OF_EVERY_RUN {
            known.entry(name).or_insert((about, Vec::new())).1.push(scenario.name());
        }
        for oracle in scenario.oracles() {
            known.entry(oracle.name()).or_insert((oracle.about(), Vec::new())).1.push(scenario.name());
        }
    }
    let rows = known.into_iter().map(|(name, (about, judged))| {
        let judged = if judged.len() == scenarios.len() { "all scenarios".to_owned() } else { judged.join(", ") };
        vec![name.to_owned(), about.to_owned(), judged]
    });
    rows.collect()
}
