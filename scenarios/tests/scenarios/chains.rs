//! The chain of each race that an issue records, as `corral explain` prints it. A change of it is read like a change of code: it says what came about otherwise.

use corral_explore::{USUAL_LINES, explain_seed_file, in_parallel};
use corral_scenarios::catalogue;

use crate::{CORES, seed_files};

#[test]
fn every_recorded_race_is_explained() {
    let files = seed_files();
    let explained = in_parallel(&files, CORES, |(_, file)| {
        explain_seed_file(file, catalogue(), &[], USUAL_LINES).expect("checked").expect("it fails, as it says").1
    });
    for ((path, _), explained) in files.iter().zip(explained) {
        let chain: Vec<&str> = explained.lines().map(String::as_str).collect();
        assert!(chain.len() <= USUAL_LINES.into());
        let name = path.file_stem().expect("it has a name").to_string_lossy().into_owned();
        insta::assert_snapshot!(name, chain.join("\n"));
    }
}
