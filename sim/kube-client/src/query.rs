//! Query strings of API requests. By hand, because kube-core leaves out `resourceVersion=0` beside a limit, which every reflector sends.

use std::fmt::Write as _;

use kube_core::params::{GetParams, ListParams, PatchParams, PostParams, VersionMatch, WatchParams};

/// A path with its query string being built.
pub(crate) struct Target {
    text: String,
    has_query: bool,
}

impl Target {
    pub(crate) fn new(path: &str) -> Target {
        Target { text: path.to_owned(), has_query: false }
    }

    pub(crate) fn segment(mut self, segment: &str) -> Target {
        self.text.push('/');
        encode(&mut self.text, segment);
        self
    }

    pub(crate) fn pair(mut self, key: &str, value: &str) -> Target {
        self.text.push(if self.has_query { '&' } else { '?' });
        self.has_query = true;
        self.text.push_str(key);
        self.text.push('=');
        encode(&mut self.text, value);
        self
    }

    fn optional(self, key: &str, value: Option<&str>) -> Target {
        match value {
            Some(value) => self.pair(key, value),
            None => self,
        }
    }

    pub(crate) fn get(self, params: &GetParams) -> Target {
        self.optional("resourceVersion", params.resource_version.as_deref())
    }

    pub(crate) fn selectors(self, params: &ListParams) -> Target {
        self.optional("fieldSelector", params.field_selector.as_deref())
            .optional("labelSelector", params.label_selector.as_deref())
    }

    pub(crate) fn list(self, params: &ListParams) -> Target {
        let limit = params.limit.map(|limit| limit.to_string());
        let target = self.selectors(params).optional("limit", limit.as_deref());
        // A continue token holds its version; the server refuses both.
        if let Some(token) = &params.continue_token {
            return target.pair("continue", token);
        }
        let version_match = params.version_match.as_ref().map(|matching| match matching {
            VersionMatch::NotOlderThan => "NotOlderThan",
            VersionMatch::Exact => "Exact",
        });
        target
            .optional("resourceVersion", params.resource_version.as_deref())
            .optional("resourceVersionMatch", version_match)
    }

    pub(crate) fn watch(self, params: &WatchParams, resource_version: &str) -> Target {
        let timeout = params.timeout.map(|seconds| seconds.to_string());
        let mut target = self
            .pair("watch", "true")
            .optional("fieldSelector", params.field_selector.as_deref())
            .optional("labelSelector", params.label_selector.as_deref())
            .optional("timeoutSeconds", timeout.as_deref());
        if params.bookmarks {
            target = target.pair("allowWatchBookmarks", "true");
        }
        if params.send_initial_events {
            target = target.pair("sendInitialEvents", "true").pair("resourceVersionMatch", "NotOlderThan");
        }
        if resource_version.is_empty() { target } else { target.pair("resourceVersion", resource_version) }
    }

    pub(crate) fn post(self, params: &PostParams) -> Target {
        let target = if params.dry_run { self.pair("dryRun", "All") } else { self };
        target.optional("fieldManager", params.field_manager.as_deref())
    }

    pub(crate) fn patch(self, params: &PatchParams) -> Target {
        let mut target = if params.dry_run { self.pair("dryRun", "All") } else { self };
        if params.force {
            target = target.pair("force", "true");
        }
        let validation = params.field_validation.as_ref().map(|directive| directive.as_str());
        target.optional("fieldManager", params.field_manager.as_deref()).optional("fieldValidation", validation)
    }

    pub(crate) fn finish(self) -> String {
        self.text
    }
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
fn encode(text: &mut String, value: &str) {
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(byte)),
            _ => write!(text, "%{byte:02X}").expect("writing to a String cannot fail"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reflectors_first_list_asks_for_any_version_in_pages() {
        let target = Target::new("/api/v1/pods").list(&ListParams::default().at("0").limit(500));
        assert_eq!(target.finish(), "/api/v1/pods?limit=500&resourceVersion=0");
    }

    #[test]
    fn a_continue_token_replaces_the_version_and_is_encoded() {
        let params = ListParams::default().labels("a in (b,c)").at("7").continue_token("x+/=");
        let target = Target::new("/api/v1/pods").list(&params).finish();
        assert_eq!(target, "/api/v1/pods?labelSelector=a%20in%20%28b%2Cc%29&continue=x%2B%2F%3D");
    }

    #[test]
    fn a_watch_carries_its_version_time_out_and_bookmarks() {
        let target = Target::new("/p").watch(&WatchParams::default().timeout(321), "42").finish();
        assert_eq!(target, "/p?watch=true&timeoutSeconds=321&allowWatchBookmarks=true&resourceVersion=42");
    }

    #[test]
    fn names_are_encoded_as_segments() {
        assert_eq!(Target::new("/p").segment("a b").segment("status").finish(), "/p/a%20b/status");
    }
}
