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

/// The commit of the checkout that this was built in, with a plus sign if something in it was changed since; or "unknown".
pub fn commit() -> String {
    let described = ["describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"];
    said_by("git", &described).unwrap_or_else(|| "unknown".into())
}

/// The version of that checkout's compiler.
pub fn toolchain() -> String {
    let version = said_by("rustc", &["--version"]);
    version.and_then(|line| line.split_whitespace().nth(1).map(str::to_owned)).unwrap_or_else(|| "unknown".into())
}

fn said_by(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let output = output.ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
