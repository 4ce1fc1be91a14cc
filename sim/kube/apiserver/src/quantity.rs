//! Amounts of things: `1024Mi`, `0.5`, `100m`; and the one way in which the server writes each of them.
//!
//! Facts: apimachinery's `api/resource/quantity.go`.

use serde_json::Value;

const NANO: i128 = 1_000_000_000;
const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// An amount in billionths, and whether it was written in powers of 1024.
fn parse(text: &str) -> Option<(i128, bool)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '+' | '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() || whole.len() > 18 {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut billionths: i128 = 0;
    for index in 0..9 {
        let digit = fraction.as_bytes().get(index).map_or(Some(0), |byte| (*byte as char).to_digit(10))?;
        billionths = billionths * 10 + i128::from(digit);
    }
    let amount = sign * (whole * NANO + billionths);
    if let Some(power) = BINARY.iter().skip(1).position(|one| *one == suffix) {
        return Some((amount.checked_mul(1024_i128.checked_pow(power as u32 + 1)?)?, true));
    }
    let exponent = match suffix.strip_prefix(['e', 'E']).filter(|rest| !rest.is_empty()) {
        Some(exponent) => exponent.parse().ok()?,
        None => DECIMAL.iter().find(|(name, _)| *name == suffix)?.1,
    };
    let factor = 10_i128.checked_pow(u32::try_from(exponent.abs()).ok()?)?;
    let scaled = if exponent >= 0 { amount.checked_mul(factor)? } else { amount / factor };
    Some((scaled, false))
}

/// How the server writes an amount; none if it is no amount.
pub(crate) fn canonical(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let (amount, binary) = parse(&text)?;
    if amount == 0 {
        return Some("0".into());
    }
    if binary && amount % NANO == 0 && (amount / NANO).abs() >= 1024 {
        let mut number = amount / NANO;
        let mut power = 0;
        while number % 1024 == 0 && power + 1 < BINARY.len() {
            number /= 1024;
            power += 1;
        }
        return Some(format!("{number}{}", BINARY[power]));
    }
    let mut number = amount;
    let mut step = 0;
    while number % 1000 == 0 && step + 1 < DECIMAL.len() {
        number /= 1000;
        step += 1;
    }
    Some(format!("{number}{}", DECIMAL[step].0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_amount_has_one_form() {
        for (written, form) in [
            (json!("1024Mi"), "1Gi"),
            (json!("1Gi"), "1Gi"),
            (json!("1.5Gi"), "1536Mi"),
            (json!("1000m"), "1"),
            (json!("0.5"), "500m"),
            (json!(1000), "1k"),
            (json!("1e3"), "1k"),
            (json!("100"), "100"),
            (json!("0"), "0"),
            (json!("10737418240"), "10737418240"),
        ] {
            assert_eq!(canonical(&written).as_deref(), Some(form), "{written}");
        }
        assert_eq!(canonical(&json!("lots")), None);
    }
}
