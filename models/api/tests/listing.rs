//! Our definitions against lists of field paths: what is right, what is missing, what is no list.

use longhorn_api::listing::{self, ListingError};
use longhorn_api::{Release, crds, kinds};
use proptest::prelude::*;

/// Read from upstream's own definitions.
const FIELDS: &str = include_str!("data/fields-v1.9.2.txt");

#[test]
fn the_release_s_own_list_is_there_in_full() {
    let comparison = listing::compare(FIELDS, Release::V1_9_2).expect("a list");
    assert_eq!(comparison.gaps, Vec::<String>::new());
    assert!(comparison.unlisted.is_empty() && comparison.listed > 500);
    assert!(comparison.render().starts_with("100 % ("));
    let earlier = listing::compare(FIELDS, Release::V1_7_2).expect("a list");
    assert!(earlier.gaps.contains(&"Orphan spec.dataEngine: missing (string)".to_owned()), "{:?}", earlier.gaps);
    assert!(earlier.unlisted.contains(&"Volume spec.engineImage string".to_owned()));
}

#[test]
fn each_gap_is_named() {
    let list = "
# A list

## Orphan (orphans, short lho; versions v1beta2*; conversion None)
```
spec.dataEngine string ['v1', 'v3']
spec.nodeID integer
spec.parameters map<string>
status.conditions[] list<Condition{type,status,colour}>
```
## Node
status.diskStatus{}.scheduledReplica map<integer> n
status.snapshotCheckStatus.lastPeriodicCheckedAt string/date-time n
## Engram
spec.depth integer
";
    insta::assert_snapshot!(listing::compare(list, Release::V1_9_2).expect("a list").render());
}

#[test]
fn what_is_no_list_is_refused() {
    let error = |text| listing::compare(text, Release::V1_9_2).expect_err("not a list");
    assert_eq!(error(""), ListingError::Empty);
    assert_eq!(error("## Node\n\nprose about nodes\n"), ListingError::Empty);
    assert_eq!(error("\nspec.nodeID string\n"), ListingError::NoKind(2));
    assert_eq!(error("## Node\nspec.name string\n## Node\n"), ListingError::Repeated(3, "Node".to_owned()));
}

proptest! {
    #[test]
    fn a_list_without_one_field_misses_nothing_and_names_that_field(at in any::<proptest::sample::Index>()) {
        let definition = kinds::DEFINITIONS[at.index(kinds::DEFINITIONS.len())];
        let lines = crds::field_paths(definition, Release::V1_9_2);
        let typed: Vec<_> = lines.iter().filter(|line| line.contains(" string") || line.contains(" boolean")).collect();
        let left_out = typed[at.index(typed.len())];
        let kept: Vec<_> = lines.iter().filter(|line| line != &left_out).cloned().collect();
        prop_assume!(kept.iter().any(|line| line.contains(" string") || line.contains(" boolean")));
        let list = format!("## {}\n{}\n", definition.kind, kept.join("\n"));
        let comparison = listing::compare(&list, Release::V1_9_2).expect("a list");
        prop_assert!(comparison.gaps.is_empty(), "{:?}", comparison.gaps);
        prop_assert_eq!(comparison.unlisted.len(), 1);
        let path = left_out.split(' ').next().expect("a path");
        let expected = format!("{} {path} ", definition.kind);
        prop_assert!(comparison.unlisted[0].starts_with(&expected));
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "(## [A-Z][a-z]{0,4}\n)?([a-z.{}\\[\\] ]{0,12} (string|map<|list<X\\{)[a-z' \\[\\]n/]{0,9}\n){0,4}") {
        let _ = listing::compare(&text, Release::V1_9_2);
    }
}
