//! Questions to name servers, and to the hosts file of this machine.
//!
//! What the machine says in `/etc/resolv.conf` and `/etc/hosts` holds, and is read again when it
//! has changed. Two calls of `stat` a look-up tell; a look-up is seldom, and a thread for each
//! would cost more. No answer is kept here.

use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Hosts, TokioResolver};

use super::cache::Fresh;
use super::{Exchanger, LookupError};
use crate::upstream::IpVersion;

/// What this machine is set up with: name servers, and names that are known without them.
const SYSTEM_FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// How long what the hosts file says holds until the file is looked at again.
const HOSTS_FILE_TTL: Duration = Duration::from_secs(5);
/// How long nothing holds where the answer does not say (no SOA record came with it).
const NEGATIVE_TTL: Duration = Duration::from_secs(30);
/// Records of one answer that are kept: a reply over TCP can hold thousands.
const RECORDS_MAX: usize = 64;

/// Who is asked for the addresses of hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NameServers {
    /// Those that the machine is set up with, its hosts file first.
    #[default]
    System,
    /// These, and no file.
    At(Vec<SocketAddr>),
}

/// The way to the name servers.
pub(super) struct Dns {
    servers: NameServers,
    files: [PathBuf; 2],
    made: Mutex<Option<Arc<Made>>>,
}

/// A way that was made from what the files said.
struct Made {
    seen: Seen,
    hosts: Hosts,
    search: Vec<Name>,
    /// With so many dots a name is first asked for as it is written.
    dots_min: usize,
    resolver: Result<TokioResolver, Arc<str>>,
}

/// What tells whether a file has changed: inode, length and time of both.
#[derive(PartialEq, Eq)]
struct Seen([Option<(u64, u64, SystemTime)>; 2]);

/// What an answer has in it.
struct Records<T> {
    list: Vec<T>,
    ttl: Duration,
    /// Why the list is empty.
    absence: LookupError,
}

impl Dns {
    pub(super) fn new(servers: NameServers) -> Self {
        Self { servers, files: SYSTEM_FILES.map(PathBuf::from), made: Mutex::new(None) }
    }

    /// The addresses of a host. A name that ends with a dot is complete; to others the search list
    /// of the machine applies.
    pub(super) async fn addresses(
        &self,
        host: &str,
        ip: IpVersion,
    ) -> Result<Fresh<Result<Arc<[IpAddr]>, LookupError>>, Arc<str>> {
        let made = self.made();
        let written = Name::from_ascii(host).map_err(|error| in_words(&error))?;
        let listed = made.listed(&written, ip);
        if !listed.is_empty() {
            return Ok(Fresh::positive(Ok(listed.into()), HOSTS_FILE_TTL));
        }
        let resolver = made.resolver.as_ref().map_err(Arc::clone)?;
        let mut nothing = (LookupError::NoSuchName, NEGATIVE_TTL);
        for name in made.names(&written) {
            // A name that may be there is not looked for elsewhere: a search domain that answers
            // to everything would get the mail while a name server is down.
            let (records, is_whole) = addresses_of(resolver, name, ip).await?;
            if records.list.is_empty() {
                if records.absence != LookupError::NoSuchName {
                    nothing.0 = records.absence;
                }
                nothing.1 = nothing.1.min(records.ttl);
            } else {
                let list = Ok(records.list.into());
                let fresh = if is_whole { Fresh::positive } else { Fresh::partial };
                return Ok(fresh(list, records.ttl));
            }
        }
        let (absence, ttl) = nothing;
        Ok(Fresh::negative(Err(absence), ttl))
    }

    /// The mail exchangers of a domain (RFC 5321 §5.1), in no order.
    pub(super) async fn exchangers(
        &self,
        domain: &str,
    ) -> Result<Fresh<Result<Arc<[Exchanger]>, LookupError>>, Arc<str>> {
        let made = self.made();
        let mut domain = Name::from_ascii(domain).map_err(|error| in_words(&error))?;
        domain.set_fqdn(true);
        let itself = Exchanger { preference: 0, name: domain.to_ascii().into() };
        let resolver = made.resolver.as_ref().map_err(Arc::clone)?;
        let exchangers = lookup(resolver, domain, RecordType::MX, |data| match data {
            RData::MX(mx) => Some((mx.preference, mx.exchange.clone())),
            _ => None,
        });
        let Records { list, ttl, absence } = exchangers.await?;
        if list.is_empty() {
            return Ok(match absence {
                LookupError::NoSuchName => Fresh::negative(Err(absence), ttl),
                // RFC 5321 §5.1: a domain without MX records is its own exchanger.
                _ => Fresh::positive(Ok([itself].into()), ttl),
            });
        }
        let named: Arc<[Exchanger]> = list
            .into_iter()
            .filter(|(_, name)| !name.is_root())
            .map(|(preference, name)| Exchanger { preference, name: absolute(name) })
            .collect();
        // RFC 7505 §3: the root and nothing else.
        let named = if named.is_empty() { Err(LookupError::NullMx) } else { Ok(named) };
        Ok(Fresh::positive(named, ttl))
    }

    /// The way as the files say it now.
    fn made(&self) -> Arc<Made> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = match self.servers {
            NameServers::System => Seen(self.files.each_ref().map(|path| look(path))),
            NameServers::At(_) => Seen([None, None]),
        };
        match &*made {
            Some(made) if made.seen == seen => Arc::clone(made),
            _ => Arc::clone(made.insert(Arc::new(Made::new(&self.servers, &self.files, seen)))),
        }
    }
}

impl Made {
    fn new(servers: &NameServers, files: &[PathBuf; 2], seen: Seen) -> Self {
        let [resolv_conf, hosts_file] = files;
        let mut hosts = Hosts::default();
        let read = match servers {
            NameServers::System => {
                // A machine need not have one. Of one that breaks off, what was read holds.
                let _ = File::open(hosts_file).and_then(|file| hosts.read_hosts_conf(file));
                fs::read(resolv_conf).map_err(NetError::from).and_then(parse_resolv_conf)
            }
            NameServers::At(addresses) => {
                let servers = addresses.iter().map(|address| server_at(*address)).collect();
                let config = ResolverConfig::from_parts(None, Vec::new(), servers);
                Ok((config, ResolverOpts::default()))
            }
        };
        match read {
            Ok((config, options)) => {
                let dots_min = options.ndots;
                let search = if config.search.is_empty() {
                    config.domain.clone().into_iter().collect()
                } else {
                    config.search.clone()
                };
                let resolver = resolver(config, options).map_err(|error| in_words(&error));
                Self { seen, hosts, search, dots_min, resolver }
            }
            Err(error) => {
                let resolver = Err(format!("{}: {error}", resolv_conf.display()).into());
                Self { seen, hosts, search: Vec::new(), dots_min: 1, resolver }
            }
        }
    }

    /// What the hosts file says. If it knows a host, nobody else is asked.
    fn listed(&self, name: &Name, ip: IpVersion) -> Vec<IpAddr> {
        let found = [RecordType::A, RecordType::AAAA].into_iter().filter_map(|kind| {
            self.hosts.lookup_static_host(&Query::query(name.to_lowercase(), kind))
        });
        let addresses = found.flat_map(|found| {
            found.answers().iter().filter_map(|record| address(&record.data)).collect::<Vec<_>>()
        });
        addresses.filter(|address| ip.takes(address)).take(RECORDS_MAX).collect()
    }

    /// The complete names to ask for, in order.
    fn names(&self, written: &Name) -> Vec<Name> {
        let mut complete = written.clone();
        complete.set_fqdn(true);
        if written.is_fqdn() {
            return vec![complete];
        }
        let found_in = |domain: &Name| written.clone().append_domain(domain).ok();
        let mut names: Vec<Name> = self.search.iter().filter_map(found_in).collect();
        let dots = usize::from(written.num_labels()).saturating_sub(1);
        let place = if dots >= self.dots_min { 0 } else { names.len() };
        names.insert(place, complete);
        names
    }
}

fn server_at(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

fn resolver(config: ResolverConfig, mut options: ResolverOpts) -> Result<TokioResolver, NetError> {
    // Answers are kept by us, which is how an old one can be used; and the hosts file is ours.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    let provider = TokioRuntimeProvider::default();
    TokioResolver::builder_with_config(config, provider).with_options(options).build()
}

/// The addresses of a complete name, and whether every question for them was answered. Nothing is
/// asked for that `ip` does not allow.
async fn addresses_of(
    resolver: &TokioResolver,
    name: Name,
    ip: IpVersion,
) -> Result<(Records<IpAddr>, bool), Arc<str>> {
    let ask = |kind: RecordType| lookup(resolver, name.clone(), kind, address);
    let (mut first, second) = match ip {
        IpVersion::V4 => return Ok((ask(RecordType::A).await?, true)),
        IpVersion::V6 => return Ok((ask(RecordType::AAAA).await?, true)),
        IpVersion::Any => match tokio::join!(ask(RecordType::AAAA), ask(RecordType::A)) {
            (Ok(first), Ok(second)) => (first, second),
            (Ok(only), Err(reason)) | (Err(reason), Ok(only)) => {
                return if only.list.is_empty() { Err(reason) } else { Ok((only, false)) };
            }
            (Err(reason), Err(_)) => return Err(reason),
        },
    };
    first.ttl = match (first.list.is_empty(), second.list.is_empty()) {
        (true, false) => second.ttl,
        (false, true) => first.ttl,
        _ => first.ttl.min(second.ttl),
    };
    first.list.extend(second.list);
    Ok((first, true))
}

/// Records of a kind. `Err` means that nobody knows.
async fn lookup<T>(
    resolver: &TokioResolver,
    name: Name,
    kind: RecordType,
    pick: impl Fn(&RData) -> Option<T>,
) -> Result<Records<T>, Arc<str>> {
    let answer = match resolver.lookup(name, kind).await {
        Ok(answer) => answer,
        Err(NetError::Dns(DnsError::NoRecordsFound(nothing))) => {
            let absence = match nothing.response_code {
                ResponseCode::NXDomain => LookupError::NoSuchName,
                ResponseCode::NoError => LookupError::NoAddress,
                code => return Err(format!("a name server says {code}").into()),
            };
            let ttl = nothing.negative_ttl.map_or(NEGATIVE_TTL, seconds);
            return Ok(Records { list: Vec::new(), ttl, absence });
        }
        Err(error) => return Err(in_words(&error)),
    };
    // Aliases are among the records, and their time counts too.
    let ttl = answer.answers().iter().map(|record| record.ttl).min().unwrap_or_default();
    let picked = answer.answers().iter().filter_map(|record| pick(&record.data));
    let list = picked.take(RECORDS_MAX).collect();
    Ok(Records { list, ttl: seconds(ttl), absence: LookupError::NoAddress })
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    }
}

/// A name that no search list is applied to.
fn absolute(mut name: Name) -> Arc<str> {
    name.set_fqdn(true);
    name.to_ascii().into()
}

fn look(path: &Path) -> Option<(u64, u64, SystemTime)> {
    let file = fs::metadata(path).ok()?;
    Some((file.ino(), file.len(), file.modified().ok()?))
}

const fn seconds(ttl: u32) -> Duration {
    Duration::from_secs(ttl as u64)
}

fn in_words(error: &impl ToString) -> Arc<str> {
    error.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(search: &[&str], dots_min: usize, hosts_file: &str) -> Made {
        let mut hosts = Hosts::default();
        hosts.read_hosts_conf(hosts_file.as_bytes()).expect("readable");
        let search = search.iter().map(|name| Name::from_ascii(name).expect("a name")).collect();
        let resolver = Err("none".into());
        Made { seen: Seen([None, None]), hosts, search, dots_min, resolver }
    }

    fn names(made: &Made, written: &str) -> Vec<String> {
        let written = Name::from_ascii(written).expect("a name");
        made.names(&written).iter().map(Name::to_ascii).collect()
    }

    #[test]
    fn the_search_list_of_the_machine_applies() {
        let usual = made(&["corp.test."], 1, "");
        assert_eq!(names(&usual, "smarthost"), ["smarthost.corp.test.", "smarthost."]);
        assert_eq!(names(&usual, "a.test"), ["a.test.", "a.test.corp.test."]);
        assert_eq!(names(&usual, "a.test."), ["a.test."]);
        let cluster = made(&["mail.svc.", "svc."], 5, "");
        assert_eq!(names(&cluster, "a.test"), ["a.test.mail.svc.", "a.test.svc.", "a.test."]);
    }

    #[test]
    fn what_the_hosts_file_knows_is_not_asked_for() {
        let file = "192.0.2.1 Smarthost.test other\n192.0.2.2 smarthost.test\n2001:db8::1 six\n";
        let made = made(&[], 1, file);
        let listed = |name: &str, ip| made.listed(&Name::from_ascii(name).expect("a name"), ip);
        let both: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        assert_eq!(listed("smarthost.TEST", IpVersion::Any), both);
        assert_eq!(listed("smarthost.test.", IpVersion::V4), both);
        assert!(listed("smarthost.test", IpVersion::V6).is_empty());
        assert_eq!(listed("six", IpVersion::Any), ["2001:db8::1".parse::<IpAddr>().expect("one")]);
        assert!(listed("unknown", IpVersion::Any).is_empty());
    }

    #[tokio::test]
    async fn files_of_the_machine_are_read_again_when_they_have_changed() {
        let directory = tempfile::tempdir().expect("a directory");
        let files = ["resolv.conf", "hosts"].map(|name| directory.path().join(name));
        let dns = Dns { files: files.clone(), ..Dns::new(NameServers::System) };
        let error = dns.addresses("a.test", IpVersion::V4).await.err().expect("no file");
        assert!(error.contains("resolv.conf: "), "{error}");
        for address in ["192.0.2.1", "192.0.2.20"] {
            fs::write(&files[1], format!("{address} a.test\n")).expect("writes");
            let found = dns.addresses("a.test", IpVersion::Any).await.expect("listed").value;
            assert_eq!(*found.expect("one"), [address.parse::<IpAddr>().expect("one")]);
        }
        let conf = "nameserver 127.0.0.1\nsearch corp.test\noptions ndots:3\n";
        fs::write(&files[0], conf).expect("writes");
        let made = dns.made();
        assert_eq!((made.search.len(), made.dots_min), (1, 3));
        assert!(made.resolver.is_ok());
        assert!(Arc::ptr_eq(&made, &dns.made()), "and not when they have not");
    }
}
