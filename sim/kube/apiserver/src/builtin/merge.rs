//! How the lists of built-in kinds are merged by a strategic merge patch.

/// How a list is merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListMerge {
    /// It is replaced.
    Atomic,
    /// Its items are values, each once.
    Set,
    /// Its items are objects, told apart by a field.
    Key(String),
}

/// The rules at one place of an object.
#[derive(Clone, Debug)]
pub(crate) struct MergeRules {
    place: String,
}

impl MergeRules {
    /// The rules at the root of a kind.
    pub fn of_kind(kind: &str) -> MergeRules {
        MergeRules { place: kind.to_owned() }
    }

    /// The rules of a field's value, or of the items of a list.
    pub fn field(&self, name: &str) -> MergeRules {
        MergeRules { place: name.to_owned() }
    }

    /// How a list is merged.
    pub fn list(&self, name: &str) -> ListMerge {
        let key = match (self.place.as_str(), name) {
            ("metadata", "finalizers") => return ListMerge::Set,
            ("metadata", "ownerReferences") => "uid",
            (
                _,
                "containers"
                | "initContainers"
                | "ephemeralContainers"
                | "env"
                | "volumes"
                | "imagePullSecrets"
                | "webhooks"
                | "secrets",
            ) => "name",
            (_, "volumeMounts") => "mountPath",
            (_, "volumeDevices") => "devicePath",
            (_, "conditions" | "addresses") => "type",
            (_, "hostAliases") => "ip",
            (_, "podIPs" | "hostIPs") => "ip",
            (_, "topologySpreadConstraints") => "topologyKey",
            ("spec", "ports") => "port",
            (_, "ports") => "containerPort",
            _ => return ListMerge::Atomic,
        };
        ListMerge::Key(key.to_owned())
    }
}
