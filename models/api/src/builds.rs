//! A build: a release with some defects cured and some added. It is what code asks, and what the tag of a container image says.
//!
//! `longhornio/longhorn-manager:v1.8.1-cured.10740` is v1.8.1 without that defect; a mixed-version upgrade is two such images in one
//! cluster. A [`Selection`] is what a person chose for a run (`--release`, `--from`, `--cured`, `--defect`): it hands each defect to
//! the side that can have it, Longhorn or the test client.

use std::collections::BTreeSet;
use std::fmt;

use crate::defects::{Component, Defect, UnknownDefect};
use crate::releases::{ClientRelease, Release, ReleaseLine, UnknownRelease};

/// A release of line `R` with defects cured and added.
///
/// Curing what the release has not, or adding what it has, changes nothing and leaves no trace, so equal builds behave the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Build<R = Release> {
    release: R,
    cured: BTreeSet<Defect>,
    added: BTreeSet<Defect>,
    silenced: BTreeSet<Defect>,
}

/// A build of the test client.
pub type ClientBuild = Build<ClientRelease>;

/// Why there is no such build.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum BuildError {
    /// The release is not modelled.
    #[error(transparent)]
    Release(#[from] UnknownRelease),
    /// A defect is not in the table.
    #[error(transparent)]
    Defect(#[from] UnknownDefect),
    /// One defect is to be there and not to be there.
    #[error("defect {0} is both cured and added")]
    Contradiction(Defect),
    /// The defect is in a component that this release does not include.
    #[error("defect {0} is one of {1}, which is released on its own")]
    ForeignDefect(Defect, Component),
}

/// What a container image's tag may have.
const LONGEST_TAG: usize = 128;
/// What stands before defects that are written as bits.
const BITS: char = 'x';
const CURED: &str = "-cured.";
const ADDED: &str = "-defect.";

impl<R: ReleaseLine> Build<R> {
    /// The release as it was published.
    pub const fn published(release: R) -> Self {
        Self { release, cured: BTreeSet::new(), added: BTreeSet::new(), silenced: BTreeSet::new() }
    }

    /// The release without `cured` and with `added`.
    pub fn new(
        release: R,
        cured: impl IntoIterator<Item = Defect>,
        added: impl IntoIterator<Item = Defect>,
    ) -> Result<Self, BuildError> {
        let cured: BTreeSet<_> = cured.into_iter().collect();
        let added: BTreeSet<_> = added.into_iter().collect();
        if let Some(defect) = cured.intersection(&added).next() {
            return Err(BuildError::Contradiction(*defect));
        }
        for defect in cured.union(&added) {
            let component = defect.record().component;
            if !R::includes(component) {
                return Err(BuildError::ForeignDefect(*defect, component));
            }
        }
        let published_with = |defect: &Defect| release.published_with(defect.record());
        Ok(Self {
            release,
            cured: cured.into_iter().filter(published_with).collect(),
            added: added.into_iter().filter(|defect| !published_with(defect)).collect(),
            silenced: BTreeSet::new(),
        })
    }

    /// Without these defects, and with the same tag: a run of it is the run of the other to the nanosecond, up to where a defect makes a difference.
    #[must_use]
    pub fn silencing(mut self, silenced: &BTreeSet<Defect>) -> Self {
        self.silenced.extend(silenced.iter().filter(|defect| R::includes(defect.record().component)));
        self
    }

    /// The release it is made from.
    pub fn release(&self) -> R {
        self.release
    }

    /// Whether it has the defect. A defect of another line's component it never has.
    pub fn has(&self, defect: Defect) -> bool {
        let is_published = self.release.published_with(defect.record()) && !self.cured.contains(&defect);
        (self.added.contains(&defect) || is_published) && !self.silenced.contains(&defect)
    }

    /// All defects it has.
    pub fn defects(&self) -> impl Iterator<Item = Defect> {
        Defect::all().filter(|defect| self.has(*defect))
    }

    /// The tag of its container images: `v1.8.1`, `v1.8.1-cured.10740`, `v1.9.2-defect.10057_wait.9530`.
    ///
    /// A tag holds letters, digits, `_`, `.` and `-`, so the `/` of an id is written `_`; no id has one of its own. Where the ids take more room than
    /// a tag has, they are written as bits: `v1.9.2-cured.x1f3a`.
    pub fn image_tag(&self) -> String {
        let tag = |ids: fn(&BTreeSet<Defect>) -> String| {
            let mut tag = self.release.to_string();
            for (marker, defects) in
                [(CURED, &self.cured), (ADDED, &self.added)].iter().filter(|(_, all)| !all.is_empty())
            {
                tag += marker;
                tag += &ids(defects);
            }
            tag
        };
        let readable = tag(|defects| {
            let ids: Vec<_> = defects.iter().map(|defect| defect.id().replace('/', "_")).collect();
            ids.join(".")
        });
        if readable.len() <= LONGEST_TAG { readable } else { tag(bits) }
    }

    /// Reads a tag that [`Build::image_tag`] wrote.
    pub fn parse_tag(tag: &str) -> Result<Self, BuildError> {
        let (rest, added) = tag.split_once(ADDED).map_or((tag, None), |(rest, ids)| (rest, Some(ids)));
        let (release, cured) = rest.split_once(CURED).map_or((rest, None), |(rest, ids)| (rest, Some(ids)));
        Self::new(release.parse()?, parse_ids(cured)?, parse_ids(added)?)
    }
}

/// Defects as bits, by their places in the table.
fn bits(defects: &BTreeSet<Defect>) -> String {
    let bit = |(place, defect)| u64::from(defects.contains(&defect)) << place;
    format!("{BITS}{:x}", Defect::all().enumerate().map(bit).fold(0, std::ops::BitOr::bitor))
}

fn parse_ids(ids: Option<&str>) -> Result<Vec<Defect>, UnknownDefect> {
    let bits = ids.and_then(|ids| u64::from_str_radix(ids.strip_prefix(BITS)?, 16).ok());
    if let Some(bits) = bits {
        return Ok(Defect::all()
            .enumerate()
            .filter(|(place, _)| bits >> place & 1 == 1)
            .map(|(_, defect)| defect)
            .collect());
    }
    ids.into_iter().flat_map(|ids| ids.split('.')).map(|id| id.replace('_', "/").parse()).collect()
}

impl<R: ReleaseLine> Default for Build<R> {
    fn default() -> Self {
        Self::published(R::DEFAULT)
    }
}

impl<R: ReleaseLine> fmt::Display for Build<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.release)?;
        for (word, defects) in [("without", &self.cured), ("with", &self.added)] {
            for (index, defect) in defects.iter().enumerate() {
                let lead = if index == 0 { format!(" {word} ") } else { ", ".to_owned() };
                write!(formatter, "{lead}{defect}")?;
            }
        }
        Ok(())
    }
}

/// What was chosen for a run or for one arm of a seed file.
///
/// A defect that is cured or added is so in every build of the run that can have it: in the release an upgrade starts from too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The Longhorn release.
    pub release: Release,
    /// The release an upgrade starts from.
    pub from: Option<Release>,
    /// Defects to take away.
    pub cured: BTreeSet<Defect>,
    /// Defects to add.
    pub added: BTreeSet<Defect>,
    /// Defects to take away without a trace in images' tags; see [`Build::silencing`].
    pub silenced: BTreeSet<Defect>,
}

impl Selection {
    /// The Longhorn that runs, or that an upgrade leads to.
    pub fn longhorn(&self) -> Result<Build, BuildError> {
        self.build(self.release)
    }

    /// The Longhorn that an upgrade starts from.
    pub fn upgrade_from(&self) -> Result<Option<Build>, BuildError> {
        self.from.map(|release| self.build(release)).transpose()
    }

    /// The test client: the tolerant one unless a defect says otherwise (`--defect 10120` makes it the strict one).
    pub fn client(&self) -> Result<ClientBuild, BuildError> {
        let build = self.loud(ClientRelease::DEFAULT)?;
        // A published release that has exactly these defects is called by its name.
        let same = |release: &ClientRelease| {
            Defect::all().all(|defect| release.published_with(defect.record()) == build.has(defect))
        };
        let build = ClientRelease::ALL.iter().copied().find(same).map_or(build, Build::published);
        Ok(build.silencing(&self.silenced))
    }

    fn build<R: ReleaseLine>(&self, release: R) -> Result<Build<R>, BuildError> {
        Ok(self.loud(release)?.silencing(&self.silenced))
    }

    fn loud<R: ReleaseLine>(&self, release: R) -> Result<Build<R>, BuildError> {
        if let Some(defect) = self.cured.intersection(&self.added).next() {
            return Err(BuildError::Contradiction(*defect));
        }
        let own = |defect: &Defect| R::includes(defect.record().component);
        Build::new(release, self.cured.iter().copied().filter(own), self.added.iter().copied().filter(own))
    }
}
