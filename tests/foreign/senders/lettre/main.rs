//! Sends one message with lettre, exactly as the file has it.
//!
//! usage: `send-with-lettre PORT TLS CA MESSAGE SENDER RECIPIENT...`; the credential, if there is one,
//! comes from the environment.
#![forbid(unsafe_code)]

use std::{env, error::Error, fs};

use lettre::{
    SmtpTransport, Transport,
    address::Envelope,
    transport::smtp::{
        authentication::{Credentials, Mechanism},
        client::{Certificate, Tls, TlsParameters},
        extension::ClientId,
    },
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [port, tls, ca, message, sender, recipients @ ..] = arguments.as_slice() else {
        return Err("usage: send-with-lettre PORT TLS CA MESSAGE SENDER RECIPIENT...".into());
    };
    let recipients = recipients.iter().map(|each| each.parse()).collect::<Result<_, _>>()?;
    let envelope = Envelope::new(Some(sender.parse()?), recipients)?;
    let mut client = SmtpTransport::builder_dangerous("localhost")
        .port(port.parse()?)
        .hello_name(ClientId::Domain("app.test".to_owned()))
        .tls(protection(tls, ca)?);
    if let (Ok(user), Ok(password)) = (env::var("SMTP_USER"), env::var("SMTP_PASSWORD")) {
        let mechanism = match env::var("SMTP_MECHANISM").as_deref() {
            Ok("LOGIN") => Mechanism::Login,
            _ => Mechanism::Plain,
        };
        client =
            client.credentials(Credentials::new(user, password)).authentication(vec![mechanism]);
    }
    // An error says the class of a reply in words, and its code only when asked.
    let told = client.build().send_raw(&envelope, &fs::read(message)?);
    let response = told.inspect_err(|error| eprintln!("{:?}", error.status().map(u16::from)))?;
    println!("{response:?}");
    Ok(())
}

fn protection(tls: &str, ca: &str) -> Result<Tls, Box<dyn Error>> {
    if tls == "none" {
        return Ok(Tls::None);
    }
    let parameters = TlsParameters::builder("localhost".to_owned())
        .add_root_certificate(Certificate::from_pem(&fs::read(ca)?)?)
        .build_rustls()?;
    Ok(if tls == "implicit" { Tls::Wrapper(parameters) } else { Tls::Required(parameters) })
}
