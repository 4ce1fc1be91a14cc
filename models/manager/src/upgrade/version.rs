//! Versions as semantic versioning orders them (`golang.org/x/mod/semver`): a candidate comes before its release.

use std::cmp::Ordering;

/// `v1.8.0-rc2`. What cannot be read comes before everything, as upstream's comparison has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    numbers: Option<(u64, u64, u64)>,
    /// What stands behind the first hyphen, in its parts.
    candidate: Vec<String>,
}

impl Version {
    /// A release.
    pub fn of(major: u64, minor: u64, patch: u64) -> Self {
        Self { numbers: Some((major, minor, patch)), candidate: Vec::new() }
    }

    /// What comes before every candidate of a minor release.
    pub fn first_of(major: u64, minor: u64) -> Self {
        Self { numbers: Some((major, minor, 0)), candidate: vec!["0".to_owned()] }
    }

    /// Reads `v1.8.0` or `v1.8.0-rc2`; what follows a plus sign does not count.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v')?;
        let text = text.split_once('+').map_or(text, |(version, _build)| version);
        let (numbers, candidate) = text.split_once('-').unwrap_or((text, ""));
        let mut parts = numbers.split('.').map(|part| part.parse::<u64>().ok());
        let numbers = (parts.next()??, parts.next()??, parts.next()??);
        if parts.next().is_some() || (text.contains('-') && candidate.is_empty()) {
            return None;
        }
        let candidate =
            if candidate.is_empty() { Vec::new() } else { candidate.split('.').map(str::to_owned).collect() };
        Some(Self { numbers: Some(numbers), candidate })
    }

    /// The first number.
    pub fn major(&self) -> u64 {
        self.numbers.unwrap_or_default().0
    }

    /// The second number.
    pub fn minor(&self) -> u64 {
        self.numbers.unwrap_or_default().1
    }
}

/// A number comes before a word; a shorter candidate before one that begins with it.
fn compare_candidates(one: &[String], other: &[String]) -> Ordering {
    if one.is_empty() || other.is_empty() {
        // No candidate at all is the release, which comes last.
        return one.is_empty().cmp(&other.is_empty());
    }
    for (a, b) in one.iter().zip(other) {
        let order = match (a.parse::<u64>(), b.parse::<u64>()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
            (Err(_), Err(_)) => a.cmp(b),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    one.len().cmp(&other.len())
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| compare_candidates(&self.candidate, &other.candidate))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_come_before_their_release() {
        let ordered =
            ["nonsense", "v1.7.2", "v1.8.0-rc1", "v1.8.0-rc2", "v1.8.0", "v1.8.1", "v1.9.0-dev.00886872c", "v1.9.2"];
        let versions = ordered.map(|text| Version::parse(text).unwrap_or_default());
        assert!(versions.is_sorted_by(|one, other| one < other), "{versions:?}");
        assert!(Version::first_of(1, 8) < versions[2] && Version::first_of(1, 8) > versions[1]);
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in ["", "1.8.0", "v1.8", "v1.8.0.1", "v1.8.x", "v1.8.0-"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
        assert_eq!(Version::parse("v1.8.0+build"), Some(Version::of(1, 8, 0)));
    }
}
