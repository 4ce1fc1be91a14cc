//! The chain of each recorded race, as `corral explain` prints it. A change of it is read like a change of code: it says what came about otherwise.

use std::path::Path;

use corral_scenarios::catalogue;
use corral_world::{RunOptions, SeedFile};

/// More would have to be read like a log.
const MOST_LINES: usize = 56;

#[test]
fn every_recorded_race_is_explained() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../seeds");
    let entries = std::fs::read_dir(folder).expect("a checkout has seeds").flatten().map(|entry| entry.path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|ending| ending == "toml")).collect();
    files.sort();
    assert!(!files.is_empty(), "no seed file");
    for path in files {
        let file = SeedFile::load(&path, catalogue()).unwrap_or_else(|error| panic!("{error}"));
        let scenario = catalogue().scenario(&file.scenario).expect("checked when it was loaded");
        let options = RunOptions { keep_journal: true, logs: Some(tracing::Level::WARN) };
        let verdict =
            corral_world::run(scenario, &file.fails[0], file.seed, Some(file.plan()), options).expect("checked");
        let violation = verdict.violations.iter().find(|found| file.expects(found)).expect("it fails, as it says");
        let journal = verdict.journal.as_ref().expect("it was asked for");
        let chain = corral_explore::explain(journal, &verdict.logs, violation, MOST_LINES);
        assert!(chain.len() <= MOST_LINES);
        let name = path.file_stem().expect("it has a name").to_string_lossy().into_owned();
        insta::assert_snapshot!(name, chain.join("\n"));
    }
}
