//! The command line of `simulate`, and its way into the options of the library.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use gatepost_loadtest::KeyedCertificate;
use gatepost_loadtest::simulate::{
    Account, ClientCredentials, Limit, Provider, Simulator, SimulatorOptions,
};
use ipnet::IpNet;

use crate::{live, stop};

/// What stands below the options of `simulate --help`.
const AFTER_HELP: &str = "\
Providers, and what their customer shows:
  google-relay    a listed address with a domain in MAIL or EHLO, or AUTH relay@example.com simulated
  m365-auth       AUTH XOAUTH2 as relay@example.com, with a token from the token endpoint
  m365-connector  a client certificate *.example.com, or a listed IPv4 address with a domain in MAIL
  sendgrid        AUTH apikey SG.simulated, from a listed address
  ses             AUTH AKIASIMULATED simulated, with a registered domain in MAIL and From
  smartermail     a listed address, or AUTH relay@example.com simulated

Limits, where the provider has them (--limit NAME=N, or NAME=none):
  connections, message-octets, messages-per-connection, messages-per-minute, recipients-per-day,
  recipients-per-hour, recipients-per-message, recipients-per-second, recipients-per-ten-minutes

Examples:
  gatepost-loadtest simulate --as ses --write-ca ca.pem
  gatepost-loadtest simulate --as google-relay 127.0.0.1:2587 --address 127.0.0.2 --hurry 600
  gatepost-loadtest simulate --as m365-connector --write-client-certificate relay.pem
  gatepost-loadtest simulate --as m365-auth --token-endpoint-bind 127.0.0.1:8443 --token-lifetime 30

Exit status: 0 if no client broke a rule, 1 if one did, 2 if it could not start.";

/// Receive messages as a provider would, and judge the clients.
///
/// A real SMTP server that offers, demands, limits, throttles and refuses what the provider does,
/// word by word where the words are known. Prints where it listens; on Ctrl-C or SIGTERM one line
/// with the totals, and one for each thing that a client did and must not do: commands sent without
/// waiting where PIPELINING is not offered, no EHLO after STARTTLS, passwords in clear, bare LF in
/// content, more messages than a connection may bring, and their like.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct SimulateArguments {
    /// Provider: google-relay, m365-auth, m365-connector, sendgrid, ses or smartermail
    #[arg(long = "as", value_name = "PROVIDER")]
    provider: Provider,

    /// Address to listen on, in plain text with STARTTLS; port 0 picks a free one
    #[arg(value_name = "ADDRESS:PORT", default_value = "127.0.0.1:2587")]
    bind: SocketAddr,

    /// Address where TLS begins at once, if the provider has such a port [default: any free port]
    #[arg(long, value_name = "ADDRESS:PORT")]
    implicit_bind: Option<SocketAddr>,

    /// Divide all times of the provider: with 10, an idle cut after 10 s comes after 1 s, and a
    /// rate per minute is one per 6 s
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    hurry: u32,

    /// Have another limit than the provider, or none; may be repeated (names below)
    #[arg(long = "limit", value_name = "NAME=N", value_parser = limit)]
    limits: Vec<(Limit, Option<u64>)>,

    #[command(flatten, next_help_heading = "The customer")]
    customer: CustomerArguments,

    #[command(flatten, next_help_heading = "TLS")]
    tls: TlsArguments,

    #[command(flatten, next_help_heading = "Tokens for XOAUTH2")]
    tokens: TokenArguments,
}

#[derive(Debug, Args)]
struct CustomerArguments {
    /// Domain or address that is registered, accepted or verified; may be repeated
    #[arg(long = "domain", value_name = "DOMAIN", default_value = "example.com")]
    domains: Vec<String>,

    /// Address or network on the provider's list; may be repeated [default: loopback]
    #[arg(long = "address", value_name = "NETWORK", value_parser = network)]
    addresses: Vec<IpNet>,

    /// User name and password of AUTH; may be repeated [default: the provider's, see below]
    #[arg(long = "account", value_name = "USER:PASSWORD", value_parser = account)]
    accounts: Vec<Account>,

    /// Name that a client certificate may have; may be repeated
    #[arg(long = "certificate-name", value_name = "NAME", default_value = "*.example.com")]
    certificate_names: Vec<String>,
}

#[derive(Debug, Args)]
struct TlsArguments {
    /// Write the certificate of the throw-away CA here, for clients to trust
    #[arg(long, value_name = "FILE", conflicts_with = "certificate")]
    write_ca: Option<PathBuf>,

    /// Write a client certificate with its intermediate and its key here (m365-connector)
    #[arg(long, value_name = "FILE", conflicts_with = "certificate")]
    write_client_certificate: Option<PathBuf>,

    /// Name in that client certificate
    #[arg(long, value_name = "NAME", default_value = "relay.example.com")]
    client_name: String,

    /// Further name in the server's throw-away certificate; may be repeated
    #[arg(long = "server-name", value_name = "NAME")]
    server_names: Vec<String>,

    /// Certificate of the server, PEM with its chain, instead of a throw-away one
    #[arg(long, value_name = "FILE", requires = "private_key")]
    certificate: Option<PathBuf>,

    /// Its key
    #[arg(long, value_name = "FILE", requires = "certificate")]
    private_key: Option<PathBuf>,

    /// Roots that vouch for client certificates, PEM [default: the throw-away CA]
    #[arg(long, value_name = "FILE")]
    client_ca: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct TokenArguments {
    /// Address of the token endpoint, plain HTTP [default: any free port]
    #[arg(long, value_name = "ADDRESS:PORT")]
    token_endpoint_bind: Option<SocketAddr>,

    /// Seconds that a token is good; not shortened by --hurry
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    token_lifetime: u64,

    /// Id of the application that gets tokens
    #[arg(long, value_name = "ID", default_value_t = ClientCredentials::default().id)]
    client_id: String,

    /// Its secret
    #[arg(long, value_name = "SECRET", default_value_t = ClientCredentials::default().secret)]
    client_secret: String,
}

impl SimulateArguments {
    /// Serves until it is told to stop, and says whether all clients kept the rules.
    pub(crate) async fn run(&self) -> anyhow::Result<ExitCode> {
        let stopped = stop::signal()?;
        let simulator = Simulator::start(self.options()?).await?;
        self.write_files(&simulator)?;
        println!("listening on {}", simulator.local_addr());
        if let Some(address) = simulator.implicit_addr() {
            println!("listening on {address}, TLS at once");
        }
        if let Some(endpoint) = simulator.token_endpoint() {
            println!("tokens from {endpoint}");
        }
        live::show_while(stopped, || simulator.record().to_string()).await;
        let record = simulator.shutdown().await;
        println!("{record}");
        for violation in &record.violations {
            println!("{violation}");
        }
        Ok(if record.violation_count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn options(&self) -> anyhow::Result<SimulatorOptions> {
        let mut options = SimulatorOptions::new(self.provider);
        options.bind = self.bind;
        options.implicit_bind = self.implicit_bind;
        options.hurry = self.hurry;
        options.limits.clone_from(&self.limits);
        options.domains.clone_from(&self.customer.domains);
        options.certificate_names.clone_from(&self.customer.certificate_names);
        options.accounts.clone_from(&self.customer.accounts);
        if !self.customer.addresses.is_empty() {
            options.addresses.clone_from(&self.customer.addresses);
        }
        options.server_names.clone_from(&self.tls.server_names);
        if let (Some(certificate), Some(private_key)) =
            (&self.tls.certificate, &self.tls.private_key)
        {
            options.certificate = Some(KeyedCertificate {
                certificate: read(certificate)?,
                private_key: read(private_key)?,
            });
        }
        options.client_ca = self.tls.client_ca.as_deref().map(read).transpose()?;
        options.token_bind = self.tokens.token_endpoint_bind;
        options.token_lifetime = Duration::from_secs(self.tokens.token_lifetime);
        options.token_client = ClientCredentials {
            id: self.tokens.client_id.clone(),
            secret: self.tokens.client_secret.clone(),
        };
        Ok(options)
    }

    /// Writes the files that were asked for.
    fn write_files(&self, simulator: &Simulator) -> anyhow::Result<()> {
        if let (Some(file), Some(pem)) = (&self.tls.write_ca, simulator.ca_pem()) {
            write(file, &pem)?;
        }
        if let Some(file) = &self.tls.write_client_certificate {
            let pair = simulator.client_certificate(&self.tls.client_name)?;
            write(file, &(pair.certificate + &pair.private_key))?;
        }
        Ok(())
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

fn limit(text: &str) -> anyhow::Result<(Limit, Option<u64>)> {
    let (name, most) = text.split_once('=').context("should be NAME=N or NAME=none")?;
    let limit = name.parse()?;
    let most = match most {
        "none" => None,
        most => Some(most.parse().context("N should be a number, or none")?),
    };
    Ok((limit, most))
}

fn network(text: &str) -> anyhow::Result<IpNet> {
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        return Ok(address.into());
    }
    text.parse().context("should be an address, or a network such as 192.0.2.0/24")
}

fn account(text: &str) -> anyhow::Result<Account> {
    match text.split_once(':') {
        Some((username, password)) if !username.is_empty() => {
            Ok(Account { username: username.to_owned(), password: password.to_owned() })
        }
        _ => bail!("should be USER:PASSWORD"),
    }
}
