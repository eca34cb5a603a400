//! Keys whose value is one of a few words, in the policy and in the configuration alike.

use std::fmt;

/// The words a key knows. Those without a value are not built yet.
pub type Choices<T> = &'static [(&'static str, Option<T>)];

/// Why a word has no value, and which have one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ChoiceError {
    word: String,
    is_known: bool,
    built: Vec<&'static str>,
}

/// The value behind a word.
pub fn choose<T: Copy>(word: &str, choices: Choices<T>) -> Result<T, ChoiceError> {
    let known = choices.iter().find(|(known, _)| *known == word);
    if let Some(&(_, Some(value))) = known {
        return Ok(value);
    }
    let built = choices.iter().filter(|(_, value)| value.is_some());
    Err(ChoiceError {
        word: word.to_owned(),
        is_known: known.is_some(),
        built: built.map(|(word, _)| *word).collect(),
    })
}

/// `"lazy" is unknown; write "sync" or "hybrid" or "spool"`
impl fmt::Display for ChoiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trouble = if self.is_known { "not built yet" } else { "unknown" };
        write!(f, "{:?} is {trouble}; write ", self.word)?;
        for (index, word) in self.built.iter().enumerate() {
            let or = if index == 0 { "" } else { " or " };
            write!(f, "{or}{word:?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_known_built_or_told() {
        let choices: Choices<u8> = &[("one", Some(1)), ("two", Some(2)), ("three", None)];
        assert_eq!(choose("two", choices), Ok(2));
        let told = |word| choose(word, choices).expect_err(word).to_string();
        assert_eq!(told("three"), "\"three\" is not built yet; write \"one\" or \"two\"");
        assert_eq!(told("One"), "\"One\" is unknown; write \"one\" or \"two\"");
    }
}
