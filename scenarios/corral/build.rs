//! Tells the command what it was built of: `CORRAL_COMMIT` and `CORRAL_TOOLCHAIN`.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// Where this checkout is, from here.
const ROOT: &str = "../..";
/// What the command is made of. The last grows with each commit.
const SOURCES: [&str; 7] = ["sim", "models", "scenarios", "reports/src", "Cargo.toml", "Cargo.lock", ".git/logs/HEAD"];

fn main() {
    let root = Path::new(ROOT);
    for source in SOURCES.map(|source| root.join(source)).into_iter().filter(|source| source.exists()) {
        println!("cargo::rerun-if-changed={}", source.display());
    }
    // With a plus sign if something was changed since.
    let commit = said_by("git".into(), &["describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"]);
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let toolchain = said_by(compiler, &["--version"]);
    let toolchain = toolchain.and_then(|line| line.split_whitespace().nth(1).map(str::to_owned));
    let or_unknown = |said: Option<String>| said.unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=CORRAL_COMMIT={}", or_unknown(commit));
    println!("cargo::rustc-env=CORRAL_TOOLCHAIN={}", or_unknown(toolchain));
}

fn said_by(program: OsString, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
