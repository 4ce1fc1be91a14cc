//! What a manager is told by its DaemonSet: flags of `longhorn-manager daemon` and the environment of its pod.
//!
//! The manifest of every release gives the same flags (images, service account) and the same four variables by the
//! downward API (`app/daemon.go`, `types/types.go`). The release that the process is built as comes from the tag of
//! `--manager-image`, which the real DaemonSet sets to its own image.

use host::process;

/// Flags and environment of one manager process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    /// Image of the default engine; setting `default-engine-image`.
    pub engine_image: String,
    /// Image of the instance manager; setting `default-instance-manager-image`.
    pub instance_manager_image: String,
    /// Image of the share manager.
    pub share_manager_image: String,
    /// Image of the backing image manager; setting `default-backing-image-manager-image`.
    pub backing_image_manager_image: String,
    /// Image of the support bundle kit; setting `support-bundle-manager-image`.
    pub support_bundle_manager_image: String,
    /// Image of this very manager; its tag names the release.
    pub manager_image: String,
    /// Service account of the pods that the manager makes.
    pub service_account: String,
    /// Whether an upgrade from a release that is too old is refused.
    pub upgrade_version_check: bool,
    /// `NODE_NAME`: also the identity of every controller of this process.
    pub node_name: String,
    /// `POD_NAME`.
    pub pod_name: String,
    /// `POD_NAMESPACE`: the namespace of every Longhorn object.
    pub namespace: String,
    /// `POD_IP`: the address that the REST API binds.
    pub pod_ip: String,
}

/// Why a process cannot start with what it was told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// A flag that every start needs is absent or empty.
    #[error("require {0}")]
    MissingFlag(&'static str),
    /// A flag stands without its value.
    #[error("flag needs an argument: --{0}")]
    MissingValue(String),
    /// A flag that no release knows.
    #[error("flag provided but not defined: {0}")]
    UnknownFlag(String),
    /// A variable that the downward API should have set.
    #[error("failed to detect {0}")]
    MissingVariable(&'static str),
}

impl Arguments {
    /// Reads the flags and variables of the calling process.
    pub fn from_process() -> Result<Self, ArgumentError> {
        Self::parse(&process::args(), process::env_var)
    }

    /// Reads them from `words` (with or without the program's name and sub-command) and from `variable`.
    pub fn parse(words: &[String], variable: impl Fn(&str) -> Option<String>) -> Result<Self, ArgumentError> {
        let flags = Flags::read(words)?;
        let from_pod = |name: &'static str| {
            variable(name).filter(|value| !value.is_empty()).ok_or(ArgumentError::MissingVariable(name))
        };
        Ok(Self {
            engine_image: flags.required("engine-image")?,
            instance_manager_image: flags.required("instance-manager-image")?,
            share_manager_image: flags.required("share-manager-image")?,
            backing_image_manager_image: flags.required("backing-image-manager-image")?,
            support_bundle_manager_image: flags.required("support-bundle-manager-image")?,
            manager_image: flags.required("manager-image")?,
            service_account: flags.required("service-account")?,
            upgrade_version_check: flags.upgrade_version_check,
            node_name: from_pod("NODE_NAME")?,
            pod_name: from_pod("POD_NAME")?,
            namespace: from_pod("POD_NAMESPACE")?,
            pod_ip: from_pod("POD_IP")?,
        })
    }
}

/// The flags as they stand on the command line.
#[derive(Default)]
struct Flags {
    values: std::collections::BTreeMap<String, String>,
    upgrade_version_check: bool,
}

impl Flags {
    const WITH_VALUE: [&'static str; 8] = [
        "engine-image",
        "instance-manager-image",
        "share-manager-image",
        "backing-image-manager-image",
        "support-bundle-manager-image",
        "manager-image",
        "service-account",
        "kube-config",
    ];

    fn read(words: &[String]) -> Result<Self, ArgumentError> {
        let mut flags = Self::default();
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            let Some(name) = word.strip_prefix("--") else { continue };
            let (name, given) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_string())),
                None => (name, None),
            };
            if name == "upgrade-version-check" {
                flags.upgrade_version_check = given.as_deref() != Some("false");
            } else if Self::WITH_VALUE.contains(&name) {
                let value = match given {
                    Some(value) => value,
                    None => rest.next().cloned().ok_or_else(|| ArgumentError::MissingValue(name.to_string()))?,
                };
                flags.values.insert(name.to_string(), value);
            } else {
                return Err(ArgumentError::UnknownFlag(word.clone()));
            }
        }
        Ok(flags)
    }

    fn required(&self, name: &'static str) -> Result<String, ArgumentError> {
        self.values.get(name).filter(|value| !value.is_empty()).cloned().ok_or(ArgumentError::MissingFlag(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_string).collect()
    }

    const COMMAND: &str = "longhorn-manager -d daemon --engine-image longhornio/longhorn-engine:v1.8.0 \
        --instance-manager-image longhornio/longhorn-instance-manager:v1.8.0 \
        --share-manager-image longhornio/longhorn-share-manager:v1.8.0 \
        --backing-image-manager-image longhornio/backing-image-manager:v1.8.0 \
        --support-bundle-manager-image longhornio/support-bundle-kit:v0.0.51 \
        --manager-image=longhornio/longhorn-manager:v1.8.0 --service-account longhorn-service-account \
        --upgrade-version-check";

    fn variable(name: &str) -> Option<String> {
        let value = match name {
            "NODE_NAME" => "n1",
            "POD_NAME" => "longhorn-manager-abcde",
            "POD_NAMESPACE" => "longhorn-system",
            "POD_IP" => "10.42.0.5",
            _ => return None,
        };
        Some(value.to_string())
    }

    #[test]
    fn the_manifest_of_a_release_is_understood() {
        let arguments = Arguments::parse(&words(COMMAND), variable).unwrap();
        assert_eq!(arguments.manager_image, "longhornio/longhorn-manager:v1.8.0");
        assert_eq!(arguments.engine_image, "longhornio/longhorn-engine:v1.8.0");
        assert_eq!((arguments.node_name.as_str(), arguments.namespace.as_str()), ("n1", "longhorn-system"));
        assert!(arguments.upgrade_version_check);
    }

    #[test]
    fn what_is_missing_is_named() {
        let without_image = words("daemon --service-account x");
        assert_eq!(Arguments::parse(&without_image, variable), Err(ArgumentError::MissingFlag("engine-image")));
        assert_eq!(Arguments::parse(&words(COMMAND), |_| None), Err(ArgumentError::MissingVariable("NODE_NAME")));
        assert_eq!(
            Arguments::parse(&words("daemon --engine-image"), variable),
            Err(ArgumentError::MissingValue("engine-image".into()))
        );
        assert_eq!(
            Arguments::parse(&words("daemon --engine-imgae x"), variable),
            Err(ArgumentError::UnknownFlag("--engine-imgae".into()))
        );
    }
}
