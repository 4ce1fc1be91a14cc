//! Seeds as people give them: a number, a range, a git hash.

use std::ops::Range;

/// The seeds that a text stands for.
///
/// # Errors
/// The text is none of them; one line that says what is allowed.
pub fn parse(text: &str) -> Result<Range<u64>, String> {
    let text = text.trim();
    if let Some((from, to)) = text.split_once("..") {
        let (from, to) = (number(from, text)?, number(to, text)?);
        if from >= to {
            return Err(format!("seed range {text} is empty; A..B runs from A up to but not including B"));
        }
        return Ok(from..to);
    }
    let seed = number(text, text)?;
    Ok(seed..seed.saturating_add(1))
}

/// One seed: a decimal number of 64 bits, or a git hash of 40 digits, of which the first 16 count.
///
/// # Errors
/// Neither of them.
pub fn parse_one(text: &str) -> Result<u64, String> {
    number(text.trim(), text)
}

fn number(text: &str, whole: &str) -> Result<u64, String> {
    let is_hash = text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parsed = if is_hash { u64::from_str_radix(&text[..16], 16).ok() } else { text.parse().ok() };
    // The end of a range is a number too: the last one has none after it.
    parsed.filter(|seed| *seed < u64::MAX).ok_or_else(|| {
        format!("{whole:?} is no seed; allowed are a number below 2^64 - 1, a range A..B, a git hash of 40 digits, or (as SEED of the tests) a seed file's path")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_ranges_and_hashes_are_seeds() {
        assert_eq!(parse("7"), Ok(7..8));
        assert_eq!(parse("3..9"), Ok(3..9));
        assert_eq!(parse("00000000000000ff00000000000000000000abcd"), Ok(255..256));
        assert!(parse("9..3").unwrap_err().contains("is empty"));
        assert!(parse("seven").unwrap_err().contains("is no seed"));
        assert!(parse("-1").is_err());
        assert!(parse("").is_err());
        assert!(parse("18446744073709551615").is_err());
    }
}
