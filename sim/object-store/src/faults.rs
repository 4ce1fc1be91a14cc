//! What goes wrong at the store, as a value that can be set, changed and taken away while the server runs.
//!
//! A [`Fault`] says which operations it meets (kind, key, peer, how many) and what happens to them. All faults that
//! match an operation apply, in the order they were added: delays add up, and the first one that decides the answer
//! decides it.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::s3::ErrorCode;

/// The operations a fault can be aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperationKind {
    /// GET of an object.
    Get,
    /// HEAD of an object or a bucket.
    Head,
    /// PUT of an object.
    Put,
    /// DELETE of an object.
    Delete,
    /// A list of a bucket's objects.
    List,
    /// Creation, deletion and listing of buckets.
    Bucket,
}

/// A pattern over `bucket/key` in which `*` stands for any text, slashes included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyPattern(String);

impl KeyPattern {
    /// A pattern from its text; the empty text matches every key.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether the pattern covers this text.
    pub fn matches(&self, text: &str) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else { return false };
        let Some(last) = self.0.rsplit_once('*').map(|(_, last)| last) else { return rest.is_empty() };
        let middle: Vec<&str> = parts.collect();
        for part in &middle[..middle.len() - 1] {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

/// What happens to an operation that a fault meets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Effect {
    /// The answer comes later: a fixed time, and the time the object's bytes take at this bandwidth. A part of the fixed time, as chance has it, passes
    /// before the operation takes effect, the rest between that and its answer.
    Slow {
        /// Added to each operation.
        #[serde(default, with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
        per_operation: Duration,
        /// Bandwidth of object bytes, in either direction; absent: without limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes_per_second: Option<u64>,
    },
    /// The operation is refused with this error and has no effect.
    Refuse(ErrorCode),
    /// The request is accepted and never answered; it has no effect. The peer learns it from its own time-out.
    NeverAnswer,
    /// The operation takes effect, then the connection ends without an answer.
    LoseAnswer,
    /// The operation takes effect, then the answer never comes, while the connection stays open.
    SwallowAnswer,
    /// An object created now is not listed for this long, though GET and HEAD see it.
    ListLate {
        /// Length of the window.
        #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
        window: Duration,
    },
    /// An object deleted now stays listed for this long, though GET and HEAD do not see it.
    ListDeleted {
        /// Length of the window.
        #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
        window: Duration,
    },
    /// The list is empty and claims success, as from a mount that is gone.
    EmptyList,
    /// The connection ends after this many bytes of the upload's body.
    CutUpload {
        /// Bytes of the body that arrive.
        after_bytes: u64,
        /// Whether the store keeps what arrived as the object, which a correct store never does.
        keep: bool,
    },
}

/// One fault: what it meets, and what it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Fault {
    /// Kinds of operations it meets; none named: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<OperationKind>,
    /// Which `bucket/key` (for a list: `bucket/prefix`) it meets.
    #[serde(default)]
    pub key: KeyPattern,
    /// Which clients it meets; none named: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<IpAddr>,
    /// Each operation that matches is met with this chance, numerator and denominator.
    #[serde(default = "Fault::always")]
    pub chance: (u64, u64),
    /// It lets so many operations pass before it meets the first.
    #[serde(default)]
    pub skip: u64,
    /// It meets so many operations and then no more; absent: no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<u64>,
    /// What it does.
    pub effect: Effect,
}

impl Fault {
    /// A fault that meets every operation.
    pub fn new(effect: Effect) -> Self {
        Self {
            operations: Vec::new(),
            key: KeyPattern::default(),
            peers: Vec::new(),
            chance: Self::always(),
            skip: 0,
            at_most: None,
            effect,
        }
    }

    /// The same fault, for these kinds of operations only.
    pub fn on(mut self, operations: impl IntoIterator<Item = OperationKind>) -> Self {
        self.operations = operations.into_iter().collect();
        self
    }

    /// The same fault, for keys (as `bucket/key`) that match.
    pub fn key(mut self, pattern: impl Into<String>) -> Self {
        self.key = KeyPattern::new(pattern);
        self
    }

    /// The same fault, after a number of operations that it lets pass.
    pub fn skip(mut self, count: u64) -> Self {
        self.skip = count;
        self
    }

    /// The same fault, for a number of operations only.
    pub fn at_most(mut self, count: u64) -> Self {
        self.at_most = Some(count);
        self
    }

    fn always() -> (u64, u64) {
        (1, 1)
    }
}

/// Names a fault that was added to a store, so that it can be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FaultId(u64);

/// The operation a fault is held against.
pub(crate) struct Subject<'a> {
    pub kind: OperationKind,
    pub bucket: &'a str,
    pub key: &'a str,
    pub peer: IpAddr,
}

/// The faults in force.
#[derive(Default)]
pub(crate) struct Policy {
    faults: Vec<InForce>,
    next: u64,
    chances: Option<host::random::Stream>,
}

struct InForce {
    id: FaultId,
    fault: Fault,
    /// Operations that were let pass, and operations that were met.
    passed: u64,
    met: u64,
}

impl Policy {
    pub fn add(&mut self, fault: Fault) -> FaultId {
        let id = FaultId(self.next);
        self.next += 1;
        self.faults.push(InForce { id, fault, passed: 0, met: 0 });
        id
    }

    pub fn remove(&mut self, id: FaultId) -> bool {
        let before = self.faults.len();
        self.faults.retain(|in_force| in_force.id != id);
        self.faults.len() != before
    }

    pub fn clear(&mut self) {
        self.faults.clear();
    }

    /// The effects this operation meets, each counted, and what of its slowness delays the answer only. Chance is drawn from `host::random`, and only
    /// by faults that leave something to it.
    pub fn effects_on(&mut self, subject: &Subject<'_>) -> (Vec<Effect>, Duration) {
        let path = format!("{}/{}", subject.bucket, subject.key);
        let chances = &mut self.chances;
        let (mut effects, mut late) = (Vec::new(), Duration::ZERO);
        for InForce { fault, passed, met, .. } in &mut self.faults {
            let aimed_at = (fault.operations.is_empty() || fault.operations.contains(&subject.kind))
                && (fault.peers.is_empty() || fault.peers.contains(&subject.peer))
                && fault.at_most.is_none_or(|limit| *met < limit)
                && fault.key.matches(&path);
            if aimed_at && *passed < fault.skip {
                *passed += 1;
            } else if aimed_at && met_by_chance(chances, fault.chance) {
                *met += 1;
                let mut effect = fault.effect.clone();
                if let Effect::Slow { per_operation, .. } = &mut effect {
                    let before = drawn(chances).duration(Duration::ZERO, *per_operation);
                    late += *per_operation - before;
                    *per_operation = before;
                }
                effects.push(effect);
            }
        }
        (effects, late)
    }
}

fn drawn(chances: &mut Option<host::random::Stream>) -> &mut host::random::Stream {
    chances.get_or_insert_with(|| host::random::stream("object-store-faults"))
}

fn met_by_chance(chances: &mut Option<host::random::Stream>, (numerator, denominator): (u64, u64)) -> bool {
    numerator >= denominator || drawn(chances).chance(numerator, denominator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_anchored_at_both_ends_unless_a_star_stands_there() {
        assert!(KeyPattern::new("").matches("any/key"));
        assert!(KeyPattern::new("b/k").matches("b/k"));
        assert!(!KeyPattern::new("b/k").matches("b/k2"));
        assert!(KeyPattern::new("b/*.blk").matches("b/x/y/z.blk"));
        assert!(!KeyPattern::new("b/*.blk").matches("b/x/y/z.blk.tmp"));
        assert!(KeyPattern::new("*locks*").matches("b/v/locks/lock-1.lck"));
        assert!(KeyPattern::new("*").matches(""));
        assert!(!KeyPattern::new("ab*ba").matches("aba"));
        assert!(KeyPattern::new("a*b*c").matches("a-b-b-c"));
    }
}
