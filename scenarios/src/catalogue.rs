//! What there is to choose from.

use std::collections::BTreeSet;
use std::sync::Arc;

use corral_world::text::unknown_name;
use corral_world::{Arm, Catalogue, Scenario};
use longhorn_api::builds::Selection;
use longhorn_api::defects::{Defect, TABLE};
use longhorn_api::releases::{Release, ReleaseLine};

use crate::{backup_cleanup, system_backup, system_restore, upgrade, v2_disable_enable, volume_life};

struct Longhorn;

/// Longhorn's scenarios, releases and defects.
pub fn catalogue() -> &'static dyn Catalogue {
    &Longhorn
}

impl Catalogue for Longhorn {
    fn scenarios(&self) -> Vec<Arc<dyn Scenario>> {
        let all = [
            backup_cleanup::scenario(),
            v2_disable_enable::scenario(),
            upgrade::scenario(),
            system_restore::scenario(),
            system_backup::scenario(),
            volume_life::scenario(),
        ];
        all.into_iter().map(|scenario| Arc::new(scenario) as Arc<dyn Scenario>).collect()
    }

    fn check_arm(&self, arm: &Arm) -> Result<(), String> {
        selection(arm).map(|_| ())
    }

    fn open_defects(&self, arm: &Arm) -> Vec<String> {
        let Ok(selection) = selection(arm) else { return Vec::new() };
        let (longhorn, client) = (selection.longhorn().ok(), selection.client().ok());
        let before = selection.upgrade_from().ok().flatten();
        let has = |defect: &Defect| {
            let in_longhorn = longhorn.iter().chain(&before).any(|build| build.has(*defect));
            in_longhorn || client.iter().any(|build| build.has(*defect))
        };
        Defect::all().filter(has).map(|defect| defect.id().to_owned()).collect()
    }
}

/// The release that runs where none is named. It changes with time: whatever is kept names its own.
pub fn default_release() -> String {
    Release::DEFAULT.to_string()
}

/// The releases, with what each has of the table of defects.
pub fn releases() -> Vec<(String, String)> {
    let line = |release: &Release| {
        let recorded: Vec<&str> =
            TABLE.iter().filter(|record| release.published_with(record)).map(|record| record.id).collect();
        let default = if *release == Release::DEFAULT { " (default)" } else { "" };
        (
            format!("{release}{default}"),
            format!("recorded defects: {}", if recorded.is_empty() { "none".into() } else { recorded.join(", ") }),
        )
    };
    Release::ALL.iter().map(line).collect()
}

/// The table of defects, one row each.
pub fn defects() -> Vec<Vec<String>> {
    let head = ["id", "component", "cause", "releases", "cure"].map(str::to_owned).to_vec();
    let row = |record: &longhorn_api::defects::Record| {
        vec![
            record.id.to_owned(),
            record.component.to_string(),
            record.cause.to_owned(),
            record.affected.to_string(),
            record.cure.to_owned(),
        ]
    };
    std::iter::once(head).chain(TABLE.iter().map(row)).collect()
}

/// The cause of a recorded defect, in one line.
pub fn cause_of(id: &str) -> Option<&'static str> {
    TABLE.iter().find(|record| record.id == id).map(|record| record.cause)
}

/// The builds that an arm asks for.
///
/// # Errors
/// An unknown release or defect, with the nearest known name; a defect both added and cured.
pub fn selection(arm: &Arm) -> Result<Selection, String> {
    let release = |name: &str| {
        Release::ALL
            .iter()
            .copied()
            .find(|release| release.name() == name)
            .ok_or_else(|| unknown_name("release", name, Release::ALL.iter().map(|release| release.name())))
    };
    let defects = |ids: &[String]| {
        ids.iter()
            .map(|id| {
                let found = TABLE.iter().find(|record| record.id == id);
                found
                    .map(|record| record.defect)
                    .ok_or_else(|| unknown_name("defect", id, TABLE.iter().map(|record| record.id)))
            })
            .collect::<Result<BTreeSet<Defect>, String>>()
    };
    let selection = Selection {
        release: if arm.release.is_empty() { Release::DEFAULT } else { release(&arm.release)? },
        from: if arm.from.is_empty() { None } else { Some(release(&arm.from)?) },
        cured: defects(&arm.cured)?,
        added: defects(&arm.defect)?,
        silenced: defects(&arm.silenced)?,
    };
    selection.longhorn().map_err(|error| error.to_string())?;
    selection.client().map_err(|error| error.to_string())?;
    Ok(selection)
}
