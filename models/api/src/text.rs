//! Enumerations that are texts on the wire.
//!
//! Go declares them as named strings, and its decoder takes any text: a manager must be able to carry a word that only a later
//! release knows. So every enumeration here has a last arm [`OtherText`], and the zero value is the empty text.

use std::fmt;

/// A text that is none of an enumeration's words. Only conversion from text makes one, so it never hides a known word.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OtherText(String);

impl OtherText {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The text as it was read.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for OtherText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Declares an enumeration and its words: `Completed = "Completed"`.
macro_rules! words {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $( $(#[$word_meta:meta])* $word:ident = $text:literal, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $( #[doc = concat!("`", $text, "`")] $(#[$word_meta])* $word, )*
            /// A word this table does not know.
            Other($crate::text::OtherText),
        }

        impl $name {
            /// The words that are known.
            pub const ALL: &'static [Self] = &[$( Self::$word, )*];

            /// The text on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $( Self::$word => $text, )*
                    Self::Other(text) => text.as_str(),
                }
            }
        }

        impl Default for $name {
            /// The empty text.
            fn default() -> Self {
                Self::from("")
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                match text {
                    $( $text => Self::$word, )*
                    _ => Self::Other($crate::text::OtherText::new(text.to_owned())),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.pad(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Word;

                impl serde::de::Visitor<'_> for Word {
                    type Value = $name;

                    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        formatter.write_str("a string")
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        Ok($name::from(text))
                    }
                }

                deserializer.deserialize_str(Word)
            }
        }

        impl $crate::schema::Described for $name {
            const TYPE: $crate::schema::Type = $crate::schema::Type::Text;
        }
    };
}

pub(crate) use words;
