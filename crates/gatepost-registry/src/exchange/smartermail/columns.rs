//! The columns of the whitelist's page, as they were called over the years.

use crate::exchange::findings::quoted;

/// What a column says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Address,
    AuthBypass,
    Description,
    /// Of no meaning for relaying.
    Ignored,
    /// The names of services, all in one cell.
    Services,
    Smtp,
}

/// Columns of a list without a header.
pub(super) const PLAIN: [Column; 2] = [Column::Address, Column::Description];

/// The names, without case and without what is not a letter.
const NAMES: [(Column, &[&str]); 6] = [
    (
        Column::Address,
        &[
            "source",
            "address",
            "addresses",
            "ip",
            "ipaddress",
            "ipaddresses",
            "iprange",
            "range",
            "cidr",
        ],
    ),
    (Column::AuthBypass, &["smtpauthbypass", "smtpauthenticationbypass", "authbypass"]),
    (Column::Description, &["description", "notes"]),
    (
        Column::Ignored,
        &[
            "bruteforce",
            "changed",
            "country",
            "disablegreylisting",
            "eas",
            "imap",
            "ipbypass",
            "ldap",
            "mapiews",
            "pop",
            "smtpspambypass",
            "spambypass",
            "webdav",
            "webmail",
            "xmpp",
        ],
    ),
    (Column::Services, &["services", "protocols", "protocol"]),
    (Column::Smtp, &["smtp"]),
];

/// The columns that a header names; none if the row is no header, because it names no column of
/// addresses.
pub(super) fn of_header<'c>(
    cells: impl Iterator<Item = &'c str> + Clone,
) -> Option<Result<Vec<Column>, String>> {
    let is_header = cells.clone().any(|cell| column(cell) == Some(Column::Address));
    is_header.then(|| {
        let mut columns = Vec::new();
        for cell in cells {
            let Some(column) = column(cell) else {
                return Err(format!(
                    "{} is no column of the whitelist; take it out, or name it as the page does, like \
                     Address, Description, SMTP or SMTP Auth Bypass",
                    quoted(cell)
                ));
            };
            if column != Column::Ignored && columns.contains(&column) {
                return Err(format!("a column before says the same as {}; take one out", quoted(cell)));
            }
            columns.push(column);
        }
        Ok(columns)
    })
}

fn column(cell: &str) -> Option<Column> {
    let name = name(cell);
    NAMES.iter().find(|(_, names)| names.contains(&name.as_str())).map(|(column, _)| *column)
}

/// `IP Address(es)` and `ip_addresses` are the same.
fn name(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphabetic).map(|c| c.to_ascii_lowercase()).collect()
}

/// Whether a cell of services names one that is called like the column.
pub(super) fn names(cell: &str, service: Column) -> bool {
    cell.split([',', ';', '|', '/']).any(|part| column(part) == Some(service))
}

/// Whether a cell is a toggle that says something, as no description is.
pub(super) fn is_switch(cell: &str) -> bool {
    !cell.is_empty() && switch(cell).is_ok()
}

/// Whether a toggle is on.
pub(super) fn switch(cell: &str) -> Result<bool, &'static str> {
    match cell.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" | "x" | "enabled" => Ok(true),
        "false" | "no" | "off" | "0" | "" | "disabled" => Ok(false),
        _ => Err("neither on nor off; write true or false"),
    }
}
