//! Rules of the house that no compiler keeps: who may import whom, how `select!` is written, which crates must not be linked, file headers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand, PackageId};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("scenarios/ stands in the checkout").to_owned()
}

fn metadata() -> cargo_metadata::Metadata {
    MetadataCommand::new()
        .current_dir(root())
        .other_options(["--filter-platform", "x86_64-unknown-linux-gnu"].map(str::to_owned).to_vec())
        .exec()
        .expect("cargo metadata")
}

/// The room of each of our packages: its folder below the checkout.
fn rooms(metadata: &cargo_metadata::Metadata) -> BTreeMap<String, String> {
    let root = root();
    let folder = |package: &cargo_metadata::Package| {
        let path = package.manifest_path.parent().expect("a manifest has a folder");
        path.as_std_path().strip_prefix(&root).expect("inside the checkout").to_string_lossy().into_owned()
    };
    metadata.workspace_packages().iter().map(|package| (package.name.to_string(), folder(package))).collect()
}

/// Whether DESIGN allows a normal dependency from one room to another.
fn allowed(from: &str, to: &str) -> bool {
    let inside = |room: &str, folder: &str| room == folder || room.starts_with(&format!("{folder}/"));
    match from {
        "sim/core" => false,
        "reports" => to == "sim/core",
        _ if inside(from, "scenarios") => true,
        _ if inside(to, "scenarios") => false,
        _ if inside(from, "models") => inside(to, "models") || to == "sim/host" || to == "sim/kube-client",
        _ if inside(from, "sim") => inside(to, "sim"),
        _ => false,
    }
}

#[test]
fn rooms_import_only_whom_they_may() {
    let metadata = metadata();
    let rooms = rooms(&metadata);
    let mut wrong = Vec::new();
    for package in metadata.workspace_packages() {
        let from = &rooms[package.name.as_str()];
        for dependency in package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal) {
            if let Some(to) = rooms.get(&dependency.name)
                && !allowed(from, to)
            {
                wrong.push(format!("{from} -> {to}"));
            }
        }
    }
    assert!(wrong.is_empty(), "forbidden imports: {}", wrong.join(", "));
}

#[test]
fn the_rule_forbids_what_it_should() {
    for (from, to) in
        [("sim/core", "sim/net"), ("models/manager", "sim/net"), ("sim/world", "models/api"), ("reports", "sim/world")]
    {
        assert!(!allowed(from, to), "{from} -> {to}");
    }
    for (from, to) in [("models/manager", "sim/host"), ("sim/world", "sim/core"), ("scenarios", "models/api")] {
        assert!(allowed(from, to), "{from} -> {to}");
    }
}

#[test]
fn there_is_one_binary() {
    let metadata = metadata();
    let packages = metadata.workspace_packages();
    let binaries: Vec<_> =
        packages.iter().flat_map(|package| package.targets.iter().filter(|target| target.is_bin())).collect();
    assert_eq!(binaries.len(), 1, "{binaries:?}");
}

/// Crates that must not be linked into the command: they draw from where no seed reaches. With why.
const BANNED: &[(&str, &str)] = &[
    ("fastrand", "its generator is a thread-local of its own"),
    ("kube-client", "needs tokio's own timers"),
    ("kube-runtime", "needs tokio's own timers"),
    ("reqwest", "needs tokio's own timers"),
    ("rand 0.8", "its getrandom escapes madsim; only madsim itself may link it"),
];

/// Everything that a package links, by normal edges (not build or dev), with the package that asks for it.
fn linked(metadata: &cargo_metadata::Metadata, start: &str) -> BTreeSet<(PackageId, PackageId)> {
    let resolve = metadata.resolve.as_ref().expect("a resolved graph");
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let first =
        metadata.packages.iter().find(|package| package.name.as_str() == start).expect("our package").id.clone();
    let (mut waiting, mut edges, mut seen) = (vec![first], BTreeSet::new(), BTreeSet::new());
    while let Some(id) = waiting.pop() {
        if !seen.insert(id.clone()) {
            continue;
        }
        for dependency in &nodes[&id].deps {
            let target = &metadata[&dependency.pkg].targets;
            let runs_at_build_time = target.iter().any(|target| target.is_proc_macro());
            if !runs_at_build_time && dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal) {
                edges.insert((id.clone(), dependency.pkg.clone()));
                waiting.push(dependency.pkg.clone());
            }
        }
    }
    edges
}

#[test]
fn no_banned_crate_is_linked() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for (from, to) in linked(&metadata, "corral") {
        let (from, to) = (&metadata[&from], &metadata[&to]);
        for (banned, why) in BANNED {
            let (name, version) = banned.split_once(' ').unwrap_or((banned, ""));
            let hit = to.name.as_str() == name && to.version.to_string().starts_with(version);
            // madsim and what it brings for itself may have its own rand.
            if hit && !from.name.starts_with("madsim") && !from.name.starts_with("rand") {
                wrong.push(format!("{} {} is linked by {}: {why}", to.name, to.version, from.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// All Rust files of ours, with their text.
fn sources() -> Vec<(PathBuf, String)> {
    let ours = ["sim", "models", "scenarios", "reports"].map(|folder| root().join(folder));
    let walk = ours.iter().flat_map(walkdir::WalkDir::new).map(|entry| entry.expect("a readable checkout").into_path());
    let rust = walk.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    rust.map(|path| (path.clone(), std::fs::read_to_string(&path).expect("a readable file"))).collect()
}

fn complain(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    complain(
        sources()
            .iter()
            .filter(|(_, text)| !text.starts_with("//!"))
            .map(|(path, _)| format!("{}: no //! header", path.display()))
            .collect(),
    );
}

#[test]
fn every_select_is_biased() {
    // In two pieces, so that this file does not find itself.
    let call = concat!("select", "! {");
    let unbiased = |text: &str| {
        let calls = text.match_indices(call).map(|(at, _)| text[at + call.len()..].trim_start());
        calls.filter(|rest| !rest.starts_with("biased;")).count()
    };
    assert_eq!(unbiased(&format!("{call} a = b => {{}} }} {call} biased; c = d => {{}} }}")), 1);
    complain(
        sources()
            .iter()
            .filter(|(_, text)| unbiased(text) > 0)
            .map(|(path, _)| format!("{}: a select without biased;", path.display()))
            .collect(),
    );
}

#[test]
fn the_world_does_not_leak_into_what_runs_in_it() {
    let leak = concat!("cfg(", "madsim)");
    let outside = |path: &Path| !path.starts_with(root().join("sim"));
    complain(
        sources()
            .iter()
            .filter(|(path, text)| outside(path) && text.contains(leak))
            .map(|(path, _)| format!("{}: {leak}", path.display()))
            .collect(),
    );
}

#[test]
fn nothing_is_left_undone_in_the_code() {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("unimplemented", "!("),
        concat!("todo", "!("),
        concat!("#[ign", "ore"),
    ];
    let marked = |text: &str| marks.iter().find(|mark| text.contains(**mark)).copied();
    complain(
        sources().iter().filter_map(|(path, text)| Some(format!("{}: {}", path.display(), marked(text)?))).collect(),
    );
}

#[test]
fn nobody_passes_by_the_host_to_start_a_task() {
    let bare = [concat!("tokio::", "spawn("), concat!("madsim::task::", "spawn("), concat!("tokio::", "time::")];
    let allowed = ["sim/core/src/world.rs", "sim/host/src/task.rs"].map(|path| root().join(path));
    let found = |path: &Path, text: &str| {
        let hit = bare.iter().find(|call| text.replace("tokio_real::", "real::").contains(**call)).copied();
        hit.filter(|_| !allowed.contains(&path.to_owned()))
    };
    complain(
        sources()
            .iter()
            .filter_map(|(path, text)| Some(format!("{}: {}", path.display(), found(path, text)?)))
            .collect(),
    );
}
