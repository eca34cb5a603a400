//! What is counted of an entry. Not among the unit tests, because `shuttle.rs` compiles its files too.

use std::net::{IpAddr, Ipv4Addr};

use gatepost_policy::{
    hosts::NAMED_MAX,
    usage::{Usage, Use},
};

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 1, 4));

fn client(number: u32) -> IpAddr {
    number.to_be_bytes().into()
}

fn connect(usage: &Usage, hosts: std::ops::Range<u32>) {
    hosts.for_each(|n| usage.count(Use::Connection, client(n), 100));
}

#[test]
fn what_is_taken_is_not_taken_again() {
    let usage = Usage::default();
    assert!(usage.take().is_none());
    usage.count(Use::Connection, HOST, 100);
    usage.count(Use::Message, HOST, 130);
    usage.count(Use::Message, HOST, 120);
    usage.count(Use::Refusal, [10, 0, 1, 5].into(), 110);
    let delta = usage.take().expect("it was used");
    assert_eq!((delta.hits, delta.messages, delta.refusals), (1, 2, 1));
    assert_eq!((delta.first_seen, delta.last_seen), (100, 130));
    assert_eq!(delta.addresses, [HOST, [10, 0, 1, 5].into()]);
    assert!(usage.take().is_none());
    usage.count(Use::Message, HOST, 200);
    let delta = usage.take().expect("it was used again");
    assert_eq!((delta.hits, delta.messages, delta.refusals), (0, 1, 0));
    assert_eq!((delta.first_seen, delta.last_seen), (100, 200));
    assert!(delta.addresses.is_empty() && delta.registers.is_none(), "told already");
}

#[test]
fn what_could_not_be_kept_comes_again() {
    let usage = Usage::default();
    (0..40_u8).for_each(|n| usage.count(Use::Connection, [10, 0, 0, n].into(), 100));
    let lost = usage.take().expect("it was used");
    assert!(lost.registers.is_some());
    usage.give_back(&lost);
    assert_eq!(usage.take(), Some(lost.clone()));
    usage.give_back(&lost);
    usage.count(Use::Message, [10, 0, 0, 50].into(), 300);
    let more = usage.take().expect("more");
    assert_eq!((more.hits, more.messages, more.last_seen), (40, 1, 300));
    assert_eq!(more.addresses, lost.addresses);
}

#[test]
fn an_entry_that_nobody_uses_costs_two_words() {
    assert_eq!(size_of::<Usage>(), 2 * size_of::<u64>());
}

#[test]
fn beyond_those_that_are_named_hosts_are_estimated() {
    let usage = Usage::default();
    connect(&usage, 0..NAMED_MAX as u32);
    let first = usage.take().expect("it was used");
    assert_eq!((first.addresses.len(), first.registers), (NAMED_MAX, None));
    connect(&usage, 0..NAMED_MAX as u32 + 500);
    let second = usage.take().expect("it was used");
    let estimate = second.registers.map_or(0, |registers| registers.estimate());
    assert!(second.addresses.is_empty() && (400..600).contains(&estimate), "{estimate}");
    connect(&usage, 0..NAMED_MAX as u32 + 500);
    let third = usage.take().expect("it was used");
    assert_eq!((third.hits, third.addresses, third.registers), (516, Vec::new(), None));
}
