//! Configuration files with places that are filled in.
//!
//! A place is `@NAME@` in capitals: each of the languages here has braces and dollars of its own.

use anyhow::{Context, bail};

/// The text with every place filled in. A value without a place, or a place without a value, is a
/// fault of whoever wrote one of them.
pub(crate) fn render(template: &str, values: &[(&str, &str)]) -> anyhow::Result<String> {
    let mut text = template.to_owned();
    for (name, value) in values {
        let place = format!("@{name}@");
        if !template.contains(&place) {
            bail!("there is no place {place} in the template");
        }
        text = text.replace(&place, value);
    }
    match place_in(&text) {
        Some(place) => Err(anyhow::anyhow!("{place}")).context("a place has no value"),
        None => Ok(text),
    }
}

/// The first `@NAME@`.
fn place_in(text: &str) -> Option<&str> {
    text.match_indices('@').find_map(|(start, _)| {
        let name = text[start + 1..].split_once('@')?.0;
        let is_name = !name.is_empty()
            && name.bytes().all(|octet| octet == b'_' || octet.is_ascii_uppercase());
        is_name.then(|| &text[start..start + name.len() + 2])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_in() {
        let text = render("a @X@ b @X@ @LONG_NAME@", &[("X", "1"), ("LONG_NAME", "2")]).unwrap();
        assert_eq!(text, "a 1 b 1 2");
        assert_eq!(render("user@example.net, a@b", &[]).unwrap(), "user@example.net, a@b");
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let complaint = |template, values| format!("{:#}", render(template, values).unwrap_err());
        assert_eq!(complaint("a", &[("X", "1")]), "there is no place @X@ in the template");
        assert_eq!(complaint("x@y @X@@Y@", &[("X", "1")]), "a place has no value: @Y@");
    }
}
