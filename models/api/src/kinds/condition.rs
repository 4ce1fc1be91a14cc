//! Conditions: what a status says about one aspect of an object (types/condition.go, v1beta2/misc.go).

use crate::go::List;
use crate::schema::record;
use crate::text::words;

words! {
    /// Whether a condition holds.
    pub enum ConditionStatus {
        Unset = "",
        True = "True",
        False = "False",
        Unknown = "Unknown",
    }
}

record! {
    /// One condition. Unlike Kubernetes' own it carries texts for its times, and an empty one stays `""`.
    pub struct Condition {
        /// Which aspect.
        pub condition_type: String = "type",
        /// Whether it holds.
        pub status: ConditionStatus = "status",
        /// Never set by any controller.
        pub last_probe_time: String = "lastProbeTime",
        /// When `status` last changed, in RFC 3339 with seconds.
        pub last_transition_time: String = "lastTransitionTime",
        /// Why, in one word.
        pub reason: String = "reason",
        /// Why, for people.
        pub message: String = "message",
    }
}

impl List<Condition> {
    /// The condition of this type. An absent one is of status Unknown.
    pub fn condition(&self, condition_type: &str) -> Condition {
        self.iter().find(|condition| condition.condition_type == condition_type).cloned().unwrap_or_else(|| Condition {
            condition_type: condition_type.to_owned(),
            status: ConditionStatus::Unknown,
            ..Condition::default()
        })
    }

    /// Sets the condition of this type, in its place or at the end. `now` (RFC 3339) becomes its transition time only if its
    /// status changes, so that repeating a condition changes nothing. A nil list is made.
    pub fn set_condition(
        &mut self,
        condition_type: &str,
        status: ConditionStatus,
        reason: &str,
        message: &str,
        now: &str,
    ) {
        let mut condition = self.condition(condition_type);
        if condition.status != status {
            condition.last_transition_time = now.to_owned();
        }
        condition.status = status;
        condition.reason = reason.to_owned();
        condition.message = message.to_owned();
        match self.iter_mut().find(|existing| existing.condition_type == condition_type) {
            Some(existing) => *existing = condition,
            None => self.push(condition),
        }
    }

    /// Takes the condition of this type away; a nil list stays nil.
    pub fn remove_condition(&mut self, condition_type: &str) {
        self.retain(|condition| condition.condition_type != condition_type);
    }
}
