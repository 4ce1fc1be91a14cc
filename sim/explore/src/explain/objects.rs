//! Which objects a violation is about.

use std::collections::{BTreeMap, BTreeSet};

use corral_world::Violation;

use super::history::{History, Life, Object};

/// How an object belongs to the violation; the first is the nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// The violation names it.
    Named,
    /// It owns a named one, is owned by it, or says its name.
    Family,
    /// Who works on a named one reads it, and few others do.
    Read,
}

/// An object that so many reconciles read is everybody's: settings, nodes.
const MOST_READERS: usize = 6;
/// A name that so many objects say is everybody's too.
const MOST_REFERENCES: usize = 40;
/// More than this would bury the story.
const MOST_READ: usize = 6;
const MOST_FAMILY: usize = 12;

/// The objects, with how they belong to it.
pub(super) fn of(history: &History, violation: &Violation) -> BTreeMap<Object, Role> {
    let mut objects = named(history, &violation.detail);
    let family: Vec<Object> = family(history, &objects).into_iter().take(MOST_FAMILY).collect();
    for object in family {
        objects.entry(object).or_insert(Role::Family);
    }
    let read: Vec<Object> = read(history, &objects).into_iter().take(MOST_READ).collect();
    for object in read {
        objects.entry(object).or_insert(Role::Read);
    }
    objects
}

/// A name without its namespace.
pub(super) fn own_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// Objects whose name stands in the text; where several kinds share a name, those whose kind stands there too, if any does.
pub(super) fn named(history: &History, text: &str) -> BTreeMap<Object, Role> {
    let words: BTreeSet<&str> =
        text.split(|letter: char| !(letter.is_alphanumeric() || "-._".contains(letter))).collect();
    let words: BTreeSet<&str> = words.iter().map(|word| word.trim_matches('.')).collect();
    let squeezed: String = text.chars().filter(|letter| letter.is_alphanumeric()).collect::<String>().to_lowercase();
    // Events tell people of objects; they are none of the story's own.
    let is_named = |object: &&Object| object.0 != "Event" && words.contains(own_name(&object.1));
    let found: Vec<&Object> = history.objects.keys().filter(is_named).collect();
    let says_kind = |object: &&&Object| squeezed.contains(&object.0.to_lowercase());
    let with_kind: BTreeSet<&str> = found.iter().filter(says_kind).map(|object| own_name(&object.1)).collect();
    let is_meant = |object: &&Object| !with_kind.contains(own_name(&object.1)) || says_kind(&object);
    found.into_iter().filter(is_meant).map(|object| (object.clone(), Role::Named)).collect()
}

/// All who own a named object; what it owns itself, for which its deletion waits; what says its name, or whose name it says; and others of its kind
/// that say the same names, as one does that took its place.
fn family(history: &History, named: &BTreeMap<Object, Role>) -> Vec<Object> {
    let mut found = Vec::new();
    let mut open: Vec<&Object> = named.keys().collect();
    while let Some(object) = open.pop() {
        let Some(life) = history.objects.get(object) else { continue };
        for owner in life.owners.iter().filter(|owner| history.objects.contains_key(*owner)) {
            if !found.contains(owner) && !named.contains_key(owner) {
                found.push(owner.clone());
                open.push(owner);
            }
        }
    }
    let names: BTreeSet<&str> = named.keys().map(|(_, name)| own_name(name)).collect();
    let said = said_by(history, named);
    let belongs = |(kind, name): &Object, life: &Life| {
        let is_owned = life.owners.iter().any(|owner| named.contains_key(owner));
        let is_like = named.keys().any(|(of, _)| of == kind) && said.iter().any(|name| life.values.contains(*name));
        is_owned || is_like || said.contains(own_name(name)) || names.iter().any(|name| life.values.contains(*name))
    };
    let others = history.objects.iter().filter(|(object, life)| {
        object.0 != "Event" && life.is_used && !named.contains_key(*object) && belongs(object, life)
    });
    // What is still there first: it is what is waited for.
    let (gone, there): (Vec<_>, Vec<_>) = others.partition(|(_, life)| life.is_gone());
    found.extend(there.into_iter().chain(gone).map(|(object, _)| object.clone()));
    found
}

/// The names of others that the named objects say, unless everybody says them.
fn said_by<'a>(history: &'a History, named: &BTreeMap<Object, Role>) -> BTreeSet<&'a str> {
    let values = named.keys().filter_map(|object| history.objects.get(object)).flat_map(|life| &life.values);
    let all: BTreeSet<&str> = history.objects.keys().map(|(_, name)| own_name(name)).collect();
    let of_few =
        |name: &&str| history.objects.values().filter(|life| life.values.contains(*name)).count() <= MOST_REFERENCES;
    values.map(String::as_str).filter(|value| all.contains(value)).filter(of_few).collect()
}

/// What the reconciles of the objects so far have read; those first that the fewest others read.
fn read(history: &History, objects: &BTreeMap<Object, Role>) -> Vec<Object> {
    let is_about = |reader: &String| {
        objects.keys().any(|object| {
            let name = own_name(&object.1);
            reader.split([' ', '/']).any(|word| word == name)
        })
    };
    let mut found: Vec<(usize, &Object)> = history
        .objects
        .iter()
        .filter(|(object, life)| life.is_used && !objects.contains_key(*object))
        .filter(|(_, life)| life.readers.len() <= MOST_READERS && life.readers.iter().any(is_about))
        .map(|(object, life)| (life.readers.len(), object))
        .collect();
    found.sort();
    found.into_iter().map(|(_, object)| object.clone()).collect()
}
