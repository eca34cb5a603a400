//! `gatepost denied`: who was refused with the greeting, and what would let one of them in.

use std::net::IpAddr;

use gatepost_admin::control::{Client, DeniedView};
use gatepost_policy::{entry::is_id, network::client_address};
use gatepost_registry::item::Kind;
use toml::{Table as Fields, Value};

use super::{exchange, print, running, table::Table};
use crate::{
    cli::{ConfigArgument, DeniedArguments, OutputForm},
    config::Config,
    errors::{tell_note, tell_warning},
    exit::Exit,
    policy::Source,
};

/// What has to be written where nothing is known.
const UNKNOWN_SENDER: &str = "DOMAIN";

/// Lists refused clients, or shows how one would be let in.
pub fn denied(arguments: &DeniedArguments) -> anyhow::Result<Exit> {
    let config = Config::load(&arguments.config.config)?;
    let asked = arguments.allow.map(client_address);
    let clients = running::block_on(async {
        let client = Client::connect(&config.state_dir).await.map_err(running::failure)?;
        let clients = match asked {
            Some(address) => client.denied_client(address).await.map(Vec::from_iter),
            None => client.denied(arguments.limit).await,
        };
        Ok(clients.map_err(running::failure)?)
    })?;
    match (asked, arguments.output) {
        (Some(address), _) => {
            print(&allowing(address, clients.first(), &config, &arguments.config)?)?;
        }
        (None, OutputForm::Json) => {
            let object = serde_json::json!({ "clients": clients });
            print(&(serde_json::to_string_pretty(&object)? + "\n"))?;
        }
        (None, OutputForm::Table) => {
            let names =
                ["ADDRESS", "COUNT", "FIRST SEEN", "LAST SEEN", "HELO", "SENDER DOMAINS", "REASON"];
            let mut table = Table::new(names);
            print(&table.lines(&clients.iter().map(row).collect::<Vec<_>>()))?;
        }
    }
    Ok(Exit::Ok)
}

fn row(client: &DeniedView) -> [String; 7] {
    let count = match client.error {
        0 => client.count.to_string(),
        error => format!("{} to {}", client.count - error, client.count),
    };
    let entry = client.entry.as_ref().map(|id| format!(" of entry {id}")).unwrap_or_default();
    [
        client.address.to_string(),
        count,
        client.first_seen.clone(),
        client.last_seen.clone(),
        client.helo.clone().unwrap_or_default(),
        client.sender_domains.join(", "),
        format!("{}{entry}", client.reason),
    ]
}

/// The command, or the lines of a policy file, that would let a client in.
fn allowing(
    address: IpAddr,
    client: Option<&DeniedView>,
    config: &Config,
    argument: &ConfigArgument,
) -> anyhow::Result<String> {
    match client {
        None => tell_note(&format!("{address} was not refused of late: nothing is known of it")),
        Some(DeniedView { entry: Some(id), reason, .. }) => {
            tell_warning(&format!(
                "it is refused by check {reason} of entry {id}: see `gatepost entry show {id}` first"
            ));
        }
        Some(_) => {}
    }
    let senders = client.map(|client| client.sender_domains.clone()).unwrap_or_default();
    if senders.is_empty() {
        tell_note(&format!("what it sends is not known; write its domain for {UNKNOWN_SENDER}"));
    }
    let items = exchange::items(config)?;
    let is_taken = |id: &str| items.iter().any(|it| it.kind() == Kind::Entry && it.id() == id);
    let entry = Suggested {
        id: id(address, client, is_taken),
        address,
        senders: if senders.is_empty() { vec![UNKNOWN_SENDER.to_owned()] } else { senders },
        description: client.map(description),
    };
    Ok(match &config.policy {
        Source::Store(_) => entry.command(argument),
        Source::File(_) => entry.lines(),
    })
}

/// An entry that somebody may want.
struct Suggested {
    id: String,
    address: IpAddr,
    senders: Vec<String>,
    description: Option<String>,
}

impl Suggested {
    fn command(&self, argument: &ConfigArgument) -> String {
        let mut command = format!("gatepost entry add {} --network {}", self.id, self.address);
        for sender in &self.senders {
            command.extend([" --sender ", &quoted(sender)]);
        }
        if let Some(description) = &self.description {
            command.extend([" --description ", &quoted(description)]);
        }
        if !argument.is_default() {
            command.extend([" --config ", &quoted(&argument.config.display().to_string())]);
        }
        command.push('\n');
        command
    }

    fn lines(&self) -> String {
        let mut fields = Fields::new();
        let list =
            |items: &[String]| Value::Array(items.iter().cloned().map(Value::String).collect());
        fields.insert("id".to_owned(), Value::String(self.id.clone()));
        fields.insert("networks".to_owned(), list(&[self.address.to_string()]));
        fields.insert("senders".to_owned(), list(&self.senders));
        let description = self.description.clone().map(Value::String);
        fields.extend(description.map(|text| ("description".to_owned(), text)));
        format!("[[entry]]\n{fields}")
    }
}

/// The first label of its name, if that can be an id and is not one yet, or else its address.
fn id(address: IpAddr, client: Option<&DeniedView>, is_taken: impl FnOnce(&str) -> bool) -> String {
    let helo = client.and_then(|client| client.helo.as_deref()).unwrap_or_default();
    let label = helo.split('.').next().unwrap_or_default().to_lowercase();
    let is_number = label.bytes().all(|octet| octet.is_ascii_digit());
    if is_id(&label) && !is_number && !is_taken(&label) {
        return label;
    }
    format!("client-{}", address.to_string().replace(['.', ':'], "-").trim_end_matches('-'))
}

fn description(client: &DeniedView) -> String {
    let helo =
        client.helo.as_ref().map(|helo| format!("calls itself {helo}, ")).unwrap_or_default();
    match client.count {
        1 => format!("{helo}refused at {}", client.last_seen),
        count => format!("{helo}refused {count} times since {}", client.first_seen),
    }
}

/// A word for a shell: what strangers have said must not become a command.
fn quoted(word: &str) -> String {
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-_./:@".contains(&octet);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(helo: &str) -> DeniedView {
        DeniedView {
            address: [203, 0, 113, 9].into(),
            count: 3,
            error: 0,
            first_seen: "2026-01-01T00:00:00Z".to_owned(),
            last_seen: "2026-01-02T00:00:00Z".to_owned(),
            network: "203.0.113.9/32".to_owned(),
            listeners: vec!["smtp".to_owned()],
            helo: Some(helo.to_owned()),
            sender_domains: vec!["app.example".to_owned()],
            reason: "allow_list".to_owned(),
            entry: None,
        }
    }

    #[test]
    fn ids_come_from_names_that_can_be_ids() {
        let address = [203, 0, 113, 9].into();
        for (helo, expected) in [
            ("Printer7.office.example", "printer7"),
            ("[203.0.113.9]", "client-203-0-113-9"),
            ("203.0.113.9", "client-203-0-113-9"),
            ("x;reboot", "client-203-0-113-9"),
            ("", "client-203-0-113-9"),
        ] {
            assert_eq!(id(address, Some(&client(helo)), |_| false), expected);
        }
        let taken = id(address, Some(&client("Printer7")), |id| id == "printer7");
        assert_eq!(taken, "client-203-0-113-9");
        let address: IpAddr = "2001:db8::".parse().expect("an address");
        let id = id(address, None, |_| false);
        assert!(is_id(&id), "{id}");
    }

    #[test]
    fn what_strangers_say_stays_a_word() {
        assert_eq!(quoted("app.example"), "app.example");
        assert_eq!(quoted("*.example"), "'*.example'");
        assert_eq!(quoted("it's $(reboot)"), "'it'\\''s $(reboot)'");
        assert_eq!(quoted(""), "''");
    }
}
