//! Which upgrades a manager refuses (`CheckUpgradePath` in `upgrade/util/util.go`): to an earlier release, over more than one minor
//! release, and beside engines whose interfaces it does not speak.

use corral_kube_client::ListParams;
use longhorn_api::{Defect, EngineImage, Setting, settings};

use super::Upgrade;
use super::version::Version;
use crate::runtime::{Context, Error, Result};

/// What the engines of all modelled releases speak (`longhorn-engine pkg/meta/version.go`): the newest and the oldest they take.
const CONTROLLER_API: (i64, i64) = (5, 4);
const CLI_API: (i64, i64) = (10, 8);
/// From which minor release of v1 one can go to v2.
const LAST_MINOR_OF_V1: u64 = 30;

impl Upgrade {
    /// Refuses what cannot be upgraded.
    pub(super) async fn check_path(&self) -> Result<()> {
        let current = self.api::<Setting>().get_opt(settings::CURRENT_LONGHORN_VERSION).await?;
        let current = current.map(|setting| setting.value).unwrap_or_default();
        let mine = self.build.release().name();
        if !self.checks_path && !current.is_empty() {
            if Version::parse(&current).unwrap_or_default() < Version::of(1, 4, 0) {
                return Err(Error::message(format!(
                    "failed to skip the upgrade check for {current} to upgrade to {mine}, as it only supports the current version \
                     larger than v1.4.0"
                )));
            }
            tracing::warn!("It is not recommended to disable the upgrade version check from {current} to {mine}");
            return Ok(());
        }
        check_versions(&current, mine)?;
        self.check_engines().await.context(|| "failed checking Engine upgrade path")
    }

    async fn check_engines(&self) -> Result<()> {
        for image in self.api::<EngineImage>().list(&ListParams::default()).await?.items {
            let never_read = image.status.controller_api_version == 0;
            if image.status.ref_count == 0 || never_read && !self.build.has(Defect::FoundUnreadEngineImage) {
                continue;
            }
            let name = image.metadata.name.as_deref().unwrap_or_default();
            check_interface(image.status.controller_api_version, CONTROLLER_API)
                .context(|| format!("incompatible Engine {name} controller API version"))?;
            check_interface(image.status.cli_api_version, CLI_API)
                .context(|| format!("incompatible Engine {name} client API version"))?;
        }
        Ok(())
    }
}

/// At most one minor release up, none down; the step to the next major release from its last minor ones.
fn check_versions(current: &str, mine: &str) -> Result<()> {
    if current.is_empty() {
        return Ok(());
    }
    let refuse = |why: &str| Err(Error::message(format!("failed to upgrade since {why}")));
    let Some(new) = Version::parse(mine) else { return refuse(&format!("upgrading version {mine} is not valid")) };
    let Some(old) = Version::parse(current) else {
        return Err(Error::message(format!("failed to parse current {mine} major/minor version")));
    };
    if old.major() > new.major() {
        return refuse(&format!("downgrading from {current} to {mine} for major version is not supported"));
    }
    if old.major() < new.major() {
        if new.major() - old.major() > 1 {
            return refuse(&format!("upgrading from {current} to {mine} for major version is not supported"));
        }
        if old.minor() < LAST_MINOR_OF_V1 {
            return refuse(&format!(
                "upgrading major version with minor version under {LAST_MINOR_OF_V1} is not supported"
            ));
        }
        return Ok(());
    }
    if new.minor() > old.minor() + 1 {
        return refuse(&format!("upgrading from {current} to {mine} for minor version is not supported"));
    }
    if new.minor() == old.minor() + 1 || old <= new {
        return Ok(());
    }
    refuse(&format!("downgrading from {current} to {mine} is not supported"))
}

fn check_interface(current: i64, (new, oldest): (i64, i64)) -> Result<()> {
    if current > new {
        return Err(Error::message(format!("downgrading from {current} to {new} is not supported")));
    }
    if current < oldest {
        return Err(Error::message(format!("found version {current} is below required minimal version {oldest}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_minor_release_up_and_none_down() {
        for (from, to) in [
            ("", "v1.8.0"),
            ("v1.7.2", "v1.8.0-rc2"),
            ("v1.8.0-rc2", "v1.8.0"),
            ("v1.8.2", "v1.9.2"),
            ("v1.8.0", "v1.8.0"),
        ] {
            check_versions(from, to).unwrap_or_else(|error| panic!("{from} to {to}: {error}"));
        }
        for (from, to, why) in [
            ("v1.7.2", "v1.9.2", "upgrading from v1.7.2 to v1.9.2 for minor version"),
            ("v1.8.0", "v1.7.2", "downgrading from v1.8.0 to v1.7.2"),
            ("v1.8.0", "v1.8.0-rc2", "downgrading from v1.8.0 to v1.8.0-rc2"),
            ("v1.8.0", "v2.0.0", "minor version under 30"),
        ] {
            let error = check_versions(from, to).unwrap_err().to_string();
            assert!(error.contains(why), "{from} to {to}: {error}");
        }
    }

    #[test]
    fn engines_that_are_in_use_must_be_understood() {
        assert!(check_interface(5, CONTROLLER_API).is_ok() && check_interface(4, CONTROLLER_API).is_ok());
        assert!(check_interface(6, CONTROLLER_API).is_err() && check_interface(7, CLI_API).is_err());
    }
}
