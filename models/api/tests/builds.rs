//! Releases, defects and builds: what a person may write, and what comes of it.

use std::collections::BTreeSet;

use longhorn_api::builds::BuildError;
use longhorn_api::defects::{self, Affected, Component};
use longhorn_api::releases::ReleaseLine;
use longhorn_api::{Build, ClientBuild, ClientRelease, Defect, Release, Selection};
use proptest::prelude::*;

fn subset() -> impl Strategy<Value = BTreeSet<Defect>> {
    let all: Vec<_> = Defect::all().collect();
    let most = all.len();
    proptest::sample::subsequence(all, 0..=most).prop_map(|defects| defects.into_iter().collect())
}

fn of_line<R: ReleaseLine>(defects: &BTreeSet<Defect>) -> BTreeSet<Defect> {
    defects.iter().copied().filter(|defect| R::includes(defect.record().component)).collect()
}

fn check_tag<R: ReleaseLine>(release: R, cured: &BTreeSet<Defect>, added: &BTreeSet<Defect>) {
    let cured = of_line::<R>(cured);
    let added: BTreeSet<_> = of_line::<R>(added).difference(&cured).copied().collect();
    let build = Build::new(release, cured.clone(), added.clone()).expect("nothing contradicts");
    let tag = build.image_tag();
    assert!(tag.len() <= 128 && tag.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)), "{tag}");
    assert_eq!(Build::parse_tag(&tag).as_ref(), Ok(&build), "{tag}");
    for defect in Defect::all() {
        let published = Build::published(release).has(defect);
        let expected = added.contains(&defect) || (published && !cured.contains(&defect));
        assert_eq!(build.has(defect), expected, "{tag} {defect}");
    }
    assert_eq!(build.defects().collect::<BTreeSet<_>>(), Defect::all().filter(|defect| build.has(*defect)).collect());
}

proptest! {
    #[test]
    fn a_build_is_its_tag(
        release in proptest::sample::select(Release::ALL),
        client in proptest::sample::select(ClientRelease::ALL),
        cured in subset(),
        added in subset(),
    ) {
        check_tag(release, &cured, &added);
        check_tag(client, &cured, &added);
    }

    #[test]
    fn no_text_makes_a_tag_s_reader_panic(tag in "(v1\\.8\\.1|strict|x)?(-cured\\.[0-9_a-z.]{0,12})?(-defect\\.[0-9./_]{0,9})?") {
        if let Ok(build) = Build::<Release>::parse_tag(&tag) {
            prop_assert_eq!(Build::parse_tag(&build.image_tag()), Ok(build));
        }
    }
}

#[test]
fn tags() {
    let tag = |release, cured: &[Defect], added: &[Defect]| {
        Build::new(release, cured.iter().copied(), added.iter().copied()).map(|build| build.image_tag())
    };
    let both = [Defect::Issue10740, Defect::Issue9530];
    assert_eq!(tag(Release::V1_8_0, &[], &[]).as_deref(), Ok("v1.8.0"));
    assert_eq!(tag(Release::V1_8_1, &both[..1], &[]).as_deref(), Ok("v1.8.1-cured.10740"));
    assert_eq!(tag(Release::V1_8_1, &both[..1], &both[1..]).as_deref(), Ok("v1.8.1-cured.10740-defect.9530"));
    let dev = Release::V1_9_0_DEV_00886872C;
    let cured = tag(dev, &[Defect::Issue10791Finalizer], &[]);
    assert_eq!(cured.as_deref(), Ok("v1.9.0-dev.00886872c-cured.10791_dadf403da"));
    // What changes nothing leaves no trace.
    assert_eq!(tag(Release::V1_8_2, &both[..1], &[Defect::Issue13685]).as_deref(), Ok("v1.8.2"));
    assert_eq!(
        Build::new(Release::V1_8_1, [Defect::Issue10740], [Defect::Issue9530]).expect("a build").to_string(),
        "v1.8.1 without 10740 with 9530"
    );
}

#[test]
fn what_is_not_a_build_is_explained() {
    let message = |result: Result<Build, BuildError>| result.expect_err("not a build").to_string();
    assert_eq!(
        message(Build::parse_tag("v1.8.3")),
        "unknown release \"v1.8.3\"; the nearest known is v1.8.2 (known: v1.7.2, v1.8.0-rc1, v1.8.0-rc2, v1.8.0, v1.8.1, \
         v1.8.2, v1.9.0-dev.00886872c, v1.9.2)"
    );
    assert_eq!("1.8.0-rc1".parse::<Release>().expect_err("none").nearest, "v1.8.0-rc1");
    assert_eq!("1.9.2".parse::<Release>().expect_err("none").nearest, "v1.9.2");
    assert_eq!("tolerent".parse::<ClientRelease>().expect_err("none").nearest, "tolerant");
    let unknown = "10057".parse::<Defect>().expect_err("neither half");
    assert_eq!(unknown.nearest, "10057/wait");
    assert!(unknown.to_string().contains("10057/handler, 10057/wait, 10120"), "{unknown}");
    let one = [Defect::Issue10740];
    assert_eq!(message(Build::new(Release::V1_8_1, one, one)), "defect 10740 is both cured and added");
    assert_eq!(
        message(Build::new(Release::V1_8_1, [], [Defect::Issue10120])),
        "defect 10120 is one of test-client, which is released on its own"
    );
}

fn selection(release: Release, cured: &[Defect], added: &[Defect]) -> Selection {
    Selection {
        release,
        cured: cured.iter().copied().collect(),
        added: added.iter().copied().collect(),
        ..Selection::default()
    }
}

#[test]
fn defect_10120_selects_the_client_and_leaves_longhorn_alone() {
    let client = |selection: &Selection| selection.client().expect("a client").image_tag();
    let issue = [Defect::Issue10120];
    for release in [Release::V1_7_2, Release::V1_8_0] {
        let strict = selection(release, &[], &issue);
        assert_eq!(client(&strict), "strict");
        assert!(strict.client().expect("a client").has(Defect::Issue10120));
        assert_eq!(strict.longhorn(), Ok(Build::published(release)));
        assert!(!strict.longhorn().expect("a build").has(Defect::Issue10120));
    }
    // The tolerant client is what runs anyway, so taking the defect away is no mistake.
    assert_eq!(client(&selection(Release::V1_8_0, &issue, &[])), "tolerant");
    assert_eq!(client(&Selection::default()), "tolerant");
    assert_eq!(selection(Release::V1_8_0, &[], &[]).client(), Ok(ClientBuild::default()));
    // Longhorn's defects do not reach the client.
    let other = selection(Release::V1_8_0, &[Defect::Issue10740], &[Defect::Issue9530]);
    assert_eq!(client(&other), "tolerant");
    assert_eq!(other.longhorn().expect("a build").image_tag(), "v1.8.0-cured.10740-defect.9530");
    assert!(selection(Release::V1_8_0, &issue, &issue).longhorn().is_err(), "a contradiction is one on every side");
}

#[test]
fn a_defect_is_cured_on_both_ends_of_an_upgrade() {
    let upgrade =
        Selection { from: Some(Release::V1_7_2), ..selection(Release::V1_8_0_RC1, &[Defect::Issue10057Wait], &[]) };
    let from = upgrade.upgrade_from().expect("a build").expect("an upgrade");
    assert_eq!(from.image_tag(), "v1.7.2-cured.10057_wait");
    let to = upgrade.longhorn().expect("a build");
    assert!(to.has(Defect::Issue10057Handler) && !to.has(Defect::Issue10057Wait));
    assert_eq!(Selection::default().upgrade_from(), Ok(None));
}

#[test]
fn releases_are_ordered() {
    let names: Vec<_> = Release::ALL.iter().map(ToString::to_string).collect();
    let expected =
        ["v1.7.2", "v1.8.0-rc1", "v1.8.0-rc2", "v1.8.0", "v1.8.1", "v1.8.2", "v1.9.0-dev.00886872c", "v1.9.2"];
    assert_eq!(names, expected);
    assert!(Release::ALL.is_sorted() && ClientRelease::ALL.is_sorted());
    assert!(Release::ALL.iter().all(|release| release.to_string().parse() == Ok(*release)));
    assert_eq!((Release::default(), ClientRelease::default()), (Release::V1_9_2, ClientRelease::Tolerant));
    assert!(Release::V1_8_0.at_least(Release::V1_8_0) && Release::V1_8_0.at_least(Release::V1_8_0_RC1));
    assert!(Release::V1_7_2.before(Release::V1_8_0_RC1) && !Release::V1_8_0.before(Release::V1_8_0));
    let read: Result<Release, _> = serde_json::from_str("\"v1.8.O\"");
    assert!(read.expect_err("an O is no zero").to_string().contains("nearest known is v1.8.2"));
    assert_eq!(serde_json::to_string(&Defect::Issue10057Wait).expect("it can be written"), "\"10057/wait\"");
}

#[test]
fn the_table_is_sound() {
    let ids: Vec<_> = defects::TABLE.iter().map(|record| record.id).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    let numbered = |id: &str| {
        let (number, part) = id.split_once('/').unwrap_or((id, ""));
        let (is_found_here, number) = number.strip_prefix('c').map_or((false, number), |number| (true, number));
        (is_found_here, number.parse::<u32>().expect("an issue's number, or one of ours"), part.to_owned())
    };
    assert!(ids.is_sorted_by_key(|id| numbered(id)));
    assert!(Defect::all().is_sorted());
    for record in defects::TABLE {
        assert_eq!(record.id.parse(), Ok(record.defect));
        assert_eq!(record.defect.record().id, record.id);
        assert!(record.id.chars().all(|c| c.is_ascii_alphanumeric() || c == '/'), "a tag cannot hold {}", record.id);
        let of_client = record.component == Component::TestClient;
        assert_eq!(matches!(record.affected, Affected::TestClient(_)), of_client, "{}", record.id);
        assert!(!record.cause.contains('\n') && !record.cause.is_empty() && !record.cure.is_empty());
        if let Affected::Longhorn(releases) = record.affected {
            assert!(
                releases.is_sorted() && releases.iter().all(|release| Build::published(*release).has(record.defect))
            );
        }
    }
}

#[test]
fn the_table_as_people_read_it() {
    insta::assert_snapshot!("defects", defects::render());
}

#[test]
fn a_silenced_defect_is_gone_and_leaves_no_trace() {
    let mut selection = selection(Release::V1_8_1, &[], &[Defect::Issue9530]);
    let loud = selection.longhorn().expect("a build");
    selection.silenced = [Defect::Issue10740, Defect::Issue9530, Defect::Issue10120].into();
    let quiet = selection.longhorn().expect("a build");
    assert_eq!(quiet.image_tag(), loud.image_tag());
    assert!([Defect::Issue10740, Defect::Issue9530].iter().all(|defect| loud.has(*defect) && !quiet.has(*defect)));
    let mut strict = Selection { added: [Defect::Issue10120].into(), ..Selection::default() };
    let tag = strict.client().expect("a client").image_tag();
    strict.silenced = [Defect::Issue10120].into();
    let silenced = strict.client().expect("a client");
    assert_eq!(silenced.image_tag(), tag);
    assert!(!silenced.has(Defect::Issue10120));
}
