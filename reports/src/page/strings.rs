//! Strings that are said once: everything in the embedded data names them by number.

use indexmap::IndexSet;

/// The longest text that is embedded whole, in characters.
const LONGEST: usize = 400;

/// Strings by number; number 0 is the empty one.
pub(super) struct Strings {
    known: IndexSet<String>,
}

impl Strings {
    pub fn new() -> Strings {
        Strings { known: IndexSet::from([String::new()]) }
    }

    /// The number of this text, cut to what a person reads.
    pub fn of(&mut self, text: &str) -> u64 {
        let number = match self.known.get_index_of(text) {
            Some(number) => number,
            None => self.known.insert_full(cut(text)).0,
        };
        number as u64
    }

    pub fn into_vec(self) -> Vec<String> {
        self.known.into_iter().collect()
    }
}

/// A text, or its beginning and how long it is.
fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}… (cut here, {} characters in all)", &text[..end], text.chars().count()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_number_and_long_ones_are_cut_with_a_note() {
        let mut strings = Strings::new();
        assert_eq!((strings.of(""), strings.of("a"), strings.of("b"), strings.of("a")), (0, 1, 2, 1));
        let long = "ä".repeat(LONGEST + 7);
        let number = strings.of(&long) as usize;
        let told = strings.into_vec().swap_remove(number);
        assert!(told.starts_with(&"ä".repeat(LONGEST)), "{told}");
        assert!(told.ends_with("… (cut here, 407 characters in all)"), "{told}");
    }
}
