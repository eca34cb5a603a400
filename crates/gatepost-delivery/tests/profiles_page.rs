//! `docs/operations/profiles.md` says what the profiles say. After a change of a profile this fails
//! and shows the tables as they have to be; `GATEPOST_WRITE_PAGE=1` writes them.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use gatepost_delivery::Profile;
use gatepost_delivery::profile::{Limit, Means, NullSender, ReplyRule, Scope, built_in, text};

const BEGIN: &str =
    "<!-- From here on the profiles themselves speak; a test holds this page to them. -->\n";

#[test]
fn the_page_says_what_the_profiles_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations/profiles.md");
    let page = std::fs::read_to_string(&path).expect("the page");
    let (head, tables) = page.split_once(BEGIN).expect("the mark in the page");
    let expected: String = built_in().iter().map(|profile| section(profile)).collect();
    if tables != expected {
        if std::env::var_os("GATEPOST_WRITE_PAGE").is_some() {
            std::fs::write(&path, format!("{head}{BEGIN}{expected}")).expect("writes");
        }
        panic!("behind the mark the page has to be:\n{expected}");
    }
}

fn section(profile: &Profile) -> String {
    let mut section = format!("\n## {}\n\n{}.", profile.name, profile.description);
    if !profile.hosts.is_empty() {
        let hosts: Vec<_> = profile.hosts.iter().map(|host| format!("`{host}`")).collect();
        write!(section, " Hosts: {}.", hosts.join(", ")).expect("a String takes everything");
    }
    section += "\n\n| setting | default, and the most | source |\n|---|---|---|\n";
    let mut row = |cells: [String; 3]| {
        push_row(&mut section, cells);
    };
    let limits = &profile.limits;
    for port in &profile.ports {
        let tls: Vec<_> = port.tls.iter().map(|tls| format!("`{tls}`")).collect();
        let works = format!("works with `tls` = {}", tls.join(", "));
        row([format!("port {}", port.number), works, port.source.to_string()]);
    }
    row(["`tls`".into(), profile.tls.to_string(), String::new()]);
    let auth =
        format!("{}: {}", format!("{:?}", profile.auth.need).to_lowercase(), profile.auth.rule);
    row(["`auth`".into(), auth, profile.auth.source.to_string()]);
    row(["`ehlo_name`".into(), profile.ehlo.rule.to_string(), profile.ehlo.source.to_string()]);
    let null = match profile.mail_from.null_sender {
        NullSender::Allowed => "takes `<>`",
        NullSender::Refused => "refuses `<>`",
    };
    let mail_from = format!("{} It {null}.", profile.mail_from.rule);
    row(["MAIL FROM".into(), mail_from, profile.mail_from.source.to_string()]);
    for (key, limit) in [
        ("max_connections", shown(&limits.max_connections, u32::to_string)),
        ("max_messages_per_connection", count(&limits.max_messages_per_connection)),
        ("idle_timeout", span(&limits.idle_timeout)),
        ("max_age", span(&limits.max_age)),
        ("max_recipients", count(&limits.max_recipients)),
        ("client_stall", span(&limits.client_stall)),
    ] {
        row([format!("`{key}`"), limit.0, limit.1]);
    }
    let rates = limits.recipient_rate.default.join(", ");
    let rates = if rates.is_empty() { "none".to_owned() } else { rates };
    row(["`recipient_rate`".into(), rates, limits.recipient_rate.source.to_string()]);
    for note in &profile.notes {
        row(["note".into(), note.text.to_string(), note.source.to_string()]);
    }
    section + &replies(profile)
}

fn push_row<const COLUMNS: usize>(table: &mut String, cells: [String; COLUMNS]) {
    let cells = cells.map(|cell| cell.replace('|', "\\|"));
    writeln!(table, "| {} |", cells.join(" | ")).expect("a String takes everything");
}

/// The rules that stand in the profile's own text.
fn replies(profile: &Profile) -> String {
    let text = text(&profile.name).expect("a profile in the program");
    let is_own = |rule: &&ReplyRule| text.contains(&format!("\nname = \"{}\"\n", rule.name));
    let mut table = "\n| rule | a reply of this kind | means | the client hears | what to change | source |\n|---|---|---|---|---|---|\n".to_owned();
    for rule in profile.replies.iter().filter(is_own) {
        let example = rule.example.replace('\n', " / ").replace('`', "'");
        let pause = rule.pause.map_or(String::new(), |pause| format!(", pause {}", seconds(pause)));
        let cells = [
            rule.name.to_string(),
            format!("`{example}`"),
            format!("{}, {}{pause}", rule.means, rule.scope),
            heard(rule),
            rule.say.to_string(),
            rule.source.to_string(),
        ];
        push_row(&mut table, cells);
    }
    table
}

fn heard(rule: &ReplyRule) -> String {
    match (&rule.answer, rule.means, rule.scope) {
        (Some(answer), ..) => {
            let (class, subject, detail) = answer.status;
            format!("`{} {class}.{subject}.{detail}` and its words", answer.code)
        }
        (None, Means::ConfigurationFault, Scope::Connection | Scope::Upstream) => {
            "`451 4.3.5`".into()
        }
        (None, _, Scope::Envelope) => "its words".into(),
        (None, ..) => "its words if they are a `4xx`, else `451 4.3.2`".into(),
    }
}

fn count(limit: &Limit<Option<u32>>) -> (String, String) {
    shown(limit, |count| count.map_or_else(|| "none".to_owned(), |count| count.to_string()))
}

fn span(limit: &Limit<Duration>) -> (String, String) {
    shown(limit, |span| seconds(*span))
}

fn shown<T>(limit: &Limit<T>, show: impl Fn(&T) -> String) -> (String, String) {
    let most = limit.most.as_ref().map(|most| format!("; at most {}", show(most)));
    (show(&limit.default) + &most.unwrap_or_default(), limit.source.to_string())
}

fn seconds(span: Duration) -> String {
    match span.as_secs() {
        hours if hours % 3600 == 0 => format!("{}h", hours / 3600),
        minutes if minutes % 60 == 0 => format!("{}m", minutes / 60),
        seconds => format!("{seconds}s"),
    }
}
