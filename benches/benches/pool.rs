//! What does it cost a transaction to take a connection from the pool and to give it back?
//!
//! An upstream on loopback says its greeting and the reply to EHLO; after that nothing is sent. In
//! the first row one connection goes back and forth, as between the messages of one client. In the
//! second, others are taken all the while, by entries of their own: the turnstile knows them.

use std::{sync::Arc, time::Duration};

use gatepost_delivery::{
    IpVersion, Lease, NameServers, Patience, Profile, TlsPolicy, Upstream, UpstreamConfig,
};
use gatepost_stream::Clock;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    runtime::Runtime,
};

/// Connections that others have, in the second row.
const OTHERS: usize = 50;
/// Nothing times out while it is measured.
const LONG: Duration = Duration::from_hours(1);

fn main() {
    let mut criterion = gatepost_benches::settings();
    let runtime = Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("pool");
    for (name, others) in [("alone", 0), ("others hold 50", OTHERS)] {
        let (upstream, leases) = runtime.block_on(start(others));
        let entry: Arc<str> = "fleet".into();
        runtime.block_on(take(&upstream, &entry)).release();
        group.bench_function(name, |bencher| {
            // Inside the runtime, without a task: what is measured never waits.
            let _inside = runtime.enter();
            bencher.iter(|| {
                let mut taking = std::pin::pin!(take(&upstream, &entry));
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                match taking.as_mut().poll(&mut context) {
                    std::task::Poll::Ready(lease) => lease.release(),
                    std::task::Poll::Pending => panic!("there is an idle one"),
                }
            });
        });
        drop(leases);
    }
    group.finish();
    criterion.final_summary();
}

async fn take(upstream: &Upstream, entry: &Arc<str>) -> Lease {
    upstream.checkout(entry).await.expect("there is a connection")
}

/// An upstream, and connections of it that others have.
async fn start(others: usize) -> (Arc<Upstream>, Vec<Lease>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(serve(listener));
    let config = UpstreamConfig {
        name: "sink".into(),
        hosts: vec![address.to_string().parse().expect("an address")],
        profile: Profile::generic(),
        ip: IpVersion::Any,
        name_servers: NameServers::System,
        tls: TlsPolicy::None,
        server_name: None,
        access: Arc::default(),
        recipient_rates: Vec::new(),
        patience: Patience::default(),
        ehlo_name: "relay.test".into(),
        source_address: None,
        max_connections: 100,
        max_messages_per_connection: None,
        idle_timeout: LONG,
        max_age: LONG,
        max_recipients: None,
        connect_timeout: LONG,
        client_stall: LONG,
    };
    let upstream = Upstream::new(config, Clock::start());
    let mut leases = Vec::new();
    for number in 0..others {
        leases.push(take(&upstream, &format!("other-{number}").into()).await);
    }
    (upstream, leases)
}

async fn serve(listener: TcpListener) {
    loop {
        let (mut socket, _) = listener.accept().await.expect("on loopback");
        tokio::spawn(async move {
            socket.write_all(b"220 sink ESMTP\r\n").await.expect("sent");
            let mut line = [0; 512];
            while socket.read(&mut line).await.is_ok_and(|octets| octets > 0) {
                socket.write_all(b"250 Ok\r\n").await.expect("sent");
            }
        });
    }
}
