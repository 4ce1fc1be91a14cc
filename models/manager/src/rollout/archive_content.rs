//! What an unpacked archive holds: one list of objects a file, known by the list's kind. The files are JSON, which is what this system's
//! backups are written in; a list of another form is refused.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::runtime::{Context, Error, Result};

/// The lists by the kind of their items; an absent one has nothing to restore.
#[derive(Debug, Default)]
pub struct Content {
    lists: BTreeMap<String, Vec<Value>>,
}

impl Content {
    /// Reads the files of all folders of an archive.
    pub async fn read(folder: &str) -> Result<Self> {
        let mut content = Self::default();
        for (scheme, what) in
            [("kubernetes", "Kubernetes"), ("apiextensions", "API Extensions"), ("longhorn", "Longhorn")]
        {
            let read = content.read_folder(&format!("{folder}/{scheme}")).await;
            read.context(|| format!("failed to extract {what} resources"))?;
        }
        Ok(content)
    }

    async fn read_folder(&mut self, folder: &str) -> Result<()> {
        let files = match host::fs::read_dir(folder).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::message(format!("failed to read directory {folder}: {error}"))),
            Ok(files) => files,
        };
        for file in files.into_iter().filter(|file| !file.is_dir) {
            let path = format!("{folder}/{}", file.name);
            match host::fs::read(&path).await {
                Ok(text) => self.add(&text).context(|| path)?,
                Err(error) => tracing::warn!(%error, "Failed to read file {path}"),
            }
        }
        Ok(())
    }

    fn add(&mut self, text: &[u8]) -> Result<()> {
        let list: Value = serde_json::from_slice(text).map_err(|error| Error::message(error.to_string()))?;
        let kind = list["kind"].as_str().and_then(|kind| kind.strip_suffix("List"));
        let items = list["items"].as_array();
        let (Some(kind), Some(items)) = (kind, items) else {
            return Err(Error::message("Object 'Kind' is missing or is no list"));
        };
        self.lists.insert(kind.to_owned(), items.clone());
        Ok(())
    }

    /// The objects of a kind.
    pub fn items(&self, kind: &str) -> &[Value] {
        self.lists.get(kind).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_known_by_their_kind() {
        let mut content = Content::default();
        content.add(br#"{"kind": "VolumeList", "items": [{"metadata": {"name": "v"}}]}"#).unwrap();
        assert_eq!(content.items("Volume")[0]["metadata"]["name"], "v");
        assert!(content.items("Setting").is_empty());
        for text in ["", "kind: VolumeList", r#"{"kind": "Volume"}"#, r#"{"items": []}"#, r#"{"kind": "VolumeList"}"#] {
            assert!(content.add(text.as_bytes()).is_err(), "{text}");
        }
    }
}
