//! What holds for all inputs: patches, selectors, pages, and watches as a way to know the state.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::harness::*;

#[derive(Clone, Debug)]
enum Step {
    Create(u8),
    Resize(u8, u8),
    Label(u8, bool),
    Delete(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0..6_u8;
    prop_oneof![
        3 => name.clone().prop_map(Step::Create),
        3 => (name.clone(), any::<u8>()).prop_map(|(name, size)| Step::Resize(name, size)),
        2 => (name.clone(), any::<bool>()).prop_map(|(name, on)| Step::Label(name, on)),
        2 => name.prop_map(Step::Delete),
    ]
}

async fn apply(cluster: &Cluster, step: &Step) {
    let path = |name: &u8| format!("{THINGS}/n{name}");
    match step {
        Step::Create(name) => drop(cluster.post(THINGS, thing(&format!("n{name}"))).await),
        Step::Resize(name, size) => drop(cluster.patch(&path(name), json!({"spec": {"size": size}})).await),
        Step::Label(name, on) => drop(
            cluster
                .patch(&path(name), json!({"metadata": {"labels": {"on": if *on { json!("1") } else { Value::Null }}}}))
                .await,
        ),
        Step::Delete(name) => drop(cluster.delete(&path(name)).await),
    }
}

/// What a client knows that has followed a watch.
async fn follow(cluster: &Cluster, parameters: &str, mut known: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let last = cluster.thing("zz-last").await;
    cluster.patch(&format!("{THINGS}/zz-last"), json!({"metadata": {"labels": {"on": "1"}}})).await.expect(200);
    let mut watch = cluster.watch(THINGS, parameters).await;
    let mut seen = 0;
    loop {
        let event = watch.next().await.expect("an event");
        let object = event["object"].clone();
        let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
        assert!(version(&object) > seen, "versions grow");
        seen = version(&object);
        if name == "zz-last" && version(&object) > version(&last) {
            return known;
        }
        match (event["type"].as_str(), known.contains_key(&name)) {
            (Some("ADDED"), false) | (Some("MODIFIED"), true) => drop(known.insert(name, object)),
            (Some("DELETED"), true) => drop(known.remove(&name)),
            other => panic!("{other:?} {name}"),
        }
        known.remove("zz-last");
    }
}

fn listed(list: &Value) -> BTreeMap<String, Value> {
    let items = list["items"].as_array().expect("items").iter();
    items.map(|item| (item["metadata"]["name"].as_str().expect("a name").to_owned(), item.clone())).collect()
}

fn in_simulation<T: Send + 'static>(body: impl Future<Output = T> + Send + 'static) -> T {
    corral_core::run(corral_core::Options::new(1), body).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn whoever_lists_and_watches_knows_the_state(before in prop::collection::vec(step(), 0..12), after in prop::collection::vec(step(), 0..20)) {
        in_simulation(async move {
            let cluster = Cluster::start().await;
            for step in &before {
                apply(&cluster, step).await;
            }
            let all = cluster.get(THINGS).await.expect(200);
            let some = cluster.get(&format!("{THINGS}?labelSelector=on")).await.expect(200);
            for step in &after {
                apply(&cluster, step).await;
            }
            let expected = listed(&cluster.get(THINGS).await.expect(200));
            let selected = listed(&cluster.get(&format!("{THINGS}?labelSelector=on")).await.expect(200));
            let from = format!("resourceVersion={}", version(&all));
            assert_eq!(follow(&cluster, &from, listed(&all)).await, expected);
            cluster.delete(&format!("{THINGS}/zz-last")).await.expect(200);
            let from = format!("resourceVersion={}&labelSelector=on", version(&some));
            assert_eq!(follow_selected(&cluster, &from, listed(&some)).await, selected);
        });
    }

    #[test]
    fn pages_together_are_the_list_of_their_moment(count in 0..15_usize, limit in 1..6_usize, steps in prop::collection::vec(step(), 0..10)) {
        in_simulation(async move {
            let cluster = Cluster::start().await;
            for number in 0..count {
                cluster.thing(&format!("n{number}")).await;
            }
            let whole = listed(&cluster.get(THINGS).await.expect(200));
            let mut pages = BTreeMap::new();
            let mut token = String::new();
            let mut steps = steps.iter();
            loop {
                let page = cluster.get(&format!("{THINGS}?limit={limit}&continue={token}")).await.expect(200);
                let size = pages.len();
                pages.extend(listed(&page));
                assert!(pages.len() - size <= limit);
                token = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
                if token.is_empty() {
                    break;
                }
                if let Some(step) = steps.next() {
                    apply(&cluster, step).await;
                }
            }
            assert_eq!(pages, whole);
        });
    }

    #[test]
    fn a_merge_patch_makes_one_state_of_another(from in params(), to in params()) {
        in_simulation(async move {
            let cluster = Cluster::start().await;
            let mut object = thing("a");
            object["spec"]["params"] = json!(from);
            cluster.post(THINGS, object).await.expect(201);
            let mut patch: serde_json::Map<String, Value> = from.keys().map(|key| (key.clone(), Value::Null)).collect();
            patch.extend(to.iter().map(|(key, value)| (key.clone(), json!(value))));
            let patched = cluster.patch(&format!("{THINGS}/a"), json!({"spec": {"params": patch}})).await.expect(200);
            assert_eq!(patched["spec"]["params"], json!(to));
            let again = cluster.patch(&format!("{THINGS}/a"), json!({"spec": {"params": to}})).await.expect(200);
            assert_eq!(again, patched, "a patch to what is there changes nothing");
        });
    }
}

/// As [`follow`], but the mark at the end comes into view by its label.
async fn follow_selected(
    cluster: &Cluster,
    parameters: &str,
    mut known: BTreeMap<String, Value>,
) -> BTreeMap<String, Value> {
    cluster.post(THINGS, thing_with("zzz-end", json!({"labels": {"on": "1"}}))).await.expect(201);
    let mut watch = cluster.watch(THINGS, parameters).await;
    loop {
        let event = watch.next().await.expect("an event");
        let object = event["object"].clone();
        let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
        if name == "zzz-end" {
            return known;
        }
        match (event["type"].as_str(), known.contains_key(&name)) {
            (Some("ADDED"), false) | (Some("MODIFIED"), true) => drop(known.insert(name, object)),
            (Some("DELETED"), true) => drop(known.remove(&name)),
            other => panic!("{other:?} {name}"),
        }
    }
}

fn params() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map("[a-f]", "[a-z]{0,3}", 0..6)
}
