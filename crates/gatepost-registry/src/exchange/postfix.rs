//! Lists of Postfix: the value of `mynetworks`, and CIDR tables (cidr_table(5)).
//!
//! Postfix takes the first pattern that matches, Gatepost the narrowest; [`order`] makes one out of
//! the other. The results of a table are understood as `check_client_access` does. (A table that
//! `mynetworks` names lets in whoever is found in it, whatever the result: of such a table, what says
//! REJECT is refused here nevertheless.)

mod cidr_table;
mod logical;
mod mynetworks;
mod order;
mod pattern;

use super::{
    Defaults,
    findings::Findings,
    foreign::{self, Program},
};
use crate::item::Item;

const PROGRAM: Program = Program { title: "Postfix", name: "postfix" };

pub(super) fn import(text: &str, defaults: &Defaults, findings: &mut Findings<'_>) -> Vec<Item> {
    let lines = logical::lines(text);
    let rules = if cidr_table::is_one(&lines) {
        cidr_table::rules(&lines, findings)
    } else {
        mynetworks::rules(&lines, findings)
    };
    if rules.is_empty() && !findings.has_errors() {
        findings.error(None, "there is no network in it; write one like 192.0.2.0/24");
    }
    let order::Decided { allowed, denied } = order::decide(rules, findings);
    foreign::of_networks(PROGRAM, allowed, &denied, defaults, findings)
}
