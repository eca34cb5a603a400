use std::collections::HashSet;

use gatepost_smtp::path::Mailbox;
use proptest::prelude::*;

use super::window::{CLIENTS_MAX, HALF};
use super::*;

const NAT: [u8; 4] = [10, 0, 0, 1];
const SECOND: Duration = Duration::from_secs(1);

fn hidden(mode: OnHiddenClients) -> HiddenClients {
    HiddenClients::new("smtp", mode)
}

fn see(hidden: &HiddenClients, address: [u8; 4], name: &str, sender: &str) {
    hidden.see(address.into(), name, reverse_path(sender));
}

fn reverse_path(sender: &str) -> ReversePath<'_> {
    if sender.is_empty() {
        return ReversePath::Null;
    }
    ReversePath::Mailbox(Mailbox::parse(sender.as_bytes()).expect("a mailbox"))
}

/// A client with a name and a sender of its own.
fn see_one(hidden: &HiddenClients, address: [u8; 4], number: usize) {
    see(hidden, address, &format!("host{number}.test"), &format!("app{number}@app.test"));
}

fn see_many(hidden: &HiddenClients, address: [u8; 4], count: usize) {
    (0..count).for_each(|number| see_one(hidden, address, number));
}

/// A fleet: an address each, and on each a name and any number of senders.
fn see_fleet(hidden: &HiddenClients, count: usize) {
    for number in 0..count {
        let [high, low] = (number as u16).to_be_bytes();
        see(hidden, [10, 1, high, low], &format!("fleet{number}.test"), "app@fleet.test");
    }
}

fn found_by(hidden: &HiddenClients, is_gateway: impl Fn(IpAddr) -> bool) -> Vec<IpAddr> {
    hidden.judge(SECOND, is_gateway).found().map(|it| it.address).collect()
}

fn found(hidden: &HiddenClients) -> Vec<IpAddr> {
    found_by(hidden, |_| false)
}

#[test]
fn a_nat_is_found_out() {
    let hidden = hidden(OnHiddenClients::Warn);
    see_many(&hidden, NAT, 19);
    assert!(found(&hidden).is_empty());
    see_one(&hidden, NAT, 19);
    assert_eq!(found(&hidden), [IpAddr::from(NAT)]);
    let survey = hidden.judge(SECOND, |_| false);
    let nat = AddressClients { address: NAT.into(), names: 20, senders: 20, hides_many: true };
    assert_eq!(
        (survey.clients, survey.addresses, hidden.refuses(NAT.into())),
        (20, vec![nat], false)
    );
}

/// Every node of a cluster has a share of everybody's connections.
#[test]
fn several_nodes_are_found_out_together() {
    let hidden = hidden(OnHiddenClients::Warn);
    for node in 1..=8 {
        see_many(&hidden, [10, 0, 0, node], 30);
    }
    assert_eq!(found(&hidden).len(), 8);
    // Those of a large one too, of whose clients there is a sample only.
    for node in 1..=16 {
        see_many(&hidden, [10, 0, 0, node], 3_000);
    }
    let survey = hidden.judge(SECOND, |_| false);
    assert_eq!((survey.clients, survey.is_sample()), (CLIENTS_MAX, true));
    assert_eq!(survey.found().count(), 16);
}

#[test]
fn a_branch_office_among_a_fleet_is_not() {
    let hidden = hidden(OnHiddenClients::Warn);
    see_many(&hidden, NAT, 30);
    see_fleet(&hidden, 3);
    assert_eq!(found(&hidden).len(), 1, "30 of 33");
    see_fleet(&hidden, 4);
    assert!(found(&hidden).is_empty(), "30 of 34");
}

#[test]
fn a_gateway_needs_less() {
    let hidden = hidden(OnHiddenClients::Warn);
    let is_gateway = |address| address == IpAddr::from(NAT);
    see_many(&hidden, NAT, 4);
    see_fleet(&hidden, 5);
    assert!(found_by(&hidden, is_gateway).is_empty());
    see_many(&hidden, NAT, 5);
    assert!(found(&hidden).is_empty());
    assert_eq!(found_by(&hidden, is_gateway), [IpAddr::from(NAT)]);
    see_fleet(&hidden, 6);
    assert!(found_by(&hidden, is_gateway).is_empty(), "5 of 11");
}

/// Case is no difference, and the null path is everybody's.
#[test]
fn names_and_senders_have_to_differ() {
    for sender_of in [|_| "noreply@app.test".to_owned(), |_| String::new()] {
        let hidden = hidden(OnHiddenClients::Warn);
        for number in 0..100 {
            see(&hidden, NAT, &format!("pod-{number}.test"), &sender_of(number));
        }
        assert!(found(&hidden).is_empty());
    }
    let hidden = hidden(OnHiddenClients::Warn);
    for number in 0..100 {
        let name = if number % 2 == 0 { "app.test" } else { "APP.test" };
        see(&hidden, NAT, name, &format!("user{number}@app.test"));
    }
    let survey = hidden.judge(SECOND, |_| false);
    assert_eq!((survey.clients, survey.addresses[0].names), (1, 1));
    // A bounce in between does not make the others alike.
    see_many(&hidden, NAT, 30);
    (0..30).for_each(|number| see(&hidden, NAT, &format!("host{number}.test"), ""));
    assert_eq!(found(&hidden).len(), 1);
}

#[test]
fn what_is_not_seen_any_more_is_forgotten() {
    let hidden = hidden(OnHiddenClients::Refuse);
    see_many(&hidden, NAT, 20);
    assert!(!hidden.refuses(NAT.into()), "nobody has judged yet");
    let judge = |uptime| hidden.judge(uptime, |_| false).found().count();
    assert_eq!((judge(SECOND), judge(HALF), judge(HALF + HALF / 2)), (1, 1, 1));
    assert_eq!(judge(2 * HALF), 0);
    assert!(!hidden.refuses(NAT.into()));
}

/// A refusal leaves nothing to see; it must not end because of that.
#[test]
fn who_is_refused_and_goes_on_stays_refused() {
    let hidden = hidden(OnHiddenClients::Refuse);
    see_many(&hidden, NAT, 20);
    let judge = |halves: u32| hidden.judge(HALF * halves, |_| false).found().count();
    assert_eq!(judge(0), 1);
    for halves in 1..10 {
        assert!(hidden.refuses(NAT.into()) && !hidden.refuses([10, 0, 0, 2].into()));
        assert_eq!(judge(halves), 1);
    }
    assert_eq!((judge(10), judge(11)), (0, 0));
    assert!(!hidden.refuses(NAT.into()));
}

/// Two hours in which nobody looked, because the machine was asleep.
#[test]
fn what_was_seen_before_a_long_pause_is_old() {
    let hidden = hidden(OnHiddenClients::Warn);
    see_many(&hidden, NAT, 20);
    assert_eq!(hidden.judge(4 * HALF, |_| false).clients, 0);
}

#[test]
fn nobody_looks_where_it_is_off() {
    let hidden = hidden(OnHiddenClients::Off);
    see_many(&hidden, NAT, 100);
    assert_eq!(hidden.judge(SECOND, |_| true), Survey::default());
    assert!(!hidden.refuses(NAT.into()));
}

#[test]
fn a_session_costs_no_allocation() {
    let hidden = hidden(OnHiddenClients::Refuse);
    let sender = reverse_path("a@app.test");
    let names: Vec<_> = (0..3_000).map(|number| format!("host{number}.test")).collect();
    let allocated = allocation_counter::measure(|| {
        for name in &names {
            hidden.see(NAT.into(), name, sender);
            assert!(!hidden.refuses(NAT.into()));
        }
    });
    assert_eq!(allocated.count_total, 0);
}

/// Clients as they come: an address, a name, a sender, each of a few.
fn sessions(names: usize) -> impl Strategy<Value = Vec<(u8, usize, usize)>> {
    prop::collection::vec((0..40_u8, 0..names, 0..200_usize), 0..400)
}

fn tell(hidden: &HiddenClients, sessions: &[(u8, usize, usize)]) {
    for (last, name, sender) in sessions {
        let (name, sender) = (format!("h{name}.test"), format!("s{sender}@app.test"));
        see(hidden, [10, 0, 0, *last], &name, &sender);
    }
}

proptest! {
    /// However many senders it has, one program has one name; and hosts of some programs each are a
    /// fleet, whoever else is there.
    #[test]
    fn few_names_are_never_suspect(sessions in sessions(19)) {
        let hidden = hidden(OnHiddenClients::Warn);
        tell(&hidden, &sessions);
        prop_assert!(found(&hidden).is_empty());
    }

    /// However they come, and whoever else is there in small numbers.
    #[test]
    fn a_nat_cannot_be_missed(
        count in 20..400_usize,
        others in sessions(400),
        times in 1..3_usize,
    ) {
        let hidden = hidden(OnHiddenClients::Warn);
        let others = &others[..others.len().min(count / 10)];
        tell(&hidden, others);
        (0..times).for_each(|_| see_many(&hidden, [192, 0, 2, 1], count));
        prop_assert!(found(&hidden).contains(&IpAddr::from([192, 0, 2, 1])));
    }

    /// What is said follows from who came: not from the order, nor from how often, nor from when.
    #[test]
    fn a_survey_is_of_clients(sessions in sessions(200), turn in 0..400_usize) {
        let hidden = hidden(OnHiddenClients::Warn);
        let turn = turn.min(sessions.len());
        tell(&hidden, &sessions[..turn]);
        hidden.judge(HALF, |_| false);
        tell(&hidden, &sessions[turn..]);
        let survey = hidden.judge(HALF, |_| false);
        tell(&hidden, &sessions.iter().rev().copied().collect::<Vec<_>>());
        prop_assert_eq!(&survey, &hidden.judge(HALF, |_| false));
        let clients: HashSet<_> = sessions.iter().map(|(last, name, _)| (last, name)).collect();
        prop_assert_eq!(survey.clients, clients.len());
        for it in &survey.addresses {
            let names = clients.iter().filter(|(last, _)| IpAddr::from([10, 0, 0, **last]) == it.address);
            prop_assert_eq!(it.names, names.count());
            prop_assert!(it.senders <= it.names);
        }
    }
}
