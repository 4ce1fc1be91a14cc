//! The few pieces that our pages share. Whatever comes from a cluster passes [`escape`] or [`script_json`].

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// Text as it may stand between tags and in quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // A browser would not show them, or would turn the text around.
            '\u{0}'..='\u{8}' | '\u{b}'..='\u{1f}' | '\u{7f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                safe.push('\u{fffd}');
            }
            _ => safe.push(letter),
        }
    }
    safe
}

/// JSON as it may stand in a `<script>`: nothing in it can end the script, or a line of it.
pub(crate) fn script_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len() + json.len() / 16);
    for letter in json.chars() {
        match letter {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                write!(safe, "\\u{:04x}", u32::from(letter)).expect("writing to a string cannot fail");
            }
            _ => safe.push(letter),
        }
    }
    safe
}

/// A whole page. Its policy lets nothing be loaded, and no script run but this one.
pub(crate) fn document(title: &str, style: &str, body: &str, script: &str) -> String {
    let allowed = match script {
        "" => String::new(),
        script => format!("; script-src 'sha256-{}'", STANDARD.encode(Sha256::digest(script))),
    };
    let script = if script.is_empty() { String::new() } else { format!("<script>{script}</script>\n") };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         img-src data:{allowed}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n<style>{style}</style>\n</head>\n\
         <body>\n{body}\n{script}</body>\n</html>\n",
        escape(title)
    )
}

/// Lines under a heading, or nothing if there are none.
pub(crate) fn lines(heading: &str, class: &str, lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let items: String = lines.iter().map(|line| format!("<li>{}</li>", escape(line))).collect();
    format!("<section class=\"{class}\"><h2>{}</h2><ol class=\"lines\">{items}</ol></section>\n", escape(heading))
}

/// Lines for a shell. The page's script, where there is one, copies them when the button is pressed.
pub(crate) fn shell(lines: &[String], button: bool) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let button = if button { "<button type=\"button\" data-copy>Copy</button>" } else { "" };
    format!("<div class=\"shell\"><pre>{}</pre>{button}</div>\n", escape(&lines.join("\n")))
}

/// A count with its noun.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "</script><img src=x onerror='alert(1)'>&\u{2028}\u{202e}\u{1}\"";

    #[test]
    fn nothing_hostile_is_left() {
        let safe = escape(HOSTILE);
        assert!(!safe.contains(['<', '>', '"', '\'', '\u{202e}', '\u{1}']), "{safe}");
        let json = serde_json::to_string(HOSTILE).unwrap();
        let safe = script_json(&json);
        assert!(!safe.contains(['<', '>', '&', '\u{2028}']), "{safe}");
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), HOSTILE);
    }
}
