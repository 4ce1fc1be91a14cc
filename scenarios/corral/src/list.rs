//! `corral list`.

use corral_scenarios::catalogue;

use crate::arguments::Listing;
use crate::failure::{Done, Status};
use crate::say::say;
use crate::table::table;

/// Prints what there is.
pub fn list(what: Listing) -> Done {
    let scenarios = catalogue().scenarios();
    let row = |cells: &[&str]| cells.iter().map(|&cell| cell.to_owned()).collect::<Vec<_>>();
    let mut rows = match what {
        Listing::Scenarios => scenarios.iter().map(|scenario| row(&[scenario.name(), scenario.about()])).collect(),
        Listing::Oracles => scenarios
            .iter()
            .flat_map(|scenario| scenario.oracles().into_iter().map(|oracle| row(&[oracle.name(), scenario.name()])))
            .collect(),
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
