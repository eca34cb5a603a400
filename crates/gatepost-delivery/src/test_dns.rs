//! A small name server on loopback, for tests: UDP, and TCP for what does not fit.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, MX};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use crate::resolver::NameServers;
use crate::upstream::UpstreamConfig;

/// What fits into a datagram.
const DATAGRAM_OCTETS_MAX: usize = 1200;

/// A name server; its tasks end with the runtime of the test.
pub(crate) struct NameServer {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
}

#[derive(Default)]
struct Zone {
    records: HashMap<String, Vec<Answer>>,
    questions: Vec<(String, RecordType)>,
    fails: bool,
}

#[derive(Clone)]
pub(crate) struct Answer {
    data: RData,
    ttl: u32,
}

impl Answer {
    pub(crate) fn a(address: [u8; 4], ttl: u32) -> Self {
        Self { data: RData::A(A(address.into())), ttl }
    }

    pub(crate) fn aaaa(address: &str, ttl: u32) -> Self {
        Self { data: RData::AAAA(AAAA(address.parse().expect("an address"))), ttl }
    }

    pub(crate) fn cname(name: &str, ttl: u32) -> Self {
        Self { data: RData::CNAME(CNAME(parsed(name))), ttl }
    }

    pub(crate) fn mx(preference: u16, name: &str, ttl: u32) -> Self {
        Self { data: RData::MX(MX::new(preference, parsed(name))), ttl }
    }
}

impl NameServer {
    /// A server that knows no name yet.
    pub(crate) async fn start() -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback");
            // The same port of TCP may be taken by a neighbour.
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("bound")).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().expect("bound");
        let zone = Arc::new(Mutex::new(Zone::default()));
        tokio::spawn(serve_datagrams(udp, zone.clone()));
        tokio::spawn(serve_connections(tcp, zone.clone()));
        Self { address, zone }
    }

    /// What a name has from now on.
    pub(crate) fn set(&self, name: &str, answers: &[Answer]) {
        self.zone.lock().expect("sound").records.insert(name.to_owned(), answers.to_vec());
    }

    pub(crate) fn remove(&self, name: &str) {
        self.zone.lock().expect("sound").records.remove(name);
    }

    /// SERVFAIL to everything from now on.
    pub(crate) fn fail(&self) {
        self.zone.lock().expect("sound").fails = true;
    }

    /// Which types were asked of a name; AAAA before A, whichever came first.
    pub(crate) fn asked(&self, name: &str) -> Vec<String> {
        let zone = self.zone.lock().expect("sound");
        let of_name = zone.questions.iter().filter(|(other, _)| other == name);
        let mut types: Vec<String> = of_name.map(|(_, kind)| kind.to_string()).collect();
        types.sort_by_key(|kind| std::cmp::Reverse(kind.len()));
        types
    }

    /// The same, and forgets it.
    pub(crate) fn take_asked(&self, name: &str) -> Vec<String> {
        let asked = self.asked(name);
        self.zone.lock().expect("sound").questions.clear();
        asked
    }

    pub(crate) fn questions(&self) -> usize {
        self.zone.lock().expect("sound").questions.len()
    }
}

/// An upstream whose names this server knows.
pub(crate) fn config(server: &NameServer, hosts: &[&str]) -> UpstreamConfig {
    UpstreamConfig {
        hosts: hosts.iter().map(|host| host.parse().expect("a host")).collect(),
        name_servers: NameServers::At(vec![server.address]),
        ..UpstreamConfig::of_test()
    }
}

async fn serve_datagrams(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut octets = vec![0; 4096];
    loop {
        let (length, peer) = socket.recv_from(&mut octets).await.expect("received");
        let mut answer = reply(&octets[..length], &zone);
        if answer.to_vec().expect("encodes").len() > DATAGRAM_OCTETS_MAX {
            answer.answers.clear();
            answer.metadata.truncation = true;
        }
        let _ = socket.send_to(&answer.to_vec().expect("encodes"), peer).await;
    }
}

async fn serve_connections(listener: TcpListener, zone: Arc<Mutex<Zone>>) {
    loop {
        let (mut socket, _) = listener.accept().await.expect("accepted");
        let zone = zone.clone();
        tokio::spawn(async move {
            while let Ok(length) = socket.read_u16().await {
                let mut octets = vec![0; length.into()];
                socket.read_exact(&mut octets).await.expect("a whole question");
                let answer = reply(&octets, &zone).to_vec().expect("encodes");
                socket.write_u16(answer.len() as u16).await.expect("sent");
                socket.write_all(&answer).await.expect("sent");
            }
        });
    }
}

fn reply(octets: &[u8], zone: &Mutex<Zone>) -> Message {
    let question = Message::from_vec(octets).expect("a question");
    let query = question.queries.first().expect("one question").clone();
    let (name, kind) = (query.name().to_ascii().to_lowercase(), query.query_type());
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.metadata.recursion_desired = true;
    answer.metadata.recursion_available = true;
    answer.add_query(query.clone());
    let mut zone = zone.lock().expect("sound");
    zone.questions.push((name.clone(), kind));
    let records = zone.records.get(&name);
    answer.metadata.response_code = match records {
        _ if zone.fails => ResponseCode::ServFail,
        None => ResponseCode::NXDomain,
        Some(records) => {
            let fits =
                |answer: &&Answer| [kind, RecordType::CNAME].contains(&answer.data.record_type());
            answer.add_answers(records.iter().filter(fits).map(|answer| {
                Record::from_rdata(query.name().clone(), answer.ttl, answer.data.clone())
            }));
            ResponseCode::NoError
        }
    };
    answer
}

fn parsed(name: &str) -> Name {
    Name::from_ascii(name).expect("a name")
}
