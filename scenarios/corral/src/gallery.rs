//! `corral replay --out DIR`: a page for each seed file, of its first failing arm beside the twin that passes, and an index.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use corral_core::journal::JournalFile;
use corral_explore::{Finding, Origin, Pool, Tally, in_parallel, twin_of_seed_file};
use corral_scenarios::catalogue;
use corral_world::SeedFile;
use corral_world::text::quoted;

use crate::bench::timed;
use crate::failure::Refused;
use crate::finding;
use crate::fuzz::workers;
use crate::night::{self, Told};
use crate::replay::{check_names, name_of};
use crate::say::say;

/// Refuses what would be known only after the runs: files of one name, a folder that cannot be used. Makes the folder.
pub fn prepare(out: &Path, loaded: &[(PathBuf, SeedFile)]) -> Result<(), Refused> {
    check_names(loaded)?;
    std::fs::create_dir_all(out).map_err(|error| Refused::path(out, "cannot be made", error))?;
    if out.join(night::RUNS).exists() {
        return Err(Refused::new(format!("{}: holds the runs of a night; name another folder", out.display())));
    }
    let probe = out.join(".writable");
    let tried = std::fs::write(&probe, "").and_then(|()| std::fs::remove_file(&probe));
    tried.map_err(|error| Refused::path(out, "cannot be written", error))
}

/// Writes the pages of all that still show what they are about, into a folder that was prepared; the rest is not told.
pub fn write(out: &Path, loaded: &[(PathBuf, SeedFile)], jobs: usize) -> Result<(), Refused> {
    let scenarios: BTreeSet<&String> = loaded.iter().map(|(_, file)| &file.scenario).collect();
    let told_of = Told {
        arm: "of each file, the first that fails".to_owned(),
        scenarios: scenarios.into_iter().cloned().collect(),
        ..Told::here()
    };
    let origin = told_of.origin();
    let (took, told) = timed(|| in_parallel(loaded, jobs, |(path, file)| tell(out, path, file, &origin)));
    let mut night = night::night(&Tally::default(), &told_of, &[], |_, _| None, took);
    for shown in told.into_iter().filter_map(Result::transpose) {
        let (finding, journal) = shown?;
        night.runs += 1;
        night.failed += 1;
        night.events += journal.records.len() as u64;
        night.simulated_seconds += journal.header.ended_at.as_duration().as_secs_f64();
        night.findings.push(finding);
    }
    night.title = format!("{} recorded failure{}, replayed", night.runs, if night.runs == 1 { "" } else { "s" });
    night::write_summary(out, &night).map_err(Refused::new)?;
    say(format_args!("their pages: {}", out.join(night::INDEX).display()));
    Ok(())
}

/// Runs a seed file's first failing arm, and its twin, for their journals, and writes its page.
fn tell(
    out: &Path,
    path: &Path,
    file: &SeedFile,
    origin: &Origin,
) -> Result<Option<(corral_reports::Finding, JournalFile)>, Refused> {
    let recipe = file.recipe(&file.fails[0]);
    let name = name_of(path);
    let copy = out.join(format!("{name}.toml"));
    night::copy(path, &copy)?;
    let files = corral_explore::Files {
        seed: path.to_owned(),
        journal: out.join(format!("{name}.jsonl")),
        twin: out.join(format!("{name}-twin.jsonl")),
    };
    let mut finding = Finding::new(recipe.clone(), [file.expect.group()].into());
    let twin = twin_of_seed_file(file, catalogue());
    let pool = Pool::start(workers(Some(1))?);
    finding.replay(&pool, catalogue(), twin.as_ref(), origin, &files).map_err(Refused::new)?;
    night::write_page(out, &name, &finding).map_err(Refused::new)?;
    let reproduce = vec![format!("corral replay {}", quoted(path.display())), recipe.command(Some(path))];
    let told = finding::told(&recipe, &finding, &name, reproduce);
    let passes = file.passes.iter().map(|arm| format!("{arm}: passes")).collect();
    let story = format!("{}. {}", file.title, told.story);
    let told = corral_reports::Finding { story, attribution: passes, ..told };
    Ok(finding.journals.map(|(journal, _)| (told, journal)))
}
