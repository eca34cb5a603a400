//! `gatepost hash-password`: what a `[[credential]]` knows of its password.
//!
//! It needs no configuration and no gateway. The password is never an argument: those are seen by
//! everybody on the machine, and kept in the history of a shell.

use std::io::{self, BufRead, IsTerminal, Read};

use anyhow::Context;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};
use gatepost_smtp::sasl::PASSWORD_OCTETS_MAX;
use zeroize::Zeroizing;

use super::print;
use crate::{errors::Failure, exit::Exit};

/// KiB, passes and lanes, as OWASP recommends them for argon2id: some 20 ms of a core for each login.
const COST: (u32, u32, u32) = (19_456, 2, 1);
/// Octets of salt (RFC 9106 §3.1).
const SALT_OCTETS: usize = 16;

/// Asks for a password and prints its hash.
pub fn hash_password() -> anyhow::Result<Exit> {
    let password = if io::stdin().is_terminal() { ask()? } else { line(io::stdin().lock())? };
    check(&password)?;
    print(&format!("{}\n", hash(&password, &salt()?)?))?;
    Ok(Exit::Ok)
}

fn ask() -> anyhow::Result<Zeroizing<String>> {
    let prompt =
        |text| rpassword::prompt_password(text).context("the terminal").map(Zeroizing::new);
    let password = prompt("Password: ")?;
    // An empty one is refused before it is typed again.
    check(&password)?;
    if *prompt("Again: ")? == *password {
        return Ok(password);
    }
    Err(Failure::new(Exit::Usage, "the two passwords are not the same; try again").into())
}

/// One line, and nothing behind it: what else would it be for?
fn line(input: impl BufRead) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    // More than the longest password with its line end is too long, however long.
    input
        .take(PASSWORD_OCTETS_MAX as u64 + 3)
        .read_to_string(&mut text)
        .context("standard input")?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = Zeroizing::new(password.strip_suffix('\r').unwrap_or(password).to_owned());
    if password.contains(['\n', '\r']) {
        let message = "standard input has more than one line; give the password as one";
        return Err(Failure::new(Exit::Usage, message).into());
    }
    Ok(password)
}

fn check(password: &str) -> Result<(), Failure> {
    if password.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            "the password is empty; nobody could be told apart by it",
        ));
    }
    if password.len() > PASSWORD_OCTETS_MAX {
        let message = format_args!("the password is longer than {PASSWORD_OCTETS_MAX} octets");
        return Err(Failure::new(Exit::Usage, message));
    }
    Ok(())
}

/// From the source that TLS has its randomness of.
fn salt() -> anyhow::Result<[u8; SALT_OCTETS]> {
    let mut salt = [0; SALT_OCTETS];
    let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    random.fill(&mut salt).map_err(|_| anyhow::anyhow!("the system has no randomness"))?;
    Ok(salt)
}

fn hash(password: &str, salt: &[u8]) -> anyhow::Result<String> {
    let (memory_kib, iterations, lanes) = COST;
    let params = Params::new(memory_kib, iterations, lanes, None)?;
    let argon2id = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    Ok(argon2id.hash_password_with_salt(password.as_bytes(), salt)?.to_string())
}

#[cfg(test)]
mod tests {
    use argon2::PasswordVerifier;
    use gatepost_policy::credential::PasswordHash;

    use super::*;

    fn read(input: &str) -> Result<String, String> {
        let password = line(input.as_bytes()).map_err(|error| error.to_string())?;
        check(&password).map_err(|error| error.to_string())?;
        Ok(password.to_string())
    }

    #[test]
    fn one_line_is_a_password() {
        for (input, password) in
            [("a b\n", "a b"), ("a b\r\n", "a b"), ("a b", "a b"), (" \n", " ")]
        {
            assert_eq!(read(input).as_deref(), Ok(password));
        }
        let longest = "x".repeat(PASSWORD_OCTETS_MAX);
        assert_eq!(read(&format!("{longest}\r\n")), Ok(longest.clone()));
        for (input, told) in [
            ("", "is empty"),
            ("\n", "is empty"),
            ("a\nb\n", "more than one line"),
            (&format!("{longest}x\n"), "longer than 1024 octets"),
            (&"x".repeat(5000), "longer than 1024 octets"),
        ] {
            assert!(read(input).expect_err("no password").contains(told), "{told}");
        }
    }

    #[test]
    fn a_hash_is_one_that_a_policy_takes() {
        let made = hash("secret", &salt().expect("randomness")).expect("hashed");
        assert!(made.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{made}");
        assert!(made.parse::<PasswordHash>().is_ok());
        assert!(Argon2::default().verify_password(b"secret", made.as_str()).is_ok());
        assert!(Argon2::default().verify_password(b"Secret", made.as_str()).is_err());
        assert_ne!(salt().expect("randomness"), salt().expect("randomness"));
    }
}
