//! A session of a proxy that names no client: a look whether service is up, and never mail.
//!
//! It is asked for by who is trusted, so nothing of it is counted against anybody or logged; and it
//! is not for policy, because there is no address to look at.

use std::time::Duration;

use gatepost_smtp::command::Greeting;
use gatepost_smtp::server::HealthCheck;

use crate::conn::{Conn, End};
use crate::service::Service;

/// How long such a session may last: a health check is a few lines, and comes again soon.
pub(crate) const LIFETIME: Duration = Duration::from_secs(10);

/// Runs the session to its end.
pub(crate) async fn run(mut conn: Conn, service: &Service) {
    conn.say(&service.greeting);
    let end = converse(&mut conn, service).await;
    conn.close(end).await;
}

async fn converse(conn: &mut Conn, service: &Service) -> End {
    loop {
        let octets = match conn.idle_line(LIFETIME).await {
            Ok(octets) => octets,
            Err(end) => return end,
        };
        let step = HealthCheck.handle(conn.line(octets));
        conn.consume(octets);
        match step.decision() {
            Ok(hello) => conn.say(match hello.greeting {
                Greeting::Helo => &service.helo,
                Greeting::Ehlo => service.ehlo_to_prober(),
            }),
            Err(step) => {
                if let Err(end) = conn.perform(step) {
                    return end;
                }
            }
        }
    }
}
