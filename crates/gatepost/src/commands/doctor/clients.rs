//! Whose addresses arrive: what the running gateway sees, and what the policy would let in.

use std::fmt::Write as _;
use std::net::IpAddr;

use gatepost_admin::control::{AddressView, ClientsView, ControlError, DoctorView};
use gatepost_policy::check::{self, Greeting};
use gatepost_policy::printable::Printable;

use super::check::{Checked, counted};
use super::{Gateway, Patient};
use crate::commands::table::Table;
use crate::policy;
use crate::surroundings::{Covered, PlaceKind};

/// Addresses of a listener that are shown to people.
const SHOWN_MAX: usize = 5;
/// Where the whole story is.
const PAGE: &str = "docs/operations/client-address.md";

pub(super) fn checks(patient: &Patient) -> Vec<Checked> {
    let mut checks = vec![gateway(patient)];
    if let Some(running) = patient.running() {
        checks.push(clients(patient, &running.doctor));
        checks.push(refused(patient));
    }
    checks.push(gateways(patient));
    checks
}

/// Who comes by which address, listener by listener; nothing if nobody has come.
pub(super) fn table(gateway: Option<&DoctorView>) -> String {
    let mut text = String::new();
    for view in gateway.iter().flat_map(|gateway| &gateway.listeners) {
        if view.addresses.is_empty() {
            continue;
        }
        let sample = if view.sample { ", of a sample" } else { "" };
        // A string takes any text.
        let _ = writeln!(text, "\nClients of {} in the last hour{sample}:\n", view.listener);
        let row = |it: &AddressView| {
            let note = if it.hides_many { "stands for many clients" } else { "" };
            [it.address.to_string(), it.names.to_string(), it.senders.to_string(), note.to_owned()]
        };
        let rows: Vec<_> = view.addresses.iter().take(SHOWN_MAX).map(row).collect();
        text += &Table::new(["ADDRESS", "HELO NAMES", "SENDERS", ""]).lines(&rows);
    }
    text
}

fn gateway(patient: &Patient) -> Checked {
    let name = "gateway";
    match &patient.gateway {
        Gateway::Running(running) => {
            let mut checked = Checked::new(
                name,
                format!(
                    "runs, process {}, generation {}",
                    running.status.pid, running.status.generation
                ),
            );
            let (theirs, ours) = (&*running.status.version, env!("CARGO_PKG_VERSION"));
            if theirs != ours {
                checked.warn(
                    format!("version {theirs} runs, and this program is version {ours}"),
                    "restart the gateway, to have what was installed",
                );
            }
            checked
        }
        Gateway::Down => {
            let mut checked = Checked::new(name, "does not run");
            checked.warn(
                "no gateway runs on this state_dir: whose addresses arrive is not known",
                "ask again when it runs and clients have come",
            );
            checked
        }
        Gateway::Mute(error) => {
            let mut checked = Checked::new(name, "does not answer");
            let mend = match error {
                ControlError::Permission(_) => {
                    "run the doctor as the user of the gateway, or as root"
                }
                _ => "look at its log; restart it if it hangs or is of another version",
            };
            checked.warn(error.to_string(), mend);
            checked
        }
    }
}

/// The accident: everybody comes by one address, and it is allowed.
fn clients(patient: &Patient, doctor: &DoctorView) -> Checked {
    let seen: usize = doctor.listeners.iter().map(|it| it.clients).sum();
    let found = |view: &ClientsView| view.addresses.iter().filter(|it| it.hides_many).count();
    let hidden: usize = doctor.listeners.iter().map(found).sum();
    let off: Vec<_> = doctor.listeners.iter().filter(|it| it.hidden_clients == "off").collect();
    let mut text = match (seen, hidden) {
        (0, _) => "none were seen in the last hour".to_owned(),
        (_, 0) => format!("{} seen, at addresses of their own", counted(seen, "client")),
        (_, 1) => "nearly all come by one address".to_owned(),
        (_, hidden) => format!("nearly all come by {hidden} addresses"),
    };
    if let Some(view) = off.first() {
        let more = if off.len() > 1 { " and others" } else { "" };
        let _ = write!(text, "; {}{more}: not looked at", view.listener);
    }
    let mut checked = Checked::new("clients", text);
    for view in &doctor.listeners {
        for it in view.addresses.iter().filter(|it| it.hides_many) {
            let (names, senders) = (counted(it.names, "HELO name"), counted(it.senders, "sender"));
            let (shown, entry) = (shown(patient, it.address), entry(patient, view, it.address));
            let refused =
                if view.hidden_clients == "refuse" { "; new sessions are refused" } else { "" };
            checked.problem(
                format!(
                    "listener {}: {names} with {senders} come by {shown}{entry}{refused}",
                    view.listener
                ),
                format!(
                    "if that is a NAT, a node or a proxy, everybody behind it is let in, perhaps the \
                     internet: have addresses of clients preserved (in Kubernetes externalTrafficPolicy: \
                     Local), or passed on with proxy_protocol = \"required\", and take the address out of \
                     the policy; see {PAGE}"
                ),
            );
        }
    }
    checked
}

/// Clients that are refused because of the address of a gateway: somebody will want to allow it.
fn refused(patient: &Patient) -> Checked {
    let denied = patient.running().map(|running| &*running.denied).unwrap_or_default();
    let places = denied.iter().filter_map(|it| Some((it, patient.surroundings.place(it.address)?)));
    let places: Vec<_> = places.filter(|(_, place)| place.kind != PlaceKind::Own).collect();
    let text = match (denied.len(), places.len()) {
        (0, _) => "none".to_owned(),
        (count, 0) => format!("{}, none of a gateway", counted(count, "address")),
        (_, count) => format!("{} of gateways", counted(count, "address")),
    };
    let mut checked = Checked::new("refused", text);
    for (client, place) in places {
        checked.warn(
            match client.count {
                1 => format!("{place} was refused once: clients are behind it"),
                count => format!("{place} was refused {count} times: clients are behind it"),
            },
            format!(
                "do not allow that address: it is that of everybody behind it; have addresses of \
                 clients preserved or passed on; see {PAGE}"
            ),
        );
    }
    checked
}

/// The accident before it happens.
fn gateways(patient: &Patient) -> Checked {
    let covered = patient.surroundings.covered(&patient.policy.ruleset, policy::now());
    let places = patient.surroundings.places();
    let looked = places.iter().filter(|place| place.kind != PlaceKind::Own).count();
    let text = match (looked, covered.len()) {
        (0, _) => "none is known here".to_owned(),
        (_, 0) => format!("{}, none let in", counted(looked, "address")),
        (_, count) => format!("{} let in by the policy", counted(count, "address")),
    };
    let mut checked = Checked::new("gateways", text);
    for it in covered {
        let Covered { place, entry, network, .. } = &it;
        let mend = if network.address() == network.last_address() {
            format!(
                "if clients come by that address, take it out of entry {entry}: it is that of \
                 everybody behind it; see {PAGE}"
            )
        } else {
            format!(
                "deny {} in an entry of its own (action = \"deny\"): the longest prefix wins, and the \
                 clients of entry {entry} stay; see {PAGE}",
                place.address
            )
        };
        checked.warn(it.to_string(), mend);
    }
    checked
}

fn shown(patient: &Patient, address: IpAddr) -> String {
    match patient.surroundings.place(address) {
        Some(place) => place.to_string(),
        None => address.to_string(),
    }
}

/// Who lets an address in, by the policy as it is on the disk.
fn entry(patient: &Patient, view: &ClientsView, address: IpAddr) -> String {
    let ruleset = &patient.policy.ruleset;
    let Some(listener) = ruleset.listener(&view.listener) else { return String::new() };
    match check::greet(ruleset, listener, address, policy::now()) {
        Greeting::Allowed(entry) => format!(", which entry {} lets in", Printable(entry.id())),
        Greeting::Authenticate | Greeting::Refused(..) => String::new(),
    }
}
