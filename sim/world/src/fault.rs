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
    ("delete-pods", "a client deletes pods (namespace, name, forced, machine)"),
    ("kill-process", "a container's processes are killed (namespace, name, machine)"),
    ("power-off", "a machine loses power and comes back (for, machine)"),
    ("freeze", "a machine is frozen and goes on (for, machine)"),
    ("step-clock", "a machine's wall clock is stepped (machine, milliseconds)"),
];

/// Faults that happen and are over; all others last.
pub(crate) const AT_ONCE: [&str; 3] = ["delete-pods", "kill-process", "step-clock"];

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
            | Fault::PowerOff { lasts, .. }
            | Fault::Freeze { lasts, .. } => Some(*lasts),
            Fault::DeletePods { .. } | Fault::KillProcess { .. } | Fault::StepClock { .. } => None,
        }
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
    /// A value outside what is possible.
    pub fn check(&self, machines: &[String]) -> Result<(), String> {
        if self.lasts().is_some_and(|lasts| lasts > LONGEST) {
            return Err(format!("{}: for is longer than a day; allowed is up to 24h", self.name()));
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
            Fault::Partition { from, to, .. } => known_machine(from).and_then(|()| machine_or_any(to)),
            Fault::PowerOff { machine, .. } | Fault::Freeze { machine, .. } | Fault::StepClock { machine, .. } => {
                known_machine(machine)
            }
            Fault::DeletePods { machine, .. } | Fault::KillProcess { machine, .. } => machine_or_any(machine),
            _ => Ok(()),
        }
    }
}

/// No fault lasts longer; a run that long would tell nothing more.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
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
    }

    #[test]
    fn those_that_are_over_at_once_have_no_length() {
        for (name, about) in MENU {
            assert_eq!(AT_ONCE.contains(name), !about.contains("(for"), "{name}");
        }
    }

    #[test]
    fn impossible_values_are_refused() {
        let fault: Fault = toml::from_str("store-errors = { for = \"3s\", code = 200 }").unwrap();
        assert!(fault.check(&[]).unwrap_err().contains("allowed are [403, 500, 503]"));
        let fault: Fault = toml::from_str("freeze = { for = \"3s\", machine = \"worker-7\" }").unwrap();
        let line = fault.check(&["worker-1".into()]).unwrap_err();
        assert!(line.contains("did you mean \"worker-1\""), "{line}");
    }
}
