//! Flags as Go's `flag` package and urfave/cli (version 1) read them: one or two dashes, a value behind `=` or in the
//! next argument. Before a command flags end at the first argument that is none; behind it they may stand anywhere.

/// A flag that a command knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    name: &'static str,
    takes_value: bool,
}

impl Flag {
    /// Every command has it.
    pub const HELP: Flag = Flag::switch("help");

    /// A flag with a value.
    pub const fn with_value(name: &'static str) -> Self {
        Self { name, takes_value: true }
    }

    /// A flag that is there or not.
    pub const fn switch(name: &'static str) -> Self {
        Self { name, takes_value: false }
    }

    fn is(self, name: &str) -> bool {
        // The one flag with a short form.
        self.name == name || (self.name == "help" && name == "h")
    }
}

/// Flags with their values, and what is left.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Parsed {
    values: Vec<(&'static str, String)>,
    pub arguments: Vec<String>,
}

impl Parsed {
    /// Flags first, then arguments.
    pub fn strict(known: &[Flag], arguments: &[String]) -> Result<Self, String> {
        let mut parsed = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.as_slice().first() {
            if argument == "--" {
                rest.next();
                break;
            }
            let Some((name, value)) = split(argument) else { break };
            rest.next();
            let flag = known.iter().find(|flag| flag.is(name));
            let flag = flag.ok_or_else(|| format!("flag provided but not defined: -{name}"))?;
            let value = match (value, flag.takes_value) {
                (Some(value), _) => value.to_owned(),
                (None, false) => "true".to_owned(),
                (None, true) => rest.next().ok_or_else(|| format!("flag needs an argument: -{name}"))?.clone(),
            };
            parsed.values.push((flag.name, value));
        }
        parsed.arguments = rest.as_slice().to_vec();
        Ok(parsed)
    }

    /// Flags anywhere: those that are known are moved to the front, each with the argument behind it if that may be its
    /// value.
    pub fn anywhere(known: &[Flag], arguments: &[String]) -> Result<Self, String> {
        let is_known = |argument: &str| split(argument).is_some_and(|(name, _)| known.iter().any(|flag| flag.is(name)));
        let (mut front, mut back) = (Vec::new(), Vec::new());
        let mut value_may_follow = false;
        for (index, argument) in arguments.iter().enumerate() {
            if is_known(argument) {
                front.push(argument.clone());
                value_may_follow = !argument.contains('=');
            } else if value_may_follow {
                value_may_follow = false;
                front.push(argument.clone());
            } else if argument == "--" {
                back.insert(0, argument.clone());
                back.extend_from_slice(&arguments[index + 1..]);
                break;
            } else {
                back.push(argument.clone());
            }
        }
        front.extend(back);
        Self::strict(known, &front)
    }

    /// A flag's value; empty if it was not given.
    pub fn value(&self, name: &str) -> &str {
        self.values.iter().rev().find(|(known, _)| *known == name).map_or("", |(_, value)| value.as_str())
    }

    /// All values of a flag that may come several times.
    pub fn values(&self, name: &str) -> Vec<String> {
        self.values.iter().filter(|(known, _)| *known == name).map(|(_, value)| value.clone()).collect()
    }

    /// A flag's value, or what holds without it.
    pub fn value_or<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        if self.values.iter().any(|(known, _)| *known == name) { self.value(name) } else { default }
    }

    /// A number, or what holds without it.
    pub fn number(&self, name: &'static str, default: i64) -> Result<i64, String> {
        let text = self.value_or(name, "");
        if text.is_empty() {
            return Ok(default);
        }
        text.parse().map_err(|_| format!("invalid value {text:?} for flag -{name}: parse error"))
    }

    /// A size in bytes, perhaps with a unit (docker/go-units `RAMInBytes`); none if the flag is absent or empty.
    pub fn size(&self, name: &str) -> Result<Option<i64>, String> {
        match self.value(name) {
            "" => Ok(None),
            text => bytes(text).map(Some).ok_or_else(|| format!("invalid size: '{text}'")),
        }
    }

    /// Whether a switch is on.
    pub fn has(&self, name: &str) -> bool {
        matches!(self.value(name), "true" | "1" | "t" | "T" | "TRUE" | "True")
    }
}

/// A size such as `42`, `42kb`, `42 MiB` or `1.5g`, all by 1024.
fn bytes(text: &str) -> Option<i64> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let unit = text[digits..].trim_start().to_ascii_lowercase();
    let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let power = ["", "k", "m", "g", "t", "p"].iter().position(|known| *known == unit)?;
    let factor = 1024_i64.checked_pow(u32::try_from(power).ok()?)?;
    match text[..digits].parse::<i64>() {
        Ok(number) => number.checked_mul(factor),
        Err(_) => Some((text[..digits].parse::<f64>().ok()? * factor as f64) as i64),
    }
}

/// Name and value of something that looks like a flag.
fn split(argument: &str) -> Option<(&str, Option<&str>)> {
    let name = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')).filter(|name| !name.is_empty())?;
    Some(name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [Flag; 3] = [Flag::with_value("volume"), Flag::switch("volume-only"), Flag::HELP];

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn flags_may_stand_behind_arguments() {
        for line in ["ls-url --volume v", "--volume v ls-url", "-volume=v ls-url", "ls-url --volume=v"] {
            let parsed = Parsed::anywhere(&KNOWN, &words(line)).unwrap();
            assert_eq!((parsed.value("volume"), parsed.arguments.as_slice()), ("v", &words("ls-url")[..]), "{line}");
        }
        let parsed = Parsed::anywhere(&KNOWN, &words("--volume-only url")).unwrap();
        assert!(parsed.has("volume-only"));
        assert_eq!(parsed.arguments, ["url"]);
        assert!(!Parsed::anywhere(&KNOWN, &words("--volume-only=false url")).unwrap().has("volume-only"));
    }

    #[test]
    fn before_a_command_flags_end_at_the_first_argument() {
        let parsed = Parsed::strict(&KNOWN, &words("--volume v backup --volume w")).unwrap();
        assert_eq!(parsed.value("volume"), "v");
        assert_eq!(parsed.arguments, ["backup", "--volume", "w"]);
    }

    #[test]
    fn sizes_may_have_units() {
        for (text, size) in
            [("16777216", 16 << 20), ("16m", 16 << 20), ("16 MiB", 16 << 20), ("2gb", 2 << 30), ("1.5k", 1536)]
        {
            assert_eq!(bytes(text), Some(size), "{text}");
        }
        for text in ["", "m", "12x", "--"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_as_go_says_it() {
        assert_eq!(Parsed::strict(&KNOWN, &words("--nope")).unwrap_err(), "flag provided but not defined: -nope");
        assert_eq!(Parsed::anywhere(&KNOWN, &words("--volume")).unwrap_err(), "flag needs an argument: -volume");
        assert_eq!(Parsed::anywhere(&KNOWN, &words("-- --volume x")).unwrap().arguments, ["--volume", "x"]);
    }
}
