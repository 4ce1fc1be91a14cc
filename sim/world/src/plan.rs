//! A plan: everything a run does, as data. It can be printed, edited, minimised and stored.
//!
//! What a cluster and a workload are made of is the scenario's to say; the plan carries it as tables that the scenario checks. Faults and their
//! triggers are the world's.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::fault::{Fault, LONGEST};
use crate::text::duration;

/// Everything that a run does, in full.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What the cluster is like, in the scenario's terms.
    #[serde(default)]
    pub cluster: toml::Table,
    /// What the clients do, in order.
    #[serde(default, rename = "step", skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// What goes wrong.
    #[serde(default, rename = "fault", skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<PlannedFault>,
}

/// One thing that a client does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The step, in the scenario's terms.
    #[serde(rename = "do")]
    pub action: toml::Value,
}

/// A fault and when it strikes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedFault {
    /// The event that sets it off; without one, the beginning of the workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Trigger>,
    /// How long after that.
    #[serde(
        default,
        serialize_with = "duration::serialize",
        deserialize_with = "delay",
        skip_serializing_if = "Duration::is_zero"
    )]
    pub after: Duration,
    /// What goes wrong.
    #[serde(rename = "do")]
    pub fault: Fault,
}

/// An event of the run, named by what it means and not by when it happened, so that it is found under other seeds and after code changes too.
/// Exactly one of `api` and `store` says what it waits for; a fault that has no trigger waits for the beginning of the workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// A write committed by the API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<ApiVerb>,
    /// For `api`: kind of the object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// For `api`: only objects whose name begins so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// An operation of an object store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreVerb>,
    /// For `store`: only keys that contain this.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// Only the n-th such event, from 1.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub nth: u32,
}

impl Trigger {
    /// When the n-th object of a kind is written so.
    pub fn on_api(verb: ApiVerb, kind: &str, nth: u32) -> Trigger {
        Trigger { api: Some(verb), kind: kind.to_owned(), nth, ..Trigger::default() }
    }

    /// What cannot be, in one line.
    ///
    /// # Errors
    /// It waits for nothing or for two things, for a kind that the cluster does not have, or for the zeroth event, or says of one thing what can be said
    /// of the other only.
    pub fn check(&self, kinds: &[&str]) -> Result<(), String> {
        if self.api.is_some() == self.store.is_some() {
            return Err("on: allowed is exactly one of api and store".into());
        }
        if self.api.is_some() && self.kind.is_empty() {
            return Err("on: api needs the kind of the object".into());
        }
        if self.api.is_some() && !kinds.contains(&self.kind.as_str()) {
            return Err(format!("on: {}", crate::text::unknown_name("kind", &self.kind, kinds.iter().copied())));
        }
        if self.api.is_some() && !self.key.is_empty() {
            return Err("on: key is for store; allowed beside api are kind, name and nth".into());
        }
        if self.store.is_some() && !(self.kind.is_empty() && self.name.is_empty()) {
            return Err("on: kind and name are for api; allowed beside store are key and nth".into());
        }
        if self.nth == 0 {
            return Err("on: nth = 0 never comes; allowed is 1 or more".into());
        }
        Ok(())
    }
}

impl Plan {
    /// As it would stand in a file.
    pub fn to_toml(&self) -> String {
        crate::plan_text::text(self)
    }
}

fn delay<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let after = duration::deserialize(from)?;
    if after > LONGEST {
        return Err(D::Error::custom("after is longer than a day; allowed is up to 24h"));
    }
    Ok(after)
}

fn first() -> u32 {
    1
}

fn is_first(nth: &u32) -> bool {
    *nth == 1
}

/// Verbs of API triggers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApiVerb {
    /// An object was created.
    Create,
    /// An object was changed that is not being deleted.
    Update,
    /// An object's deletion timestamp was set.
    Deleting,
    /// An object is gone.
    Delete,
}

/// Verbs of store triggers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreVerb {
    /// An object was written.
    Put,
    /// An object was deleted.
    Delete,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_and_triggers_read_and_write() {
        let text = r#"
[[step]]
do = { anything = {} }
[[fault]]
on = { api = "deleting", kind = "BackupVolume", nth = 2 }
after = "200ms"
do = { slow-api = { for = "30s", extra = "20ms", client = "test-client" } }
[[fault]]
on = { store = "put", key = "volume.cfg" }
do = { store-silent = { for = "1m" } }
[[fault]]
do = { freeze = { for = "3s", machine = "worker-1" } }
"#;
        let plan: Plan = toml::from_str(text).unwrap();
        assert_eq!(plan.faults[0].on, Some(Trigger::on_api(ApiVerb::Deleting, "BackupVolume", 2)));
        assert_eq!(plan.faults[0].after, Duration::from_millis(200));
        assert!(plan.faults.iter().flat_map(|fault| &fault.on).all(|on| on.check(&["BackupVolume"]).is_ok()));
        let again: Plan = toml::from_str(&plan.to_toml()).unwrap();
        assert_eq!(again, plan);
        assert!(
            plan.to_toml().contains("on = { api = \"deleting\", kind = \"BackupVolume\", nth = 2 }\n"),
            "{}",
            plan.to_toml()
        );
    }

    #[test]
    fn no_fault_comes_after_more_than_a_day() {
        let read = |after: &str| {
            toml::from_str::<Plan>(&format!(
                "[[fault]]\nafter = \"{after}\"\ndo = {{ store-silent = {{ for = \"1s\" }} }}"
            ))
        };
        assert!(read("24h").is_ok());
        let refused = read("24h1s").unwrap_err();
        assert!(refused.message().contains("longer than a day"), "{refused}");
        assert!(refused.span().is_some(), "the line is known");
    }

    #[test]
    fn triggers_that_cannot_be_are_refused() {
        let refused = |text: &str| toml::from_str::<Trigger>(text).unwrap().check(&["Backup", "Volume"]).unwrap_err();
        assert!(refused("nth = 1").contains("exactly one"));
        assert!(refused("api = \"create\"\nstore = \"put\"").contains("exactly one"));
        assert!(refused("api = \"create\"").contains("kind"));
        assert!(refused("api = \"create\"\nkind = \"Backups\"").contains("did you mean \"Backup\"?"));
        assert!(refused("api = \"create\"\nkind = \"Backup\"\nkey = \"x\"").contains("kind, name and nth"));
        assert!(refused("store = \"put\"\nkind = \"Backup\"").contains("key and nth"));
        assert!(refused("store = \"put\"\nname = \"x\"").contains("key and nth"));
        assert!(refused("store = \"put\"\nnth = 0").contains("nth"));
        assert!(toml::from_str::<Trigger>("colour = 1").is_err());
    }
}
