//! Seeds as people give them: a number, a range, a git hash.

use std::ops::Range;

/// The seeds that a text stands for.
///
/// # Errors
/// The text is none of them; one line that says what is allowed.
pub fn parse(text: &str) -> Result<Range<u64>, String> {
    let text = text.trim();
    if let Some((from, to)) = text.split_once("..") {
        let (from, to) = (number(from, text, OTHERS)?, number(to, text, OTHERS)?);
        if from >= to {
            return Err(format!("seed range {text} is empty; A..B runs from A up to but not including B"));
        }
        return Ok(from..to);
    }
    let seed = number(text, text, OTHERS)?;
    let end = seed.checked_add(1);
    end.map(|end| seed..end).ok_or_else(|| format!("{text:?} is no seed of a range; allowed are those below 2^64 - 1"))
}

/// One seed: a decimal number of 64 bits, or a git hash of 40 digits, of which the first 16 count.
///
/// # Errors
/// Neither of them.
pub fn parse_one(text: &str) -> Result<u64, String> {
    number(text.trim(), text, "")
}

/// What is allowed besides, where it is not one seed that is asked for.
const OTHERS: &str = ", a range A..B, or (as SEED of the tests) a seed file's path";

fn number(text: &str, whole: &str, others: &str) -> Result<u64, String> {
    let is_hash = text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parsed = if is_hash { u64::from_str_radix(&text[..16], 16).ok() } else { text.parse().ok() };
    parsed.ok_or_else(|| {
        format!("{whole:?} is no seed; allowed are a number below 2^64, a git hash of 40 digits{others}")
    })
}

/// For serde: a seed in a file. TOML's integers have a sign: a seed that is larger than any of them stands as text.
pub(crate) mod stored {
    use std::fmt;

    use serde::de::{Deserializer, Error, Unexpected, Visitor};
    use serde::ser::Serializer;

    pub(crate) fn serialize<S: Serializer>(seed: &u64, to: S) -> Result<S::Ok, S::Error> {
        match i64::try_from(*seed) {
            Ok(number) => to.serialize_i64(number),
            Err(_) => to.collect_str(seed),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        from.deserialize_any(Stored)
    }

    struct Stored;

    impl Visitor<'_> for Stored {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number below 2^64")
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
            Ok(number)
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<u64, E> {
            u64::try_from(number).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
            super::parse_one(text).map_err(E::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize, serde::Serialize)]
    struct Stands {
        #[serde(with = "stored")]
        seed: u64,
    }

    #[test]
    fn every_seed_can_be_stored() {
        for seed in [0, 8_839_201, 1 << 63, u64::MAX] {
            // A table, as seed files are written.
            let table = toml::Table::try_from(Stands { seed }).unwrap();
            assert_eq!(toml::from_str::<Stands>(&table.to_string()).unwrap(), Stands { seed });
            assert_eq!(toml::from_str::<Stands>(&format!("seed = {seed}")).unwrap(), Stands { seed });
        }
        assert_eq!(toml::Table::try_from(Stands { seed: 7 }).unwrap().to_string(), "seed = 7\n");
        let refused = toml::from_str::<Stands>("seed = -1").unwrap_err();
        assert!(refused.message().contains("expected a number below 2^64"), "{refused}");
        assert!(toml::from_str::<Stands>("seed = \"seven\"").is_err());
    }

    #[test]
    fn numbers_ranges_and_hashes_are_seeds() {
        assert_eq!(parse("7"), Ok(7..8));
        assert_eq!(parse("3..9"), Ok(3..9));
        assert_eq!(parse("00000000000000ff00000000000000000000abcd"), Ok(255..256));
        assert!(parse("9..3").unwrap_err().contains("is empty"));
        assert!(parse("seven").unwrap_err().contains("is no seed"));
        assert!(parse("-1").is_err());
        assert!(parse("").is_err());
        // The last one is a seed, and in no range.
        assert_eq!(parse_one("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(parse("18446744073709551614"), Ok(u64::MAX - 1..u64::MAX));
        assert!(parse("18446744073709551615").unwrap_err().contains("is no seed"));
        assert!(parse_one("18446744073709551616").is_err());
    }
}
