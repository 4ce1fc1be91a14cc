//! `corral run`: one run.

use std::path::Path;

use corral_scenarios::catalogue;
use corral_world::text::{line_about, line_at};
use corral_world::{Arm, Plan, Recipe, SeedFile, Verdict};

use crate::arguments::RunOptions;
use crate::failure::{Done, Refused, Status};
use crate::say::say;

/// Runs a scenario once (twice, if asked) and prints its verdict.
pub fn run(options: &RunOptions) -> Done {
    let scenario = catalogue().scenario(&options.scenario)?;
    let arm = options.arm.arm();
    let seed = corral_world::seed::parse_one(&options.seed)?;
    let plan = match options.plan.as_deref().map(|path| read_plan(path, options)).transpose()? {
        Some(plan) => plan,
        None => {
            catalogue().check(scenario.as_ref(), &arm, &Plan::default())?;
            scenario.expand(seed, &arm)?
        }
    };
    match options.plan {
        Some(_) => catalogue().check_given(scenario.as_ref(), &arm, &plan)?,
        None => catalogue().check(scenario.as_ref(), &arm, &plan)?,
    }
    note_what_changes_nothing(&arm);
    if options.print_plan {
        say(plan.to_toml().trim_end());
        return Ok(Status::AsExpected);
    }
    options.journal.as_deref().map(probe).transpose()?;
    let keeps = options.journal.is_some();
    let logs = options.logs.map(Into::into).or_else(|| keeps.then_some(tracing::Level::WARN));
    let run_options = corral_world::RunOptions { keep_journal: keeps, logs, fork: options.fork, ..Default::default() };
    let recipe = Recipe {
        scenario: options.scenario.clone(),
        arm: arm.clone(),
        seed,
        plan: Some(plan.clone()),
        fork: options.fork,
    };
    let limit = corral_explore::Limits::default().run_time * (1 + u32::from(options.twice));
    let _watchdog = corral_explore::watchdog(limit, &recipe.title());
    let verdict = corral_world::run(scenario.clone(), &arm, seed, Some(plan.clone()), run_options.clone())?;
    for line in verdict.logs.iter().filter(|_| options.logs.is_some()) {
        say(format_args!("{} {} {} {}", line.at, line.level, line.name, line.text));
    }
    say(summary(&recipe, &verdict, options.hazards));
    if let Some(path) = &options.journal {
        crate::journal::write(path, &recipe, options.plan.as_deref(), &verdict)?;
    }
    if options.twice {
        let again = corral_world::run(scenario, &arm, seed, Some(plan), run_options)?;
        if again.digest != verdict.digest {
            say(format_args!("not deterministic: the second run's digest is {}", again.digest));
            return Ok(Status::NotDeterministic);
        }
        say("twice the same");
    }
    Ok(if word(&verdict, options.hazards).is_some() { Status::Violation } else { Status::AsExpected })
}

/// Says which of an arm's cures and defects change nothing.
pub fn note_what_changes_nothing(arm: &Arm) {
    let plain = Arm { cured: Vec::new(), defect: Vec::new(), ..arm.clone() };
    let open = catalogue().open_defects(&plain);
    for id in arm.cured.iter().filter(|id| !open.contains(id)) {
        eprintln!("note: {plain} has no {id}; --cured {id} changes nothing");
    }
    for id in arm.defect.iter().filter(|id| open.contains(id)) {
        eprintln!("note: {plain} has {id} by itself; --defect {id} changes nothing");
    }
}

/// What fails the run, if anything does.
fn word(verdict: &Verdict, counts_hazards: bool) -> Option<&'static str> {
    match (verdict.passed(), verdict.hazards.is_empty()) {
        (false, _) => Some("VIOLATION"),
        (true, false) if counts_hazards => Some("HAZARDS"),
        _ => None,
    }
}

/// A verdict in a few lines, for a person.
fn summary(recipe: &Recipe, verdict: &Verdict, counts_hazards: bool) -> String {
    let mut lines = vec![format!(
        "{}: {} ({} simulated in {:.2} s, {} events, digest {})",
        recipe.title(),
        word(verdict, counts_hazards).unwrap_or("no violation"),
        corral_world::text::brief(verdict.simulated.as_duration()),
        verdict.took.as_secs_f64(),
        verdict.events,
        verdict.digest,
    )];
    lines.extend(verdict.violations.iter().map(|found| format!("  {} {}: {}", found.at, found.oracle, found.detail)));
    lines.extend(verdict.idle_faults.iter().map(|name| format!("  fault {name} never struck")));
    lines.extend(verdict.hazards.iter().map(|(name, count)| format!("  hazard {name}: {count} times")));
    lines.extend(verdict.reached.iter().map(|probe| format!("  reached {probe}")));
    lines.join("\n")
}

/// A plan's file, or the plan of a seed file. That a seed file is of another run than the one asked for is said.
fn read_plan(path: &Path, options: &RunOptions) -> Result<Plan, Refused> {
    let text = std::fs::read_to_string(path).map_err(|error| Refused::path(path, "cannot be read", error))?;
    if text.parse::<toml::Table>().is_ok_and(|table| table.contains_key("scenario")) {
        let file = SeedFile::parse(&text, path, catalogue()).map_err(Refused::new)?;
        if file.scenario != options.scenario {
            let (its, asked) = (&file.scenario, &options.scenario);
            return Err(Refused::new(format!("{}: is of {its}, and not of {asked}", path.display())));
        }
        let own = file.recipe(&file.fails[0]).command(Some(path));
        let arms: Vec<&Arm> = file.fails.iter().chain(&file.passes).collect();
        if options.seed != file.seed.to_string() || !arms.contains(&&options.arm.arm()) {
            eprintln!("note: only the plan of {} is taken; its own run is: {own}", path.display());
        }
        return Ok(file.plan());
    }
    let refuse = |line: Option<usize>, message: &str| {
        let line = line.map_or_else(String::new, |line| format!(":{line}"));
        Refused::new(format!("{}{line}: {}", path.display(), message.replace('\n', "; ")))
    };
    let plan: Plan = toml::from_str(&text)
        .map_err(|error| refuse(error.span().map(|span| line_at(&text, span.start)), error.message()))?;
    let scenario = catalogue().scenario(&options.scenario)?;
    match catalogue().check_given(scenario.as_ref(), &options.arm.arm(), &plan) {
        // A part of the plan; what is wrong with the arm is in no file, and the caller's to tell.
        Err(message) if message.starts_with('[') => Err(refuse(line_about(&text, &message), &message)),
        _ => Ok(plan),
    }
}

/// Opens a file that is to be written after a run, so that one that cannot be written is known at once; what it holds stays until then.
pub fn probe(path: &Path) -> Result<std::fs::File, Refused> {
    let opened = std::fs::File::options().append(true).create(true).open(path);
    opened.map_err(|error| Refused::path(path, "cannot be written", error))
}
