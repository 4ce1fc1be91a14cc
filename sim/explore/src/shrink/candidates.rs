//! Plans a bit smaller than a given one, the boldest first: without faults, without steps, with fewer machines, with smaller numbers.

use std::collections::BTreeSet;
use std::time::Duration;

use corral_world::{Plan, PlannedFault, Step};
use toml::Value;

/// A smaller plan, and what makes it so.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Candidate {
    pub plan: Plan,
    pub what: String,
    /// Which of those that are told in the same words.
    pub nth: usize,
}

/// All of them; none is the plan itself.
pub(super) fn of(plan: &Plan) -> Vec<Candidate> {
    let mut all = Vec::new();
    let mut add = |changed: Plan, what: String| {
        if changed != *plan {
            let nth = all.iter().filter(|other: &&Candidate| other.what == what).count();
            all.push(Candidate { plan: changed, what, nth });
        }
    };
    for kept in without(&plan.faults, plan.faults.len()) {
        let names: Vec<&str> = gone(&plan.faults, &kept).map(|planned: &PlannedFault| planned.fault.name()).collect();
        add(
            Plan { faults: kept.iter().map(|index| plan.faults[*index].clone()).collect(), ..plan.clone() },
            format!("fault {}", names.join(", ")),
        );
    }
    // A client that does nothing shows nothing.
    let families = families(&plan.steps);
    for kept in without(&families, families.len() / 2) {
        let gone: Vec<usize> = gone(&families, &kept).flatten().copied().collect();
        add(less(plan, &gone), told(plan, &gone));
    }
    let each: Vec<usize> = (0..plan.steps.len()).collect();
    for kept in without(&each, plan.steps.len() / 2) {
        let gone: Vec<usize> = gone(&each, &kept).copied().collect();
        add(less(plan, &gone), told(plan, &gone));
    }
    for (key, value) in &plan.cluster {
        for (smaller, how) in smaller(value) {
            let mut cluster = plan.cluster.clone();
            cluster.insert(key.clone(), smaller);
            add(Plan { cluster, ..plan.clone() }, format!("cluster: {key} {how}"));
        }
    }
    for (index, step) in plan.steps.iter().enumerate() {
        for (action, how) in smaller_inside(&step.action) {
            let mut steps = plan.steps.clone();
            steps[index] = Step { action };
            add(Plan { steps, ..plan.clone() }, format!("step {}", how));
        }
    }
    for (index, planned) in plan.faults.iter().enumerate() {
        for (fault, how) in smaller_faults(planned) {
            let mut faults = plan.faults.clone();
            faults[index] = fault;
            add(Plan { faults, ..plan.clone() }, format!("fault {}: {how}", planned.fault.name()));
        }
    }
    all
}

/// The plan less these steps.
fn less(plan: &Plan, gone: &[usize]) -> Plan {
    let kept = plan.steps.iter().enumerate().filter(|(index, _)| !gone.contains(index));
    Plan { steps: kept.map(|(_, step)| step.clone()).collect(), ..plan.clone() }
}

fn told(plan: &Plan, gone: &[usize]) -> String {
    let names: Vec<String> = gone.iter().map(|index| in_short(&plan.steps[*index].action)).collect();
    format!("step {}", names.join(", "))
}

/// Steps that go together: those about the same object, and about objects that one step names together. Steps about nothing are in none.
fn families(steps: &[Step]) -> Vec<Vec<usize>> {
    let objects: BTreeSet<String> = steps.iter().filter_map(|step| texts(&step.action, Some("name")).pop()).collect();
    let mut families: Vec<(BTreeSet<String>, Vec<usize>)> = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let mut names: BTreeSet<String> =
            texts(&step.action, None).into_iter().filter(|text| objects.contains(text)).collect();
        if names.is_empty() {
            continue;
        }
        let (akin, others): (Vec<_>, Vec<_>) = families.into_iter().partition(|(of, _)| !of.is_disjoint(&names));
        families = others;
        let mut indices = vec![index];
        for (of, more) in akin {
            names.extend(of);
            indices.extend(more);
        }
        indices.sort_unstable();
        families.push((names, indices));
    }
    let mut families: Vec<Vec<usize>> = families.into_iter().map(|(_, indices)| indices).collect();
    families.sort();
    families
}

/// The texts inside a value; only those under this key, if one is given.
fn texts(value: &Value, key: Option<&str>) -> Vec<String> {
    let Value::Table(table) = value else { return Vec::new() };
    let text = |(of, inner): (&String, &Value)| match inner {
        Value::String(text) if key.is_none_or(|key| key == of) => vec![text.clone()],
        inner => texts(inner, key),
    };
    table.iter().flat_map(text).collect()
}

/// What is kept when parts are left out: so many, then half as many and so on, down to each one. The later parts go first: less hangs on them.
fn without<T>(items: &[T], most: usize) -> Vec<Vec<usize>> {
    let (count, mut all) = (items.len(), Vec::new());
    let mut size = most;
    while size > 0 {
        let mut end = count;
        while end > 0 {
            let begin = end.saturating_sub(size);
            all.push((0..count).filter(|index| !(begin..end).contains(index)).collect());
            end = begin;
        }
        size /= 2;
    }
    all
}

fn gone<'a, T>(items: &'a [T], kept: &'a [usize]) -> impl Iterator<Item = &'a T> {
    items.iter().enumerate().filter(|(index, _)| !kept.contains(index)).map(|(_, item)| item)
}

/// A step in a few words: `create-volume vol-1`.
fn in_short(action: &Value) -> String {
    let Some((name, fields)) = action.as_table().and_then(|table| table.iter().next()) else {
        return action.to_string();
    };
    let of = ["name", "volume", "machine", "image"].iter().find_map(|key| fields.get(key)?.as_str());
    of.map_or_else(|| name.clone(), |of| format!("{name} {of}"))
}

/// Smaller values, and how they are told.
fn smaller(value: &Value) -> Vec<(Value, String)> {
    match value {
        Value::Integer(number) => {
            let mut numbers = vec![1, number / 2, number - 1];
            numbers.retain(|smaller| smaller < number && *smaller > 0);
            numbers.dedup();
            numbers.into_iter().map(|smaller| (smaller.into(), format!("{number} became {smaller}"))).collect()
        }
        Value::String(text) => smaller_length(text),
        _ => Vec::new(),
    }
}

/// Smaller lengths of time: whole seconds, then halves.
fn smaller_length(text: &str) -> Vec<(Value, String)> {
    let Ok(length) = corral_world::text::parse_duration(text) else { return Vec::new() };
    let millis = length.as_millis() as u64;
    let mut lengths = vec![millis / 8, millis / 2];
    // A round number is easier to read, and as good.
    lengths.push(if millis > 1000 { millis / 1000 * 1000 } else { millis });
    lengths.retain(|shorter| *shorter > 0 && Duration::from_millis(*shorter) < length);
    let values = lengths.into_iter().map(|shorter| match shorter % 1000 {
        0 => format!("{}s", shorter / 1000),
        _ => format!("{shorter}ms"),
    });
    values.map(|value| (value.clone().into(), format!("{text} became {value}"))).collect()
}

/// The table with one value somewhere inside smaller.
fn smaller_inside(value: &Value) -> Vec<(Value, String)> {
    let Value::Table(table) = value else { return smaller(value) };
    let mut all = Vec::new();
    for (key, inner) in table {
        for (changed, how) in smaller_inside(inner) {
            let mut table = table.clone();
            table.insert(key.clone(), changed);
            all.push((Value::Table(table), format!("{key} {how}")));
        }
    }
    all
}

fn smaller_faults(planned: &PlannedFault) -> Vec<(PlannedFault, String)> {
    let Ok(value) = Value::try_from(planned) else { return Vec::new() };
    let inside = smaller_inside(&value).into_iter();
    inside.filter_map(|(value, how)| Some((value.try_into().ok()?, how))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let text = r#"
[cluster]
machines = 3
age = "1m30s"
[[step]]
do = { create-volume = { name = "vol-1", replicas = 3 } }
[[step]]
do = { wait = { for = "9s 300ms" } }
[[fault]]
on = { api = "create", kind = "Backup", nth = 4 }
after = "2s"
do = { freeze = { for = "3s", machine = "worker-1" } }
"#;
        toml::from_str(text).unwrap()
    }

    #[test]
    fn candidates_are_smaller_and_say_how() {
        let whats: Vec<String> = of(&plan()).into_iter().map(|candidate| candidate.what).collect();
        insta::assert_snapshot!(whats.join("\n"));
    }

    #[test]
    fn steps_about_objects_that_belong_together_go_together() {
        let text = r#"
[[step]]
do = { set-backup-target = {} }
[[step]]
do = { create-image = { name = "bi-1" } }
[[step]]
do = { create-image = { name = "bi-2" } }
[[step]]
do = { create-volume = { name = "vol-1", image = "bi-1" } }
[[step]]
do = { create-volume = { name = "vol-3" } }
[[step]]
do = { write-volume = { name = "vol-1" } }
[[step]]
do = { restore-volume = { volume = "vol-3", name = "vol-4" } }
"#;
        let plan: Plan = toml::from_str(text).unwrap();
        assert_eq!(families(&plan.steps), [vec![1, 3, 5], vec![2], vec![4, 6]]);
    }

    #[test]
    fn taking_the_first_again_and_again_comes_to_an_end() {
        for choice in 0..3 {
            let mut current = plan();
            let next = |plan: &Plan| {
                let all = of(plan);
                all.get(choice % all.len().max(1)).cloned()
            };
            let mut taken = 0;
            while let Some(candidate) = next(&current) {
                current = candidate.plan;
                taken += 1;
                assert!(taken < 200, "{current:?}");
            }
            assert!(current.steps.len() < 2 && current.faults.is_empty());
        }
    }
}
