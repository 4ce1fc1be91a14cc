//! The fields of the kinds, against what the releases' own definitions say (tests/data/, read from upstream's manifests), and the
//! Rust types against the fields.

use std::collections::{BTreeMap, BTreeSet};

use longhorn_api::releases::ReleaseLine;
use longhorn_api::resource::{CustomResource, Definition};
use longhorn_api::schema::{Field, Type};
use longhorn_api::{
    BackingImage, BackingImageDataSource, BackingImageManager, Backup, BackupBackingImage, BackupTarget, BackupVolume,
    Engine, EngineImage, InstanceManager, Node, Orphan, RecurringJob, Release, Replica, Setting, ShareManager,
    Snapshot, SupportBundle, SystemBackup, SystemRestore, Volume, VolumeAttachment, crds, kinds, wire,
};
use serde_json::{Map, Value, json};

const FIELDS: &str = include_str!("data/fields-v1.9.2.txt");
const CHANGES: &str = include_str!("data/field-changes.txt");

type Listing = BTreeMap<String, BTreeSet<String>>;

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with("# "))
}

/// The listing of `release`: that of the last one, with the later changes taken back.
fn expected(release: Release) -> Listing {
    let mut listing = Listing::new();
    let mut kind = String::new();
    for line in lines(FIELDS) {
        match line.strip_prefix("## ") {
            Some(name) => kind = name.to_owned(),
            None => assert!(listing.entry(kind.clone()).or_default().insert(line.to_owned()), "{kind} {line} twice"),
        }
    }
    let changes: Vec<_> = lines(CHANGES).collect();
    for change in changes.iter().rev() {
        let [at, sign, kind, field] = change.splitn(4, ' ').collect::<Vec<_>>()[..] else { panic!("{change}") };
        if release.at_least(at.parse().expect("a release")) {
            continue;
        }
        let fields = listing.get_mut(kind).expect("a kind");
        let took_place = if sign == "+" { fields.remove(field) } else { fields.insert(field.to_owned()) };
        assert!(took_place, "{change} cannot be taken back");
    }
    listing
}

#[test]
fn every_release_has_exactly_the_fields_of_its_own_definitions() {
    for release in Release::ALL {
        let ours: Listing = kinds::DEFINITIONS
            .iter()
            .map(|definition| {
                (definition.kind.to_owned(), crds::field_paths(definition, *release).into_iter().collect())
            })
            .collect();
        let expected = expected(*release);
        assert_eq!(ours.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (kind, fields) in &expected {
            let missing: Vec<_> = fields.difference(&ours[kind]).collect();
            let unknown: Vec<_> = ours[kind].difference(fields).collect();
            assert!(missing.is_empty() && unknown.is_empty(), "{release} {kind}: {missing:?} {unknown:?}");
        }
    }
}

/// A value of the type with nothing empty in it, different from field to field.
fn populated(value: &Type, choices: &[&str], counter: &mut i64) -> Value {
    *counter += 1;
    match value {
        Type::Text if !choices.is_empty() => choices[0].into(),
        Type::Text => format!("text-{counter}").into(),
        Type::Boolean => true.into(),
        Type::Integer(_) => (*counter).into(),
        Type::QuotedInteger => counter.to_string().into(),
        Type::Time => format!("2025-01-02T03:{:02}:{:02}Z", *counter / 60 % 60, *counter % 60).into(),
        Type::Duration => format!("{}m0s", *counter % 59 + 1).into(),
        Type::List(item) => json!([populated(item, &[], counter), populated(item, &[], counter)]),
        Type::Map(entry) => json!({ "a.b/c": populated(entry, &[], counter), "d": populated(entry, &[], counter) }),
        Type::Record(fields) => Value::Object(populated_record(fields, counter)),
    }
}

fn populated_record(fields: &[Field], counter: &mut i64) -> Map<String, Value> {
    let present = fields.iter().filter(|field| field.is_in(Release::DEFAULT));
    present.map(|field| (field.name.to_owned(), populated(&field.value, field.choices, counter))).collect()
}

fn populated_object(definition: &Definition) -> Value {
    let mut object = json!({ "apiVersion": "longhorn.io/v1beta2", "kind": definition.kind,
        "metadata": { "name": "x", "namespace": "longhorn-system", "resourceVersion": "7" } });
    let fields = populated_record(definition.fields, &mut 0);
    object.as_object_mut().expect("an object").extend(fields);
    object
}

fn all_fields_survive<K: CustomResource>() {
    let object = populated_object(K::DEFINITION);
    let read: K = serde_json::from_value(object.clone()).expect("the type reads it");
    assert_eq!(serde_json::to_value(&read).expect("the type writes it"), object, "{}", K::DEFINITION.kind);
    assert_ne!(read.status(), &K::Status::default());

    // The same from text, where strings are borrowed, and with fields that no release has.
    let mut more = object.clone();
    more["status"]["unheardOf"] = json!({ "deep": [1, 2, null] });
    more["unheardOf"] = true.into();
    let read_from_text: K = serde_json::from_str(&more.to_string()).expect("unknown fields are passed over");
    assert_eq!(read_from_text, read);
}

fn nulls_and_absence_are_zero<K: CustomResource>() {
    let zero = K::default();
    let written = serde_json::to_value(&zero).expect("the type writes it");
    let mut as_go_writes = json!({ "apiVersion": "longhorn.io/v1beta2", "kind": K::DEFINITION.kind, "metadata": {} });
    wire::as_written_by(Release::DEFAULT, K::DEFINITION, &mut as_go_writes);
    assert_eq!(written, as_go_writes, "{}", K::DEFINITION.kind);
    assert_eq!(serde_json::from_value::<K>(json!({ "metadata": {} })).expect("all absent"), zero);

    let mut nulls = as_go_writes;
    for part in ["spec", "status"] {
        for value in nulls.get_mut(part).and_then(Value::as_object_mut).into_iter().flat_map(|part| part.values_mut()) {
            *value = Value::Null;
        }
    }
    assert_eq!(serde_json::from_value::<K>(nulls).expect("all null"), zero);
}

fn another_kind_is_refused<K: CustomResource>() {
    let error =
        serde_json::from_value::<K>(json!({ "apiVersion": "v1", "kind": "Status" })).expect_err("not this kind");
    let expected = format!("expected longhorn.io/v1beta2 {}, found v1 Status", K::DEFINITION.kind);
    assert_eq!(error.to_string(), expected);
}

macro_rules! for_every_kind {
    ($check:ident) => {{
        const KINDS: &[(&str, fn())] = &[
            ("BackingImage", $check::<BackingImage>),
            ("BackingImageDataSource", $check::<BackingImageDataSource>),
            ("BackingImageManager", $check::<BackingImageManager>),
            ("Backup", $check::<Backup>),
            ("BackupBackingImage", $check::<BackupBackingImage>),
            ("BackupTarget", $check::<BackupTarget>),
            ("BackupVolume", $check::<BackupVolume>),
            ("Engine", $check::<Engine>),
            ("EngineImage", $check::<EngineImage>),
            ("InstanceManager", $check::<InstanceManager>),
            ("Node", $check::<Node>),
            ("Orphan", $check::<Orphan>),
            ("RecurringJob", $check::<RecurringJob>),
            ("Replica", $check::<Replica>),
            ("Setting", $check::<Setting>),
            ("ShareManager", $check::<ShareManager>),
            ("Snapshot", $check::<Snapshot>),
            ("SupportBundle", $check::<SupportBundle>),
            ("SystemBackup", $check::<SystemBackup>),
            ("SystemRestore", $check::<SystemRestore>),
            ("Volume", $check::<Volume>),
            ("VolumeAttachment", $check::<VolumeAttachment>),
        ];
        let listed: Vec<_> = kinds::DEFINITIONS.iter().map(|definition| definition.kind).collect();
        assert_eq!(KINDS.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), listed, "a kind is not tested");
        KINDS.iter().for_each(|(_, check)| check());
    }};
}

#[test]
fn a_fully_populated_object_keeps_every_field() {
    for_every_kind!(all_fields_survive);
}

#[test]
fn an_empty_object_is_written_as_go_writes_it() {
    for_every_kind!(nulls_and_absence_are_zero);
}

#[test]
fn an_object_of_another_kind_is_refused() {
    for_every_kind!(another_kind_is_refused);
}

#[test]
fn a_manager_of_another_release_loses_what_it_does_not_know() {
    for definition in kinds::DEFINITIONS {
        let object = populated_object(definition);
        let mut same = object.clone();
        wire::as_written_by(Release::DEFAULT, definition, &mut same);
        assert_eq!(same, object, "its own release changes nothing: {}", definition.kind);
    }

    let mut volume = populated_object(Volume::DEFINITION);
    let target = volume["spec"]["backupTargetName"].clone();
    wire::as_written_by(Release::V1_8_0, Volume::DEFINITION, &mut volume);
    assert_eq!(volume["spec"]["engineImage"], "");
    assert_eq!(volume["status"]["pendingNodeID"], "");
    assert_eq!(volume["spec"]["backupTargetName"], target);
    assert_eq!(volume["spec"].get("offlineRebuilding"), None);
    wire::as_written_by(Release::V1_7_2, Volume::DEFINITION, &mut volume);
    assert_eq!(volume["spec"].get("backupTargetName"), None);
    wire::as_written_by(Release::V1_9_2, Volume::DEFINITION, &mut volume);
    assert_eq!(volume["spec"]["backupTargetName"], "", "what an old manager dropped stays lost");
    assert_eq!(volume["spec"].get("engineImage"), None);
    assert_eq!(volume["metadata"]["resourceVersion"], "7");
}
