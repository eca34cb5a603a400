//! What is between the gateway and a misbehaving upstream: TLS or none, and who says who they are.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use gatepost_testkit::upstream::Builder;
use gatepost_testkit::{ScriptedUpstream, ServerTls, Versions};

use crate::harness::{Settings, config_text};
use crate::upstream_tls::World;

/// Of `tim`; of no length at which its base64 would begin that of something longer.
pub(super) const PASSWORD: &str = "correct horse battery staple";

/// How a connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Plain,
    /// From the first octet on.
    Implicit(Versions),
    StartTls(Versions),
    /// STARTTLS, and behind it this mechanism.
    Login(&'static str),
}

impl Wire {
    /// The certificates and files of it.
    pub(super) fn world(self) -> Option<World> {
        let versions = match self {
            Self::Plain => return None,
            Self::Implicit(versions) | Self::StartTls(versions) => versions,
            Self::Login(_) => Versions::Both,
        };
        let mut world = World::new();
        world.tls = ServerTls::new(&world.ca, &world.ca.issue(&["127.0.0.1"]), versions);
        world.put("password", PASSWORD);
        Some(world)
    }

    pub(super) fn protect(self, upstream: Builder, world: Option<&World>) -> Builder {
        let Some(World { tls, .. }) = world else { return upstream };
        match self {
            Self::Plain => upstream,
            Self::Implicit(_) => upstream.implicit_tls(tls),
            Self::StartTls(_) => upstream.starttls(tls),
            Self::Login(_) => upstream.starttls(tls).account("tim", PASSWORD),
        }
    }

    pub(super) fn config(self, upstream: &ScriptedUpstream, world: Option<&World>) -> String {
        let Some(world) = world else {
            return config_text(upstream.addr(), &Settings::default());
        };
        let lines = match self {
            Self::Implicit(_) => "tls = \"implicit\"".to_owned(),
            Self::Login(mechanism) => format!(
                "auth = {{ mechanism = \"{mechanism}\", username = \"tim\", \
                 password_file = \"DIR/password\" }}"
            ),
            Self::Plain | Self::StartTls(_) => String::new(),
        };
        world.config(upstream, &format!("{lines}\nca_file = \"DIR/ca.pem\""))
    }
}

/// The password in these octets, in any form in which it is said.
pub(super) fn secret_in(octets: &[u8]) -> Option<String> {
    let forms =
        [PASSWORD.to_owned(), BASE64.encode(PASSWORD), BASE64.encode(format!("\0tim\0{PASSWORD}"))];
    forms.into_iter().find(|form| octets.windows(form.len()).any(|it| it == form.as_bytes()))
}
