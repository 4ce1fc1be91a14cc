//! One page of a list: prefix, delimiter, start, page size, and where the next page starts.

use crate::store::ListedObject;

/// What a client asks of a list.
pub(crate) struct ListRequest {
    pub delimiter: String,
    /// Keys and common prefixes up to and including this one are not in the page.
    pub after: String,
    pub max_keys: usize,
}

/// A page of a list.
pub(crate) struct Page {
    pub objects: Vec<(String, ListedObject)>,
    pub common_prefixes: Vec<String>,
    /// The last key or common prefix of the page, if there is more behind it.
    pub next: Option<String>,
}

/// Cuts a page out of all that is listed under `prefix`, which is in key order. A common prefix counts as one key, as
/// in S3.
pub(crate) fn page(listed: Vec<(String, ListedObject)>, prefix: &str, request: &ListRequest) -> Page {
    let mut page = Page { objects: Vec::new(), common_prefixes: Vec::new(), next: None };
    let mut last = None;
    for (key, object) in listed {
        let common = common_prefix(&key, prefix, &request.delimiter);
        let entry = common.unwrap_or(&key);
        let passed = entry <= request.after.as_str();
        let repeated = common.is_some() && page.common_prefixes.last().is_some_and(|previous| previous == entry);
        if passed || repeated {
            continue;
        }
        if page.objects.len() + page.common_prefixes.len() == request.max_keys {
            page.next = last;
            break;
        }
        last = Some(entry.to_owned());
        match common {
            Some(common) => page.common_prefixes.push(common.to_owned()),
            None => page.objects.push((key, object)),
        }
    }
    page
}

fn common_prefix<'a>(key: &'a str, prefix: &str, delimiter: &str) -> Option<&'a str> {
    if delimiter.is_empty() {
        return None;
    }
    let at = key[prefix.len()..].find(delimiter)?;
    Some(&key[..prefix.len() + at + delimiter.len()])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn listed(keys: &[String], prefix: &str) -> Vec<(String, ListedObject)> {
        let object = ListedObject { size: 0, modified: jiff::Timestamp::UNIX_EPOCH, etag: String::new() };
        keys.iter().filter(|key| key.starts_with(prefix)).map(|key| (key.clone(), object.clone())).collect()
    }

    fn entries(page: &Page) -> Vec<String> {
        page.objects.iter().map(|(key, _)| key.clone()).chain(page.common_prefixes.iter().cloned()).collect()
    }

    proptest! {
        #[test]
        fn pages_of_any_size_together_hold_what_one_large_page_holds(
            mut keys in proptest::collection::vec("[ab/]{0,5}", 0..30), prefix in "[ab/]{0,2}", max_keys in 1usize..6,
        ) {
            keys.sort();
            keys.dedup();
            let all = ListRequest { delimiter: "/".into(), after: String::new(), max_keys: 1000 };
            let mut expected = entries(&page(listed(&keys, &prefix), &prefix, &all));
            // The empty key cannot be told from "from the start", and S3 has none.
            expected.retain(|entry| !entry.is_empty());
            expected.sort();
            let (mut seen, mut after) = (Vec::new(), String::new());
            loop {
                let request = ListRequest { delimiter: "/".into(), after, max_keys };
                let one = page(listed(&keys, &prefix), &prefix, &request);
                let found = entries(&one);
                prop_assert!(found.len() <= max_keys);
                seen.extend(found);
                match one.next {
                    Some(next) => after = next,
                    None => break,
                }
            }
            seen.sort();
            prop_assert_eq!(seen, expected);
        }
    }

    #[test]
    fn a_page_of_no_keys_is_empty_and_has_no_successor() {
        let keys = ["a".to_owned()];
        let none =
            page(listed(&keys, ""), "", &ListRequest { delimiter: String::new(), after: String::new(), max_keys: 0 });
        assert!(entries(&none).is_empty());
        assert_eq!(none.next, None);
    }
}
