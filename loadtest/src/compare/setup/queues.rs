//! Other relays with a queue: Exim, OpenSMTPD and Haraka.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};

use anyhow::Context;

use super::{Site, owner};
use crate::compare::peer::Peer;
use crate::process::{CERTIFICATE, PRIVATE_KEY, Program, find_program};

const EXIM: &str = include_str!("../../../compare/exim.conf");
const OPENSMTPD: &str = include_str!("../../../compare/smtpd.conf");

/// Users that Exim is built to work as, by system.
const EXIM_USERS: [&str; 3] = ["Debian-exim", "exim", "mail"];

const EXIM_LOGS: [&str; 3] = ["log-main", "log-panic", "log-reject"];

/// The queue of OpenSMTPD and its control socket are where they are, and it asks for the name of each
/// client: it is given a view of the file system of its own, in which the first two are the work
/// folder's, and no name server is asked.
const IN_ITS_OWN_PLACE: &str = "mount --bind \"$1/spool\" /var/spool/smtpd \
    && mount --bind \"$1/resolv.conf\" /etc/resolv.conf && mount --bind \"$1/run\" /run \
    && exec \"$2\" -d -f \"$3\"";

/// Files of Haraka that are the same for everybody.
const HARAKA: [(&str, &str); 9] = [
    ("relay.ini", include_str!("../../../compare/haraka/relay.ini")),
    ("connection.ini", include_str!("../../../compare/haraka/connection.ini")),
    ("tls.ini", include_str!("../../../compare/haraka/tls.ini")),
    ("relay_acl_allow", "127.0.0.0/8\n"),
    ("loglevel", "CRIT\n"),
    ("log.ini", "[main]\nlevel=crit\nformat=default\n"),
    ("me", "relay.test\n"),
    ("host_list", "relay.test\nexample.com\n"),
    ("databytes", "67108864\n"),
];

pub(super) fn exim(site: &Site<'_>) -> anyhow::Result<Program> {
    let program = find_program(Peer::Exim.program()).context("exim4 is not installed")?;
    let file = write_exim(site, &program.to_string_lossy())?;
    let user =
        EXIM_USERS.iter().find_map(|name| owner(name)).context("there is no user of Exim")?;
    // It does everything there as its own user, and does not make the logs itself.
    fs::create_dir_all(site.folder.join("spool"))?;
    for name in EXIM_LOGS {
        fs::write(site.folder.join(name), "")?;
    }
    let keys: &[&str] = if site.is_protected() { &[CERTIFICATE, PRIVATE_KEY] } else { &[] };
    for name in ["spool"].iter().chain(&EXIM_LOGS).chain(keys) {
        chown(site.folder.join(name), Some(user.0), Some(user.1))?;
    }
    site.program(Peer::Exim, ["-C", &file, "-bdf", "-q1m"])
}

pub(super) fn write_exim(site: &Site<'_>, program: &str) -> anyhow::Result<String> {
    let (server, client) = if site.is_protected() {
        let (certificate, key) = (site.file(CERTIFICATE), site.file(PRIVATE_KEY));
        let server = format!(
            "tls_advertise_hosts = *\ntls_certificate = {certificate}\ntls_privatekey = {key}"
        );
        (server, "hosts_require_tls = *")
    } else {
        ("tls_advertise_hosts =".to_owned(), "hosts_avoid_tls = *")
    };
    let values = [
        ("PROGRAM", program),
        ("FOLDER", &*site.folder.to_string_lossy()),
        ("PORT", &site.port.to_string()),
        ("SINK", &site.sink.port().to_string()),
        ("TLS_SERVER", &server),
        ("TLS_CLIENT", client),
    ];
    Ok(site.write("exim.conf", EXIM, &values)?.to_string_lossy().into_owned())
}

pub(super) fn opensmtpd(site: &Site<'_>) -> anyhow::Result<Program> {
    let file = write_opensmtpd(site)?;
    let daemon = site.program(Peer::Opensmtpd, [])?;
    let unshare = find_program("unshare").context("unshare (of util-linux) is not installed")?;
    for name in ["spool", "run"] {
        let folder = site.folder.join(name);
        fs::create_dir_all(&folder)?;
        // It insists on this mode.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o711))?;
    }
    site.write("resolv.conf", "lookup file\n", &[])?;
    let words: [OsString; 7] = [
        "--mount".into(),
        "sh".into(),
        "-c".into(),
        IN_ITS_OWN_PLACE.into(),
        "sh".into(),
        site.folder.into(),
        daemon.path.clone().into(),
    ];
    let arguments = words.into_iter().chain([file.into()]).collect();
    Ok(Program { path: unshare, arguments, ..daemon })
}

pub(super) fn write_opensmtpd(site: &Site<'_>) -> anyhow::Result<String> {
    let (certificate, key) = (site.file(CERTIFICATE), site.file(PRIVATE_KEY));
    let pki = format!("pki relay.test cert \"{certificate}\"\npki relay.test key \"{key}\"");
    let (pki, listen, scheme, verify) = if site.is_protected() {
        (pki.as_str(), "tls pki relay.test", "smtp+tls", "tls no-verify")
    } else {
        ("", "", "smtp+notls", "")
    };
    let values = [
        ("PKI", pki),
        ("PORT", &*site.port.to_string()),
        ("LISTEN_TLS", listen),
        ("URL", &format!("{scheme}://{}", site.sink)),
        ("VERIFY", verify),
    ];
    Ok(site.write("smtpd.conf", OPENSMTPD, &values)?.to_string_lossy().into_owned())
}

pub(super) fn haraka(site: &Site<'_>) -> anyhow::Result<Program> {
    write_haraka(site)?;
    fs::create_dir_all(site.folder.join("queue"))?;
    if site.is_protected() {
        for (from, to) in [(CERTIFICATE, "tls_cert.pem"), (PRIVATE_KEY, "tls_key.pem")] {
            fs::copy(site.folder.join(from), site.folder.join("config").join(to))?;
        }
    }
    site.program(Peer::Haraka, ["-c", &site.folder.to_string_lossy()])
}

pub(super) fn write_haraka(site: &Site<'_>) -> anyhow::Result<()> {
    let (port, sink) = (site.port.to_string(), site.sink.port().to_string());
    let (plugins, tls) =
        if site.is_protected() { ("tls\nrelay\n", "true") } else { ("relay\n", "false") };
    for (name, text) in HARAKA {
        site.write(&format!("config/{name}"), text, &[])?;
    }
    let smtp = include_str!("../../../compare/haraka/smtp.ini");
    let routes = include_str!("../../../compare/haraka/relay_dest_domains.ini");
    let outbound = include_str!("../../../compare/haraka/outbound.ini");
    site.write("config/plugins", plugins, &[])?;
    site.write("config/smtp.ini", smtp, &[("PORT", &port)])?;
    site.write("config/relay_dest_domains.ini", routes, &[("SINK", &sink)])?;
    site.write("config/outbound.ini", outbound, &[("TLS", tls)])?;
    Ok(())
}
