//! The plan of a run in words: its cluster, steps and faults, out of what the header says. Scenarios own the form; keys and values are told as found.

use serde_json::Value;

/// A plan in words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Scenario, seed, arm and cluster: name and value.
    pub facts: Vec<(String, String)>,
    pub steps: Vec<String>,
    pub faults: Vec<String>,
}

impl Plan {
    pub fn of(run: &Value) -> Plan {
        let plan = &run["plan"];
        let mut facts: Vec<(String, String)> = Vec::new();
        for name in ["scenario", "seed"] {
            facts.extend(run.get(name).map(|value| (name.to_owned(), words(value))));
        }
        for table in [&run["arm"], &plan["cluster"]] {
            let entries = table.as_object().into_iter().flatten();
            facts.extend(entries.map(|(name, value)| (name.clone(), words(value))));
        }
        let listed = |name: &str| plan[name].as_array().into_iter().flatten();
        Plan {
            facts,
            steps: listed("step").map(|step| words(step.get("do").unwrap_or(step))).collect(),
            faults: listed("fault").map(fault).collect(),
        }
    }
}

/// A fault: what it does, and what sets it off.
fn fault(fault: &Value) -> String {
    let mut said = words(fault.get("do").unwrap_or(fault));
    if let Some(on) = fault.get("on") {
        said.push_str(&format!(", on {}", words(on)));
    }
    if let Some(after) = fault.get("after") {
        said.push_str(&format!(", after {}", words(after)));
    }
    said
}

/// A value as a line: `{"fill": {"volume": "v", "blocks": 1}}` is `fill blocks 1, volume v`.
fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(words).collect::<Vec<_>>().join(", "),
        Value::Object(entries) => {
            let entries = entries.iter().map(|(name, value)| match words(value) {
                empty if empty.is_empty() => name.clone(),
                said => format!("{name} {said}"),
            });
            entries.collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_plan_is_told_in_words_whatever_its_keys() {
        let run = json!({
            "scenario": "s", "seed": 7, "arm": { "release": "v1", "defect": ["1", "2"] },
            "plan": {
                "cluster": { "machines": 3 },
                "step": [{ "do": { "fill": { "volume": "v", "blocks": 1 } } }, { "do": { "pull": {} } }],
                "fault": [{ "after": "200ms", "on": { "api": "create" }, "do": { "slow": { "for": "30s" } } }],
            },
        });
        let plan = Plan::of(&run);
        let facts: Vec<String> = plan.facts.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(facts, ["scenario=s", "seed=7", "defect=1, 2", "release=v1", "machines=3"]);
        assert_eq!(plan.steps, ["fill blocks 1, volume v", "pull"]);
        assert_eq!(plan.faults, ["slow for 30s, on api create, after 200ms"]);
        assert_eq!(Plan::of(&serde_json::Value::Null), Plan::default());
    }
}
