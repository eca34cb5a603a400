//! The addresses of SendGrid's IP access management.
//!
//! Either the JSON of its API (`{"result": [{"id": 1, "ip": "192.0.2.1/32"}]}`), or lines of addresses,
//! networks and wildcards like `192.0.2.*`. There are no descriptions: the list becomes one entry.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Defaults,
    findings::{Findings, quoted},
    foreign::{self, Program, Row},
    lines::Lines,
    networks, policy_json,
};
use crate::item::Item;

const PROGRAM: Program = Program { title: "SendGrid", name: "sendgrid" };

/// The answer of the API, or what it is asked to add. Other keys come with other versions of it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Listing<'t> {
    #[serde(borrow)]
    result: Option<Vec<&'t RawValue>>,
    #[serde(borrow)]
    ips: Option<Vec<&'t RawValue>>,
}

/// One address of a listing.
#[derive(Deserialize)]
#[serde(untagged)]
enum Address {
    Bare(String),
    Listed { ip: String },
}

pub(super) fn import(text: &str, defaults: &Defaults, findings: &mut Findings<'_>) -> Vec<Item> {
    let rows = match text.trim_start().as_bytes().first() {
        Some(b'{') => match serde_json::from_str(text) {
            Ok(Listing { result: Some(list), .. } | Listing { ips: Some(list), .. }) => {
                of_json(text, &list, findings)
            }
            Ok(_) => {
                findings.error(None, "there is no list of addresses; it is under \"result\"");
                Vec::new()
            }
            Err(error) => of_broken(&error, findings),
        },
        Some(b'[') => match serde_json::from_str::<Vec<_>>(text) {
            Ok(list) => of_json(text, &list, findings),
            Err(error) => of_broken(&error, findings),
        },
        _ => of_lines(text, findings),
    };
    foreign::of_rows(PROGRAM, rows, defaults, findings)
}

fn of_json(text: &str, list: &[&RawValue], findings: &mut Findings<'_>) -> Vec<Row> {
    let mut lines = Lines::new(text);
    let mut rows = Vec::with_capacity(list.len());
    for raw in list {
        let (line, offset) = lines.of(raw.get());
        findings.read(offset);
        match serde_json::from_str(raw.get()) {
            Ok(Address::Bare(ip) | Address::Listed { ip }) => rows.extend(row(&ip, line, findings)),
            Err(_) => {
                let message = format_args!("{} has no text under \"ip\"", quoted(raw.get()));
                findings.error(line, message);
            }
        }
    }
    rows
}

fn of_lines(text: &str, findings: &mut Findings<'_>) -> Vec<Row> {
    let mut lines = Lines::new(text);
    let mut rows = Vec::new();
    for part in text.lines() {
        let (line, offset) = lines.of(part);
        findings.read(offset);
        if !part.trim_start().starts_with('#') {
            let addresses = part.split([',', ' ', '\t']).filter(|address| !address.is_empty());
            rows.extend(addresses.filter_map(|address| row(address, line, findings)));
        }
    }
    if rows.is_empty() && !findings.has_errors() {
        findings.error(None, "there is no address in it; write one like 192.0.2.1 on each line");
    }
    rows
}

fn of_broken(error: &serde_json::Error, findings: &mut Findings<'_>) -> Vec<Row> {
    findings.error(error.line().max(1), policy_json::message(error));
    Vec::new()
}

fn row(address: &str, line: usize, findings: &mut Findings<'_>) -> Option<Row> {
    match networks::wildcard(address) {
        Ok(network) => {
            if address.contains('*') {
                findings.note(line, format_args!("{address} became {network}"));
            }
            Some(Row { line, networks: vec![network], description: None })
        }
        Err(error) => {
            findings.error(line, format_args!("{}: {error}", quoted(address)));
            None
        }
    }
}
