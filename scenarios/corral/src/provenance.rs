//! Where figures and journals come from: machine, commit, toolchain.

use std::process::Command;

/// Processor and number of cores.
pub fn machine() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{}, {cores} cores", model.unwrap_or("unknown processor"))
}

/// The checkout's commit, or "unknown" outside one.
pub fn commit() -> String {
    said_by("git", &["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".into())
}

/// The compiler's version.
pub fn toolchain() -> String {
    let version = said_by("rustc", &["--version"]);
    version.and_then(|line| line.split_whitespace().nth(1).map(str::to_owned)).unwrap_or_else(|| "unknown".into())
}

fn said_by(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
