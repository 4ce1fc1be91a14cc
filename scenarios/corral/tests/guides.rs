//! Every command in the README and the guides is run: what a reader copies works.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const GUIDES: [&str; 6] = [
    "README.md",
    "seeds/README.md",
    "scenarios/README.md",
    "scenarios/src/oracles/README.md",
    "models/README.md",
    "reports/README.md",
];

/// What serves until it is stopped, and what takes minutes, is tested elsewhere.
const ELSEWHERE: [&str; 3] = ["corral inspect", "corral apiserver", "corral fuzz backup-cleanup"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The lines of a guide that are commands of ours: indented, and nothing but a command.
fn commands(guide: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(guide)).unwrap_or_else(|error| panic!("{guide}: {error}"));
    let command = |line: &str| {
        let line = line.strip_prefix("    ")?;
        let line = line
            .strip_prefix("$ cargo run --release -- ")
            .map(|rest| format!("corral {rest}"))
            .unwrap_or(line.to_owned());
        line.starts_with("corral ").then_some(line)
    };
    text.lines().filter_map(command).collect()
}

#[test]
fn the_commands_of_the_guides_work() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut run = 0;
    for guide in GUIDES {
        for line in commands(guide).iter().filter(|line| !ELSEWHERE.iter().any(|other| line.starts_with(other))) {
            let line = line.replace("/tmp/", &format!("{}/", folder.path().display()));
            let words: Vec<&str> = line.split_whitespace().skip(1).collect();
            let mut command = Command::new(env!("CARGO_BIN_EXE_corral"));
            let output =
                command.args(&words).current_dir(root()).stdin(Stdio::null()).output().expect("the command runs");
            // A violation is what some of them are there to show.
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(matches!(output.status.code(), Some(0 | 1)), "{guide}: {line}: {said}");
            assert!(!output.stdout.is_empty() || words[0] == "report", "{guide}: {line} says nothing");
            run += 1;
        }
    }
    assert!(run > 12, "only {run} commands were found");
}

#[test]
fn what_the_guides_name_is_there() {
    let help = Command::new(env!("CARGO_BIN_EXE_corral")).arg("--help").output().expect("the command runs");
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    let known: Vec<&str> = help.lines().filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next()).collect();
    for guide in GUIDES {
        let text = std::fs::read_to_string(root().join(guide)).expect("read above");
        for rest in text.split("`corral ").skip(1) {
            let word = rest.split(['`', ' ']).next().unwrap_or_default();
            assert!(word.starts_with('-') || known.contains(&word), "{guide}: there is no `corral {word}`");
        }
    }
}
