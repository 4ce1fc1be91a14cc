//! Values as a Go program has them and `encoding/json` writes them.
//!
//! Longhorn's controllers compare whole statuses (`reflect.DeepEqual`) to decide whether to write. There a nil map and an empty
//! one differ, and they differ on the wire too (`null` and `{}`), so both exist here: see [`Map`] and [`List`].

mod duration;
mod integer;
mod list;
mod map;

pub use duration::{Duration, DurationError};
pub use integer::QuotedInteger;
pub use list::List;
pub use map::Map;

use serde::{Deserialize, Deserializer};

/// Reads `null` as the zero value, as Go's decoder does for every type.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
