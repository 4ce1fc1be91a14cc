//! What a run leaves behind in its process: nothing.

use std::time::Duration;

use corral_core::{Options, run};
use corral_scenarios::catalogue;
use corral_world::{Arm, RunOptions};

use super::{Figure, Scale, resident_mib};

/// Many runs of a whole scenario in one process, and of an empty world.
pub fn runs(scale: Scale) -> Vec<Figure> {
    let empty = scale.of(1000);
    let empty_run = |seed| {
        run(Options::new(seed), async {
            host::time::sleep(Duration::from_secs(1)).await;
        })
        .unwrap();
    };
    (0..empty / 10 + 1).for_each(empty_run);
    let before = resident_mib();
    (0..empty).for_each(empty_run);
    let grown_empty = resident_mib() - before;

    let scenario = catalogue().scenario("backup-cleanup").expect("it is there");
    let whole = scale.of(1000);
    let whole_run = |seed| {
        let arm = Arm {
            set: [("backups", "1"), ("volumes", "1"), ("machines", "1")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ..Arm::default()
        };
        corral_world::run(scenario.clone(), &arm, seed, None, RunOptions::default()).expect("a plan of its own");
    };
    (0..whole / 10 + 1).for_each(whole_run);
    let before = resident_mib();
    (0..whole).for_each(whole_run);
    let grown_whole = resident_mib() - before;
    vec![
        Figure::at_most(&format!("memory after {empty} empty runs"), grown_empty, "MiB", 1.0),
        Figure::at_most(&format!("memory after {whole} runs of backup-cleanup"), grown_whole, "MiB", 1.0),
    ]
}
