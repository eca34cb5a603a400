//! From the text of a dialogue file to dialogues; every error names file and line.

use std::time::Duration;

use super::{Dialogue, Head, Numbered, Rule, Step};
use crate::transcript::unescape;
use crate::upstream::Action;

/// Reads the text of a dialogue file. `file` is its name in errors and failures.
pub fn parse(file: &str, text: &str) -> Result<Vec<Dialogue>, String> {
    let mut parser =
        Parser { file, preamble: Head::default(), dialogues: Vec::new(), previous: ' ' };
    let mut number = 0;
    for line in text.lines() {
        number += 1;
        parser.line(number, line).map_err(|what| format!("{file}:{number}: {what}"))?;
    }
    parser.check_reply_is_complete().map_err(|what| format!("{file}:{number}: {what}"))?;
    if parser.dialogues.iter().all(|dialogue| dialogue.steps.is_empty()) {
        return Err(format!("{file}:{number}: no conversation in this file"));
    }
    Ok(parser.dialogues)
}

struct Parser<'a> {
    file: &'a str,
    preamble: Head,
    dialogues: Vec<Dialogue>,
    /// `=` directly after a line of a message: the next such line belongs to the same.
    previous: char,
}

impl Parser<'_> {
    fn line(&mut self, number: usize, line: &str) -> Result<(), String> {
        let goes_on = std::mem::replace(&mut self.previous, ' ') == '=';
        if line.trim().is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if let Some(title) = line.strip_prefix("---") {
            self.check_reply_is_complete()?;
            self.begin(title.trim());
            return Ok(());
        }
        if let Some(setting) = line.strip_prefix('@') {
            return self.setting(setting);
        }
        let (mark, text) = line.split_at_checked(2).ok_or("what kind of line is this?")?;
        let text = text.strip_prefix(' ').unwrap_or(text);
        let step = match mark {
            "U>" => {
                self.head()?.rules.push(rule(text)?);
                return Ok(());
            }
            "S:" => return self.reply_line(number, text),
            "U=" if text != "none" => {
                self.previous = '=';
                return self.message_line(number, text, goes_on);
            }
            "U=" => Step::UpstreamNothing,
            "U<" => Step::UpstreamLine(text.to_owned()),
            "C:" => Step::Send(format!("{text}\r\n").into()),
            "C|" => Step::Send(unescape(text)?),
            "C!" => client_deed(text)?,
            "S!" if text == "closed" => Step::Closed,
            "S!" if text == "silent" => Step::Silent,
            _ => return Err(format!("unknown kind of line: {line:?}")),
        };
        self.push(number, step)
    }

    fn begin(&mut self, title: &str) {
        self.dialogues.push(Dialogue {
            file: self.file.to_owned(),
            title: title.to_owned(),
            head: self.preamble.clone(),
            steps: Vec::new(),
        });
    }

    /// Where settings and rules go now: to all dialogues, or to the one that has just begun.
    fn head(&mut self) -> Result<&mut Head, String> {
        match self.dialogues.last_mut() {
            None => Ok(&mut self.preamble),
            Some(dialogue) if dialogue.steps.is_empty() => Ok(&mut dialogue.head),
            Some(_) => Err("settings and U> stand before the conversation".to_owned()),
        }
    }

    fn setting(&mut self, setting: &str) -> Result<(), String> {
        let (name, value) = setting.split_once(' ').unwrap_or((setting, ""));
        let value = value.trim();
        let head = self.head()?;
        if name == "from" {
            let from = value.parse().map_err(|_| format!("{value:?} is not an address"))?;
            head.from = Some(from);
        }
        head.settings.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    fn reply_line(&mut self, number: usize, text: &str) -> Result<(), String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        if digits != 3 || !matches!(text.as_bytes().get(3), None | Some(b' ' | b'-')) {
            return Err(format!("{text:?} is not the beginning of a reply"));
        }
        match self.unfinished_reply() {
            Some(lines) => lines.push(text.to_owned()),
            None => self.push(number, Step::Reply(vec![text.to_owned()]))?,
        }
        Ok(())
    }

    fn message_line(&mut self, number: usize, text: &str, goes_on: bool) -> Result<(), String> {
        let line = [&unescape(text)?[..], b"\r\n"].concat();
        let last = self.dialogues.last_mut().and_then(|dialogue| dialogue.steps.last_mut());
        match last {
            Some(Numbered { step: Step::UpstreamMessage(content), .. }) if goes_on => {
                content.extend(line);
                Ok(())
            }
            _ => self.push(number, Step::UpstreamMessage(line)),
        }
    }

    fn push(&mut self, line: usize, step: Step) -> Result<(), String> {
        self.check_reply_is_complete()?;
        if self.dialogues.is_empty() {
            self.begin("");
        }
        let dialogue = self.dialogues.last_mut().expect("one has begun");
        dialogue.steps.push(Numbered { line, step });
        Ok(())
    }

    fn check_reply_is_complete(&mut self) -> Result<(), String> {
        match self.unfinished_reply() {
            Some(lines) => Err(format!("the reply {lines:?} lacks its last line")),
            None => Ok(()),
        }
    }

    /// The lines of the reply before this point, if the last of them says that more follow.
    fn unfinished_reply(&mut self) -> Option<&mut Vec<String>> {
        match self.dialogues.last_mut()?.steps.last_mut() {
            Some(Numbered { step: Step::Reply(lines), .. })
                if lines.last().is_some_and(|line| line[3..].starts_with('-')) =>
            {
                Some(lines)
            }
            _ => None,
        }
    }
}

fn client_deed(text: &str) -> Result<Step, String> {
    match text.split_once(' ').unwrap_or((text, "")) {
        ("close", "") => Ok(Step::Close),
        ("half-close", "") => Ok(Step::HalfClose),
        ("reset", "") => Ok(Step::Reset),
        ("wait", time) => Ok(Step::Wait(duration(time)?)),
        _ => Err(format!("the client cannot {text:?}")),
    }
}

fn rule(text: &str) -> Result<Rule, String> {
    let (event, action_text) = text.split_once(" => ").ok_or("U> wants EVENT => ACTION")?;
    let numbered = event
        .rsplit_once(" #")
        .and_then(|(prefix, nth)| Some((prefix, nth.parse().ok().filter(|&nth: &usize| nth > 0)?)));
    let (prefix, nth) = match numbered {
        Some((prefix, nth)) => (prefix, Some(nth)),
        None => (event, None),
    };
    Ok(Rule { prefix: prefix.to_owned(), nth, action: action(action_text.trim())? })
}

fn action(text: &str) -> Result<Action, String> {
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return Ok(Action::Reply(reply(text)?));
    }
    let unknown = || format!("unknown action {text:?}");
    let (deed, rest) = text.split_once(' ').unwrap_or((text, ""));
    match (deed, rest.split_once(' ')) {
        ("close", None) if rest.is_empty() => Ok(Action::Close),
        ("close", Some(("with", text))) => Ok(Action::ReplyThenClose(reply(text)?)),
        ("close", Some(("after", octets))) => {
            octets.parse().map(Action::CloseAfterData).map_err(|_| unknown())
        }
        ("stall", Some(("after", octets))) => {
            octets.parse().map(Action::StallAfterData).map_err(|_| unknown())
        }
        ("reset", None) if rest.is_empty() => Ok(Action::Reset),
        ("silence", None) if rest.is_empty() => Ok(Action::Silence),
        ("delay", Some((time, text))) => Ok(Action::Delay(duration(time)?, reply(text)?)),
        ("raw", _) => Ok(Action::Raw(unescape(rest)?)),
        ("never", None) if rest.is_empty() => Ok(Action::Panic("U> … => never".to_owned())),
        _ => Err(unknown()),
    }
}

fn reply(text: &str) -> Result<String, String> {
    String::from_utf8(unescape(text)?).map_err(|_| "a reply is text; use raw".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed = match text.strip_suffix("ms") {
        Some(number) => number.parse().map(Duration::from_millis).ok(),
        None => text.strip_suffix('s').and_then(|n| n.parse().map(Duration::from_secs).ok()),
    };
    parsed.ok_or_else(|| format!("{text:?} is not a time like 200ms or 2s"))
}
