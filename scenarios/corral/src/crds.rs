//! `corral crds`: our custom resource definitions, or what a list of field paths has and they lack.

use longhorn_api::{crds, listing};
use serde_json::json;

use crate::arguments::CrdsOptions;
use crate::failure::{Done, Refused, Status};
use crate::say::say;

/// Prints the definitions as one list that kubectl takes, or the comparison with a file.
pub fn crds(options: &CrdsOptions) -> Done {
    let release = match options.release.as_str() {
        "" => longhorn_api::Release::default(),
        name => name.parse().map_err(Refused::new)?,
    };
    let Some(path) = &options.diff else {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": crds::all(release) });
        say(serde_json::to_string_pretty(&list).map_err(Refused::new)?);
        return Ok(Status::AsExpected);
    };
    let text = std::fs::read_to_string(path).map_err(|error| Refused::path(path, "cannot be read", error))?;
    let comparison = listing::compare(&text, release).map_err(|error| Refused::path(path, "is no list", error))?;
    say(comparison.render().trim_end());
    Ok(if comparison.gaps.is_empty() { Status::AsExpected } else { Status::Violation })
}
