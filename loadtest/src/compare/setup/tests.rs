//! Each configuration has what it must: the port, the sink, no limits, and TLS where it should be.

use super::*;

/// Writes the files of a peer and returns one of them.
fn written(peer: Peer, load: Load, name: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let site = Site {
        folder: folder.path(),
        port: 2600,
        sink: "127.0.0.1:2525".parse().unwrap(),
        load,
        cpus: &[],
        gatepost: None,
    };
    // Some are not installed, and users of others do not exist: their files are written all the same.
    match peer {
        Peer::PostfixProxy | Peer::Postfix => postfix::write(peer, &site).unwrap(),
        Peer::Exim => drop(queues::write_exim(&site, "/usr/sbin/exim4").unwrap()),
        Peer::Opensmtpd => drop(queues::write_opensmtpd(&site).unwrap()),
        Peer::Haraka => queues::write_haraka(&site).unwrap(),
        _ => drop(prepare(peer, &site)),
    }
    fs::read_to_string(folder.path().join(name)).unwrap()
}

fn has(text: &str, wanted: &[&str]) {
    for line in wanted {
        assert!(text.contains(line), "no {line:?} in {text}");
    }
}

#[test]
fn haproxy_passes_octets_on() {
    let plain = written(Peer::Haproxy, Load::Reused, "haproxy.cfg");
    has(&plain, &["mode tcp", "nbthread 1", "bind 127.0.0.1:2600\n", "sink 127.0.0.1:2525\n"]);
    let tls = written(Peer::HaproxyTls, Load::Tls, "haproxy.cfg");
    has(&tls, &["bind 127.0.0.1:2600 ssl crt /", "relay-both.pem\n", ":2525 ssl verify none\n"]);
}

#[test]
fn nginx_asks_itself_where_to_go() {
    let plain = written(Peer::Nginx, Load::Pipelining, "nginx.conf");
    has(
        &plain,
        &["Auth-Port 2525;", "listen 127.0.0.1:2600;", "PIPELINING", "worker_processes 1;"],
    );
    assert!(!plain.contains("starttls"));
    let tls = written(Peer::Nginx, Load::Tls, "nginx.conf");
    has(&tls, &["starttls on; ", " TLSv1.3;", " ssl_certificate /", "relay.key;"]);
}

#[test]
fn postfix_has_a_queue_or_is_a_proxy() {
    let queue = written(Peer::Postfix, Load::Reused, "etc/main.cf");
    has(&queue, &["relayhost = [127.0.0.1]:2525\n", "mynetworks = 127.0.0.0/8\n"]);
    has(&queue, &["smtp_destination_recipient_limit = 1000\n", "/queue\n", "/data\n"]);
    assert!(!queue.contains("smtpd_proxy_filter") && !queue.contains("tls"));
    let proxy = written(Peer::PostfixProxy, Load::Reused, "etc/main.cf");
    has(&proxy, &["smtpd_proxy_filter = 127.0.0.1:2525\n"]);
    let master = written(Peer::Postfix, Load::Reused, "etc/master.cf");
    has(&master, &["127.0.0.1:2600 inet n - n - - smtpd\n", "\nqmgr ", "\ntlsproxy "]);
    let tls = written(Peer::Postfix, Load::Tls, "etc/main.cf");
    has(&tls, &["smtpd_tls_security_level = may\n", "smtp_tls_security_level = encrypt\n"]);
    has(&tls, &["smtpd_tls_chain_files = /", "relay.key, /", "smtp_tls_connection_reuse = yes\n"]);
}

#[test]
fn exim_delivers_at_once_and_has_no_limits() {
    let plain = written(Peer::Exim, Load::Reused, "exim.conf");
    has(&plain, &["daemon_smtp_ports = 2600\n", "route_list = * 127.0.0.1::2525 byname\n"]);
    has(&plain, &["smtp_accept_queue_per_connection = 0\n", "hosts_avoid_tls = *\n"]);
    has(&plain, &["tls_advertise_hosts =\n", "exim_path = /usr/sbin/exim4\n"]);
    let tls = written(Peer::Exim, Load::Tls, "exim.conf");
    has(&tls, &["tls_advertise_hosts = *\n", "tls_certificate = /", "hosts_require_tls = *\n"]);
}

#[test]
fn opensmtpd_relays_for_everybody_who_can_reach_it() {
    let plain = written(Peer::Opensmtpd, Load::Reused, "smtpd.conf");
    has(&plain, &["listen on 127.0.0.1 port 2600 ", "relay host \"smtp+notls://127.0.0.1:2525\""]);
    has(&plain, &["match from any for any action", "smtp limit max-mails 1000000\n"]);
    let tls = written(Peer::Opensmtpd, Load::Tls, "smtpd.conf");
    has(
        &tls,
        &[
            "pki relay.test cert \"/",
            "tls pki relay.test\n",
            "\"smtp+tls://127.0.0.1:2525\" tls no-verify",
        ],
    );
}

#[test]
fn haraka_sends_everything_to_the_sink() {
    let file = |load, name: &str| written(Peer::Haraka, load, &format!("config/{name}"));
    has(&file(Load::Reused, "smtp.ini"), &["listen=127.0.0.1:2600\n", "nodes=0\n"]);
    has(&file(Load::Reused, "relay_dest_domains.ini"), &["\"nexthop\": \"127.0.0.1:2525\""]);
    has(&file(Load::Reused, "outbound.ini"), &["enable_tls=false\n"]);
    assert_eq!(file(Load::Reused, "plugins"), "relay\n");
    has(&file(Load::Tls, "outbound.ini"), &["enable_tls=true\n"]);
    assert_eq!(file(Load::Tls, "plugins"), "tls\nrelay\n");
}

#[test]
fn gatepost_must_be_somewhere_and_direct_is_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site {
        folder: folder.path(),
        port: 2600,
        sink: "127.0.0.1:2525".parse().unwrap(),
        load: Load::Reused,
        cpus: &[0],
        gatepost: Some(Path::new("/bin/sh")),
    };
    assert!(prepare(Peer::Direct, &site).unwrap().is_none());
    let program = prepare(Peer::GatepostSpool, &site).unwrap().unwrap();
    assert_eq!((program.name.as_str(), &program.cpus[..]), ("gatepost-spool", &[0][..]));
    let text = fs::read_to_string(folder.path().join("gatepost.toml")).unwrap();
    has(
        &text,
        &["mode = \"spool\"", "bind = [\"127.0.0.1:2600\"]", "hosts = [\"127.0.0.1:2525\"]"],
    );
    prepare(Peer::Gatepost, &Site { gatepost: None, ..site }).unwrap_err();
}

#[test]
fn owners_are_found_by_name() {
    let accounts = "root:x:0:0::/root:/bin/sh\npostfix:x:102:105::/var/spool/postfix:/bin/false\n";
    assert_eq!(owner_in(accounts, "postfix"), Some((102, 105)));
    assert_eq!(owner_in(accounts, "post"), None);
}
