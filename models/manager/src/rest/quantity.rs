//! Sizes as Kubernetes writes them: a number with a binary or decimal unit (`resource.ParseQuantity`).

/// Units and what they multiply by.
const UNITS: [(&str, i128); 12] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
];
/// Digits after the point that are looked at.
const LONGEST_FRACTION: usize = 9;

/// The bytes that a text means, rounded up; none at all if it is empty.
pub fn bytes(text: &str) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    parse(text).ok_or_else(|| format!("error parsing size '{text}'"))
}

fn parse(text: &str) -> Option<i64> {
    let unit = UNITS.iter().find(|(unit, _)| text.ends_with(unit));
    let (number, factor) = unit.map_or((text, 1), |(unit, factor)| (&text[..text.len() - unit.len()], *factor));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !digits(whole) || !digits(fraction) || fraction.len() > LONGEST_FRACTION {
        return None;
    }
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let value: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scaled = value.checked_mul(factor)?;
    i64::try_from((scaled + scale - 1) / scale).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        let read = ["", "2147483648", "2Gi", "1.5Gi", "0.5k", "3M"].map(|text| bytes(text).unwrap());
        assert_eq!(read, [0, 2 << 30, 2 << 30, 3 << 29, 500, 3_000_000]);
        for wrong in ["Gi", "-1", "1 Gi", "1.2.3", "99999999999Ei"] {
            assert_eq!(bytes(wrong).unwrap_err(), format!("error parsing size '{wrong}'"));
        }
    }
}
