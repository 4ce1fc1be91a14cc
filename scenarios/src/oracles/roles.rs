//! **Damage**: two objects where there is to be one: two engines that serve one volume, two instance managers of one kind on a node. Each is looked
//! after by controllers that take it for the only one.
//! **Promise**: at most one active engine of a volume, after every write (safety statement S12); one instance manager per node, image and data engine,
//! one backing image manager per disk and image, one BackupVolume per target and volume (S14); creating twice with an old cache makes one object (S19).
//! **Bound**: none for engines; for the others the settle phase. That a second one is created at all is a hazard.

use std::collections::BTreeMap;

use corral_apiserver::Object;
use corral_core::journal::{Event, Record};
use corral_world::{Oracle, Stage};

use super::DUPLICATE_CREATION;

/// What there is to be one of.
struct Role {
    kind: &'static str,
    resource: &'static str,
    /// For one what, in words.
    each: &'static str,
    /// Whether a second one is damage from its first moment.
    at_once: bool,
    /// Which one an object plays; none if it plays it no more.
    of: fn(&Object) -> Option<Vec<String>>,
}

const ROLES: [Role; 5] = [
    Role {
        kind: "Engine",
        resource: "engines.longhorn.io",
        each: "volume",
        at_once: true,
        of: |engine| {
            let is_active = engine.value["spec"]["active"] == true;
            is_active.then(|| texts(engine, &["volumeName"]))
        },
    },
    Role {
        kind: "InstanceManager",
        resource: "instancemanagers.longhorn.io",
        each: "node, image and data engine",
        at_once: false,
        of: |manager| Some(texts(manager, &["nodeID", "image", "type", "dataEngine"])),
    },
    Role {
        kind: "BackingImageManager",
        resource: "backingimagemanagers.longhorn.io",
        each: "disk and image",
        at_once: false,
        of: |manager| Some(texts(manager, &["diskUUID", "image"])),
    },
    // Up to v1.7.2 the name of these two is the volume's or the image's, and the target is always the same.
    Role {
        kind: "BackupVolume",
        resource: "backupvolumes.longhorn.io",
        each: "target and volume",
        at_once: false,
        of: |volume| Some(texts_or_name(volume, &["backupTargetName", "volumeName"])),
    },
    Role {
        kind: "BackupBackingImage",
        resource: "backupbackingimages.longhorn.io",
        each: "target and image",
        at_once: false,
        of: |image| Some(texts_or_name(image, &["backupTargetName", "backingImage"])),
    },
];

fn texts(object: &Object, fields: &[&str]) -> Vec<String> {
    let spec = &object.value["spec"];
    fields.iter().map(|field| spec[field].as_str().unwrap_or_default().to_owned()).collect()
}

fn texts_or_name(object: &Object, fields: &[&str]) -> Vec<String> {
    let texts = texts(object, fields);
    if texts.last().is_none_or(String::is_empty) { vec![object.name().to_owned()] } else { texts }
}

/// Names of those that play each part, the deleting ones aside.
fn players(stage: &Stage, role: &Role) -> BTreeMap<Vec<String>, Vec<String>> {
    let mut players: BTreeMap<Vec<String>, Vec<String>> = BTreeMap::new();
    for object in stage.cluster().store().objects(role.resource).filter(|object| !object.is_deleting()) {
        if let Some(part) = (role.of)(&object) {
            players.entry(part).or_default().push(object.name().to_owned());
        }
    }
    players
}

fn report(stage: &Stage, role: &Role) {
    for (part, names) in players(stage, role).into_iter().filter(|(_, names)| names.len() > 1) {
        let signature = format!("more than one {} for one {}", role.kind, role.each);
        let detail = format!("{} {} are for the same {}: {}", role.kind, names.join(", "), role.each, part.join(", "));
        stage.violation_as(OneObjectPerRole.name(), &signature, &detail);
    }
}

/// Of everything that there is to be one of there is at most one.
pub struct OneObjectPerRole;

impl Oracle for OneObjectPerRole {
    fn name(&self) -> &'static str {
        "one-object-per-role"
    }

    fn about(&self) -> &'static str {
        "of everything that there is to be one of, there is at most one"
    }

    fn observe(&self, stage: &Stage, record: &Record<'_>) {
        let Event::ApiWrite { verb, kind, subresource, name, deleting: false, .. } = &record.event else { return };
        let Some(role) = ROLES.iter().find(|role| role.kind == kind && subresource.is_empty()) else { return };
        if role.at_once {
            return report(stage, role);
        }
        if verb != "create" {
            return;
        }
        let players = players(stage, role);
        let Some(others) = players.values().find(|names| names.len() > 1 && names.iter().any(|one| one == name)) else {
            return;
        };
        let detail = format!("{} {} are for the same {}", role.kind, others.join(", "), role.each);
        stage.hazard(DUPLICATE_CREATION, &format!("{kind} {name}"), &detail);
    }

    fn judge(&self, stage: &Stage) {
        ROLES.iter().for_each(|role| report(stage, role));
    }
}
