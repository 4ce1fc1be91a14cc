//! An event as a row of numbers: which kind it is, how bad, and its fields in the order that [`KINDS`] names them.

use corral_core::Nanos;
use corral_core::journal::{End, Event, LogEntry, Record, full_name};

use super::strings::Strings;
use crate::teardown::is_teardown;

/// Every kind of row with its fields. A field's letter says how it is shown: `t` text (a string's number), `n` number, `d` duration in nanoseconds,
/// `b` yes or no.
pub(super) const KINDS: &[(&str, &[(&str, char)])] = &[
    ("run-began", &[("seed", 't'), ("what", 't')]),
    ("phase", &[("name", 't')]),
    ("machine", &[("name", 't'), ("state", 't')]),
    ("process-began", &[("process", 'n'), ("name", 't'), ("machine", 't'), ("address", 't')]),
    ("process-ended", &[("process", 'n'), ("name", 't'), ("how", 't')]),
    ("panicked", &[("message", 't'), ("location", 't')]),
    ("executed", &[("command", 't'), ("exit status", 'n'), ("took", 'd')]),
    ("connected", &[("to", 't'), ("outcome", 't')]),
    (
        "api-request",
        &[
            ("verb", 't'),
            ("kind", 't'),
            ("subresource", 't'),
            ("name", 't'),
            ("code", 'n'),
            ("version", 'n'),
            ("within", 't'),
        ],
    ),
    (
        "api-write",
        &[
            ("verb", 't'),
            ("kind", 't'),
            ("subresource", 't'),
            ("name", 't'),
            ("version", 'n'),
            ("deleting", 'b'),
            ("client", 't'),
            ("uid", 't'),
        ],
    ),
    ("api-refused", &[("verb", 't'), ("kind", 't'), ("name", 't'), ("code", 'n'), ("reason", 't'), ("client", 't')]),
    ("store-operation", &[("verb", 't'), ("key", 't'), ("bytes", 'n'), ("code", 'n'), ("client", 't')]),
    ("call", &[("method", 't'), ("peer", 't'), ("outcome", 't'), ("took", 'd'), ("within", 't')]),
    ("step", &[("what", 't'), ("outcome", 't')]),
    ("fault", &[("fault", 't'), ("target", 't'), ("phase", 't')]),
    ("probe", &[("name", 't')]),
    ("hazard", &[("name", 't'), ("object", 't'), ("detail", 't')]),
    ("violation", &[("oracle", 't'), ("signature", 't'), ("detail", 't')]),
    ("note", &[("text", 't')]),
    ("schedule-draw", &[("value", 't')]),
    ("log", &[("level", 't'), ("text", 't')]),
];

/// How much an event wants to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    Plain = 0,
    /// It may be the beginning of something: a conflict, a hazard, a warning.
    Odd = 1,
    /// It failed.
    Bad = 2,
    /// Damage.
    Damage = 3,
}

/// The number of a kind of this name.
pub(super) fn kind_number(name: &str) -> u64 {
    KINDS.iter().position(|(kind, _)| *kind == name).expect("every kind of event has a row in KINDS") as u64
}

/// How much an event of a run that ended at this time wants to be seen.
pub(super) fn weight(record: &Record<'_>, ended_at: Nanos) -> Weight {
    let of_code = |code: u16| match code {
        200..=399 => Weight::Plain,
        // A conflict is tried again; nobody has failed yet.
        409 => Weight::Odd,
        _ => Weight::Bad,
    };
    match &record.event {
        Event::Violation { .. } => Weight::Damage,
        Event::Panicked { .. } => Weight::Bad,
        Event::ProcessEnded { .. } if is_teardown(record, ended_at) => Weight::Plain,
        Event::ProcessEnded { end, .. } => match end {
            End::Exited(0) => Weight::Plain,
            End::Exited(_) | End::Killed => Weight::Odd,
            End::Panicked | End::MachineLost => Weight::Bad,
        },
        Event::ApiRequest { code, .. } | Event::ApiRefused { code, .. } | Event::StoreOperation { code, .. } => {
            of_code(*code)
        }
        Event::Call { outcome, .. } if !outcome.eq_ignore_ascii_case("ok") => Weight::Bad,
        Event::Connected { outcome, .. } if outcome != "ok" => Weight::Odd,
        Event::Executed { code, .. } if *code != 0 => Weight::Odd,
        Event::Hazard { .. } => Weight::Odd,
        _ => Weight::Plain,
    }
}

/// How much a log line wants to be seen.
pub(super) fn log_weight(log: &LogEntry) -> Weight {
    match log.level.as_str() {
        "ERROR" => Weight::Bad,
        "WARN" => Weight::Odd,
        _ => Weight::Plain,
    }
}

/// The fields of an event of a run that ended at this time. `process_name` knows the name of a process by its number.
pub(super) fn fields(
    record: &Record<'_>,
    ended_at: Nanos,
    strings: &mut Strings,
    process_name: impl Fn(u32) -> String,
) -> Vec<u64> {
    let mut t = |text: &str| strings.of(text);
    match &record.event {
        Event::RunBegan { seed, what } => vec![t(&seed.to_string()), t(what)],
        Event::Phase { name } | Event::Probe { name } => vec![t(name)],
        Event::Machine { name, state } => vec![t(name), t(state)],
        Event::ProcessBegan { process, name, machine, address: [a, b, c, d] } => {
            vec![(*process).into(), t(name), t(machine), t(&format!("{a}.{b}.{c}.{d}"))]
        }
        Event::ProcessEnded { process, end } => {
            let is_alive = is_teardown(record, ended_at);
            let how = if is_alive { "was alive when the run ended".to_owned() } else { end.to_string() };
            vec![(*process).into(), t(&process_name(*process)), t(&how)]
        }
        Event::Panicked { message, location } => vec![t(message), t(location)],
        // A status is a byte to whoever reads it; negative ones are shells' business.
        Event::Executed { command, code, took_ns } => vec![t(command), u64::from(*code as u8), *took_ns],
        Event::Connected { to, outcome } => vec![t(to), t(outcome)],
        Event::ApiRequest { verb, kind, subresource, name, code, resource_version, within, .. } => {
            vec![t(verb), t(kind), t(subresource), t(name), (*code).into(), *resource_version, t(within)]
        }
        Event::ApiWrite {
            verb, kind, subresource, namespace, name, uid, resource_version, deleting, client, ..
        } => {
            let name = full_name(namespace, name);
            let (version, deleting) = (*resource_version, u64::from(*deleting));
            vec![t(verb), t(kind), t(subresource), t(&name), version, deleting, t(client), t(uid)]
        }
        Event::ApiRefused { verb, kind, name, code, reason, client } => {
            vec![t(verb), t(kind), t(name), (*code).into(), t(reason), t(client)]
        }
        Event::StoreOperation { verb, key, bytes, code, client } => {
            vec![t(verb), t(key), *bytes, (*code).into(), t(client)]
        }
        Event::Call { method, peer, outcome, took_ns, within, .. } => {
            vec![t(method), t(peer), t(outcome), *took_ns, t(within)]
        }
        Event::Step { what, outcome } => vec![t(what), t(outcome)],
        Event::Fault { kind, target, phase } => vec![t(kind), t(target), t(&phase.to_string())],
        Event::Hazard { name, object, detail } => vec![t(name), t(object), t(detail)],
        Event::Violation { oracle, signature, detail } => vec![t(oracle), t(signature), t(detail)],
        Event::Note { text } => vec![t(text)],
        // Numbers beyond 2^53 are no numbers to a browser.
        Event::ScheduleDraw { value } => vec![t(&value.to_string())],
    }
}
