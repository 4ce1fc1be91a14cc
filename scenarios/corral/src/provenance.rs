//! Where figures and journals come from: machine, commit, toolchain.

/// Processor and number of cores.
pub fn machine() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{}, {cores} cores", model.unwrap_or("unknown processor"))
}

/// The commit that this was built of, with a plus sign if something had been changed since; or "unknown".
pub fn commit() -> String {
    env!("CORRAL_COMMIT").to_owned()
}

/// The version of the compiler that built it.
pub fn toolchain() -> String {
    env!("CORRAL_TOOLCHAIN").to_owned()
}
