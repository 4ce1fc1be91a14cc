//! The fault menu: what can go wrong, with its parameters, as a plan names it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::text::duration;

/// Something that goes wrong. Machines are named; `client` is the beginning of a user agent; an absent selector means all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// The object store answers each operation so much later; a part of that passes before it is done.
    SlowStore {
        /// How long the fault lasts.
        #[serde(rename = "for", with = "duration")]
        lasts: Duration,
        /// Delay of each operation.
        #[serde(with = "duration")]
        per_operation: Duration,
    },
    /// The object store answers one operation in so many with an error.
    StoreErrors {
        /// How long the fault lasts.
        #[serde(rename = "for", with = "duration")]
        lasts: Duration,
        /// HTTP status.
        code: u16,
        /// One in so many.
        #[serde(default = "always")]
        one_in: u64,
    },
    /// The object store takes requests and never answers.
    StoreSilent {
        /// How long the fault lasts.
        #[serde(rename = "for", with = "duration")]
        lasts: Duration,
    },
    /// New objects are listed only after a while, and deleted ones are listed as long.
    StoreListsLate {
        /// How long the fault lasts.
        #[serde(rename = "for", with = "duration")]
        lasts: Duration,
        /// How far listings lag behind.
        #[serde(with = "duration")]
        window: Duration,
    },
    /// Listings succeed and are empty.
    StoreListsNothing {
        /// How long the fault lasts.
        #[serde(rename = "for", with = "duration")]
        lasts: Duration,
    },
    /// The API server answers so much later; a part of that passes before a request is carried out.
    SlowApi {
        /// How long the fault lasts.
        #[serde(rename = "for", with = "duration")]
        lasts: Duration,
        /// Delay of each answer.
        #[serde(with = "duration")]
        extra: Duration,
        /// Only these clients.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        client: String,
    },
    /// The API server answers one write in so many with an error and does nothing.
    ApiErrors {
        /// How long the fault lasts.
        #[serde(rename = "for", with = "duration")]
        lasts: Duration,
        /// HTTP status: 403, 429, 500, 503, 504.
        code: u16,
        /// One in so many.
        #[serde(default = "always")]
        one_in: u64,
        /// Only these clients.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        client: String,
    },
    /// The API server commits one write in so many, and the answer is lost.
    ApiLosesAnswers {
        /// How long the fault lasts.
        #[serde(rename = "for", with = "duration")]
        lasts: Duration,
        /// One in so many.
        #[serde(default = "always")]
        one_in: u64,
        /// Only these clients.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        client: String,
    },
    /// Watch events reach these clients so much later.
    WatchLag {
        /// How long the fault lasts.
        #[serde(rename = "for", with = "duration")]
        lasts: Duration,
        /// How late.
        #[serde(with = "duration")]
        extra: Duration,
        /// Only these clients.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        client: String,
        /// Only this resource (plural).
        #[serde(default, skip_serializing_if = "String::is_empty")]
        resource: String,
    },
    /// Nothing crosses between two machines.
    Partition {
        /// How long the fault lasts.
        #[serde(rename = "for", with = "duration")]
        lasts: Duration,
        /// One side.
        from: String,
        /// The other side; empty for all others.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        to: String,
        /// Only this destination port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
        /// Only from `from` to `to`.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        one_way: bool,
    },
    /// What crosses between two machines takes so much longer.
    SlowLink {
        /// How long the fault lasts.
        #[serde(rename = "for", with = "duration")]
        lasts: Duration,
        /// One side.
        from: String,
        /// The other side; empty for all others.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        to: String,
        /// Added to the latency, each way.
        #[serde(with = "duration")]
        extra: Duration,
    },
    /// One segment in so many between two machines is lost, and sent again as TCP does.
    LossyLink {
        /// How long the fault lasts.
        #[serde(rename = "for", with = "duration")]
        lasts: Duration,
        /// One side.
        from: String,
        /// The other side; empty for all others.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        to: String,
        /// One in so many.
        one_in: u64,
    },
    /// Each operation on a machine's files takes so much longer.
    SlowDisk {
        /// How long the fault lasts.
        #[serde(rename = "for", with = "duration")]
        lasts: Duration,
        /// The machine.
        machine: String,
        /// Only files that match; see [`corral_disk::FaultRule::path`].
        #[serde(default, skip_serializing_if = "String::is_empty")]
        path: String,
        /// Added to each operation.
        #[serde(with = "duration")]
        extra: Duration,
    },
    /// What touches the medium under a machine's files is answered with EIO.
    DiskErrors {
        /// How long the fault lasts.
        #[serde(rename = "for", with = "duration")]
        lasts: Duration,
        /// The machine.
        machine: String,
        /// Only files that match; see [`corral_disk::FaultRule::path`].
        #[serde(default, skip_serializing_if = "String::is_empty")]
        path: String,
        /// Only reads, or only writes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        only: Option<DiskAccess>,
    },
    /// No operation on a machine's files begins or ends.
    DiskStalls {
        /// How long the fault lasts.
        #[serde(rename = "for", with = "duration")]
        lasts: Duration,
        /// The machine.
        machine: String,
        /// Only files that match; see [`corral_disk::FaultRule::path`].
        #[serde(default, skip_serializing_if = "String::is_empty")]
        path: String,
    },
    /// Changes of a machine's files are answered with EROFS.
    DiskReadOnly {
        /// How long the fault lasts.
        #[serde(rename = "for", with = "duration")]
        lasts: Duration,
        /// The machine.
        machine: String,
        /// Only files that match; see [`corral_disk::FaultRule::path`].
        #[serde(default, skip_serializing_if = "String::is_empty")]
        path: String,
    },
    /// What needs room on a machine's disks is answered with ENOSPC.
    DiskFull {
        /// How long the fault lasts.
        #[serde(rename = "for", with = "duration")]
        lasts: Duration,
        /// The machine.
        machine: String,
        /// Only files that match; see [`corral_disk::FaultRule::path`].
        #[serde(default, skip_serializing_if = "String::is_empty")]
        path: String,
    },
    /// A client deletes pods.
    DeletePods {
        /// Namespace.
        namespace: String,
        /// Pods whose name begins so.
        name: String,
        /// Without grace.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        forced: bool,
        /// Only the one on this machine.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        machine: String,
    },
    /// A container's processes are killed; the kubelet restarts it.
    KillProcess {
        /// Namespace.
        namespace: String,
        /// Pods whose name begins so.
        name: String,
        /// Only the one on this machine.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        machine: String,
    },
    /// A machine loses power and comes back.
    PowerOff {
        /// How long it is off.
        #[serde(rename = "for", with = "duration")]
        lasts: Duration,
        /// The machine.
        machine: String,
    },
    /// A machine is frozen and goes on.
    Freeze {
        /// How long it is frozen.
        #[serde(rename = "for", with = "duration")]
        lasts: Duration,
        /// The machine.
        machine: String,
    },
    /// A machine's wall clock is stepped.
    StepClock {
        /// The machine.
        machine: String,
        /// Milliseconds, forward or (negative) backward.
        milliseconds: i64,
    },
}

/// What of a disk fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskAccess {
    /// What is not in the page cache cannot be read.
    Reads,
    /// Nothing gets to the device.
    Writes,
}

fn always() -> u64 {
    1
}

/// A fault's name and what it does, for `corral list faults`.
pub const MENU: &[(&str, &str)] = &[
    ("slow-store", "the object store answers each operation later (for, per-operation)"),
    ("store-errors", "the object store answers one operation in so many with an error (for, code, one-in)"),
    ("store-silent", "the object store takes requests and never answers (for)"),
    ("store-lists-late", "listings lag behind what was written and deleted (for, window)"),
    ("store-lists-nothing", "listings succeed and are empty (for)"),
    ("slow-api", "the API server answers later (for, extra, client)"),
    ("api-errors", "the API server refuses one write in so many (for, code, one-in, client)"),
    ("api-loses-answers", "the API server commits one write in so many and its answer is lost (for, one-in, client)"),
    ("watch-lag", "watch events arrive later (for, extra, client, resource)"),
    ("partition", "nothing crosses between machines (for, from, to, port, one-way)"),
    ("slow-link", "what crosses between machines takes longer (for, from, to, extra)"),
    ("lossy-link", "segments between machines are lost and sent again (for, from, to, one-in)"),
    ("slow-disk", "operations on a machine's files take longer (for, machine, path, extra)"),
    ("disk-errors", "what touches the medium under a machine's files fails with EIO (for, machine, path, only)"),
    ("disk-stalls", "operations on a machine's files neither begin nor end (for, machine, path)"),
    ("disk-read-only", "changes of a machine's files fail with EROFS (for, machine, path)"),
    ("disk-full", "what needs room on a machine's disks fails with ENOSPC (for, machine, path)"),
    ("delete-pods", "a client deletes pods (namespace, name, forced, machine)"),
    ("kill-process", "a container's processes are killed (namespace, name, machine)"),
    ("power-off", "a machine loses power and comes back (for, machine)"),
    ("freeze", "a machine is frozen and goes on (for, machine)"),
    ("step-clock", "a machine's wall clock is stepped (machine, milliseconds)"),
];

impl Fault {
    /// Its name in the menu.
    pub fn name(&self) -> &'static str {
        match self {
            Fault::SlowStore { .. } => "slow-store",
            Fault::StoreErrors { .. } => "store-errors",
            Fault::StoreSilent { .. } => "store-silent",
            Fault::StoreListsLate { .. } => "store-lists-late",
            Fault::StoreListsNothing { .. } => "store-lists-nothing",
            Fault::SlowApi { .. } => "slow-api",
            Fault::ApiErrors { .. } => "api-errors",
            Fault::ApiLosesAnswers { .. } => "api-loses-answers",
            Fault::WatchLag { .. } => "watch-lag",
            Fault::Partition { .. } => "partition",
            Fault::SlowLink { .. } => "slow-link",
            Fault::LossyLink { .. } => "lossy-link",
            Fault::SlowDisk { .. } => "slow-disk",
            Fault::DiskErrors { .. } => "disk-errors",
            Fault::DiskStalls { .. } => "disk-stalls",
            Fault::DiskReadOnly { .. } => "disk-read-only",
            Fault::DiskFull { .. } => "disk-full",
            Fault::DeletePods { .. } => "delete-pods",
            Fault::KillProcess { .. } => "kill-process",
            Fault::PowerOff { .. } => "power-off",
            Fault::Freeze { .. } => "freeze",
            Fault::StepClock { .. } => "step-clock",
        }
    }

    /// How long it lasts; none for those that happen at once.
    pub fn lasts(&self) -> Option<Duration> {
        match self {
            Fault::SlowStore { lasts, .. }
            | Fault::StoreErrors { lasts, .. }
            | Fault::StoreSilent { lasts }
            | Fault::StoreListsLate { lasts, .. }
            | Fault::StoreListsNothing { lasts }
            | Fault::SlowApi { lasts, .. }
            | Fault::ApiErrors { lasts, .. }
            | Fault::ApiLosesAnswers { lasts, .. }
            | Fault::WatchLag { lasts, .. }
            | Fault::Partition { lasts, .. }
            | Fault::SlowLink { lasts, .. }
            | Fault::LossyLink { lasts, .. }
            | Fault::SlowDisk { lasts, .. }
            | Fault::DiskErrors { lasts, .. }
            | Fault::DiskStalls { lasts, .. }
            | Fault::DiskReadOnly { lasts, .. }
            | Fault::DiskFull { lasts, .. }
            | Fault::PowerOff { lasts, .. }
            | Fault::Freeze { lasts, .. } => Some(*lasts),
            Fault::DeletePods { .. } | Fault::KillProcess { .. } | Fault::StepClock { .. } => None,
        }
    }

    /// Its lengths of time, by the keys that they have in a plan.
    fn lengths(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        let other = match self {
            Fault::SlowStore { per_operation, .. } => Some(("per-operation", *per_operation)),
            Fault::StoreListsLate { window, .. } => Some(("window", *window)),
            Fault::SlowApi { extra, .. }
            | Fault::WatchLag { extra, .. }
            | Fault::SlowLink { extra, .. }
            | Fault::SlowDisk { extra, .. } => Some(("extra", *extra)),
            _ => None,
        };
        self.lasts().map(|lasts| ("for", lasts)).into_iter().chain(other)
    }

    /// Whether it strikes object stores.
    pub fn is_of_stores(&self) -> bool {
        matches!(
            self,
            Fault::SlowStore { .. }
                | Fault::StoreErrors { .. }
                | Fault::StoreSilent { .. }
                | Fault::StoreListsLate { .. }
                | Fault::StoreListsNothing { .. }
        )
    }

    /// What cannot be, in one line.
    ///
    /// # Errors
    /// A value outside what is possible, or the name of a machine or a resource (the plural of a kind) that is none of these.
    pub fn check(&self, machines: &[String], resources: &[&str]) -> Result<(), String> {
        for (key, length) in self.lengths() {
            if length.is_zero() {
                return Err(format!("{}: {key} = \"0s\" does nothing; allowed is more, up to 24h", self.name()));
            }
            if length > LONGEST {
                return Err(format!("{}: {key} is longer than a day; allowed is up to 24h", self.name()));
            }
        }
        let machine_or_any = |name: &str| if name.is_empty() { Ok(()) } else { known_machine(name, machines) };
        let known_machine = |name: &str| known_machine(name, machines);
        match self {
            Fault::StoreErrors { code, one_in, .. } => {
                if !STORE_ERRORS.contains(code) {
                    return Err(format!("{}: code = {code}; allowed are {STORE_ERRORS:?}", self.name()));
                }
                check_one_in(self, *one_in)
            }
            Fault::ApiErrors { code, one_in, .. } => {
                if !API_ERRORS.contains(code) {
                    return Err(format!("{}: code = {code}; allowed are {API_ERRORS:?}", self.name()));
                }
                check_one_in(self, *one_in)
            }
            Fault::ApiLosesAnswers { one_in, .. } => check_one_in(self, *one_in),
            Fault::WatchLag { resource, .. } if !resource.is_empty() && !resources.contains(&resource.as_str()) => {
                Err(format!(
                    "{}: {}",
                    self.name(),
                    crate::text::unknown_name("resource", resource, resources.iter().copied())
                ))
            }
            Fault::Partition { from, to, .. } | Fault::SlowLink { from, to, .. } => {
                check_link(self, from, to, machines)
            }
            Fault::LossyLink { from, to, one_in, .. } => {
                check_one_in(self, *one_in)?;
                check_link(self, from, to, machines)
            }
            Fault::StepClock { machine, milliseconds } => {
                if *milliseconds == 0 || milliseconds.unsigned_abs() > FARTHEST_STEP {
                    return Err(format!(
                        "{}: milliseconds = {milliseconds}; allowed are 1 to {FARTHEST_STEP} (ten years), forward or back",
                        self.name()
                    ));
                }
                known_machine(machine)
            }
            Fault::SlowDisk { machine, .. }
            | Fault::DiskErrors { machine, .. }
            | Fault::DiskStalls { machine, .. }
            | Fault::DiskReadOnly { machine, .. }
            | Fault::DiskFull { machine, .. }
            | Fault::PowerOff { machine, .. }
            | Fault::Freeze { machine, .. } => known_machine(machine),
            Fault::DeletePods { machine, .. } | Fault::KillProcess { machine, .. } => machine_or_any(machine),
            _ => Ok(()),
        }
    }
}

/// No fault lasts longer, or comes later; a run that long would tell nothing more.
pub(crate) const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// No clock is stepped farther, in milliseconds: much farther, times are no dates any more.
const FARTHEST_STEP: u64 = 10 * 365 * 24 * 3600 * 1000;
/// What the object store can be made to answer: access denied, internal error, slow down.
const STORE_ERRORS: [u16; 3] = [403, 500, 503];
/// What the API server can be made to answer. No conflict: there is none without a newer version, whose event tells of it.
const API_ERRORS: [u16; 5] = [403, 429, 500, 503, 504];

fn known_machine(name: &str, machines: &[String]) -> Result<(), String> {
    if machines.iter().any(|machine| machine == name) {
        return Ok(());
    }
    Err(crate::text::unknown_name("machine", name, machines.iter().map(String::as_str)))
}

fn check_link(fault: &Fault, from: &str, to: &str, machines: &[String]) -> Result<(), String> {
    known_machine(from, machines)?;
    if from == to {
        return Err(format!("{}: to = {to:?} is from too; allowed are another machine and none (all)", fault.name()));
    }
    if to.is_empty() { Ok(()) } else { known_machine(to, machines) }
}

fn check_one_in(fault: &Fault, one_in: u64) -> Result<(), String> {
    if one_in == 0 {
        return Err(format!("{}: one-in = 0 strikes nothing; allowed is 1 (all) or more", fault.name()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_menu_names_what_can_be_planned() {
        for (name, _) in MENU {
            // An unknown variant is refused with another message than one whose fields are missing.
            let table = format!("{name} = {{}}");
            let refused = toml::from_str::<Fault>(&table).unwrap_err().to_string();
            assert!(refused.contains("missing field"), "{name}: {refused}");
        }
        // The refusal of an unknown one names all that there are.
        let refused = toml::from_str::<Fault>("unknown = {}").unwrap_err().to_string();
        let known: Vec<&str> = refused.split('`').skip(1).step_by(2).filter(|name| *name != "unknown").collect();
        assert_eq!(known, MENU.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "{refused}");
    }

    #[test]
    fn impossible_values_are_refused() {
        let fault: Fault = toml::from_str("store-errors = { for = \"3s\", code = 200 }").unwrap();
        assert!(fault.check(&[], &[]).unwrap_err().contains("allowed are [403, 500, 503]"));
        let fault: Fault = toml::from_str("freeze = { for = \"3s\", machine = \"worker-7\" }").unwrap();
        let line = fault.check(&["worker-1".into()], &[]).unwrap_err();
        assert!(line.contains("did you mean \"worker-1\""), "{line}");
    }

    #[test]
    fn what_would_do_nothing_is_refused() {
        let machines = ["worker-1".to_owned(), "worker-2".to_owned()];
        let check = |text: &str| toml::from_str::<Fault>(text).unwrap().check(&machines, &["volumes"]);
        for (text, part) in [
            ("store-silent = { for = \"0s\" }", "store-silent: for = \"0s\""),
            ("store-silent = { for = \"25h\" }", "for is longer than a day"),
            ("slow-store = { for = \"3s\", per-operation = \"0ms\" }", "per-operation = \"0s\""),
            ("store-lists-late = { for = \"3s\", window = \"0s\" }", "window = \"0s\""),
            ("watch-lag = { for = \"3s\", extra = \"0s\" }", "extra = \"0s\""),
            ("watch-lag = { for = \"3s\", extra = \"1s\", resource = \"volume\" }", "did you mean \"volumes\""),
            ("partition = { for = \"3s\", from = \"worker-1\", to = \"worker-1\" }", "another machine"),
            ("lossy-link = { for = \"3s\", from = \"worker-1\", to = \"worker-1\", one-in = 3 }", "another machine"),
            ("step-clock = { machine = \"worker-1\", milliseconds = 0 }", "milliseconds = 0; allowed are 1 to"),
            ("step-clock = { machine = \"worker-1\", milliseconds = -315360000001 }", "ten years"),
        ] {
            let line = check(text).unwrap_err();
            assert!(line.contains(part), "{text}: {line}");
        }
        assert_eq!(check("partition = { for = \"3s\", from = \"worker-1\", to = \"worker-2\" }"), Ok(()));
        assert_eq!(check("slow-link = { for = \"3s\", from = \"worker-1\", extra = \"1ms\" }"), Ok(()));
        assert_eq!(check("step-clock = { machine = \"worker-1\", milliseconds = -315360000000 }"), Ok(()));
    }
}
