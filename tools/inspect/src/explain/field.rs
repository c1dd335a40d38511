//! A structure with its fields, as it is shown.

use serde::Serialize;
use tidelog_format::record_format::escaped;
use tidelog_format::time_text::time_text;

use super::layout::{Form, Layout, Place, signed, unsigned};
use crate::output::hex;

/// What a field or structure is worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "verdict", content = "why")]
pub(crate) enum Verdict {
    /// As it must be, by its own rule or by the checksum that covers it.
    Good,
    /// Not as it must be.
    Bad(String),
    /// The checksum that covers it is bad: it may be anything.
    Doubtful,
    /// No rule and no checksum says anything about it.
    Unchecked,
}

impl Verdict {
    /// Good, or bad for this reason.
    pub(crate) fn when(good: bool, why: impl FnOnce() -> String) -> Verdict {
        if good { Verdict::Good } else { Verdict::Bad(why()) }
    }

    /// What fields under a checksum are worth.
    pub(crate) fn covered(good: bool) -> Verdict {
        if good { Verdict::Good } else { Verdict::Doubtful }
    }

    /// In words for people.
    pub(crate) fn text(&self) -> String {
        match self {
            Verdict::Good => "good".to_owned(),
            Verdict::Bad(why) => format!("BAD: {}", escaped(why.as_bytes())),
            Verdict::Doubtful => "doubtful, its checksum is bad".to_owned(),
            Verdict::Unchecked => "not checked".to_owned(),
        }
    }

    pub(crate) fn is_bad(&self) -> bool {
        matches!(self, Verdict::Bad(_))
    }
}

/// A field's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Value {
    Number(u64),
    Signed(i64),
    /// Hexadecimal digits, or text.
    Text(String),
    Null,
}

impl Value {
    pub(crate) fn text(&self) -> String {
        match self {
            Value::Number(number) => number.to_string(),
            Value::Signed(number) => number.to_string(),
            Value::Text(text) => escaped(text.as_bytes()),
            Value::Null => "null".to_owned(),
        }
    }
}

/// A field as it stands in the file.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Field {
    pub(crate) field: &'static str,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) value: Value,
    pub(crate) meaning: String,
    #[serde(flatten)]
    pub(crate) verdict: Verdict,
    /// As they stand in the file, for hexadecimal digits.
    #[serde(skip)]
    pub(crate) bytes: Vec<u8>,
}

/// A structure as it stands in the file.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Structure {
    pub(crate) structure: &'static str,
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// What it is, in a phrase.
    pub(crate) says: String,
    #[serde(flatten)]
    pub(crate) verdict: Verdict,
    pub(crate) fields: Vec<Field>,
}

impl Structure {
    pub(crate) fn new(structure: &'static str, from: u64, len: usize) -> Structure {
        let to = from + len as u64;
        Structure { structure, from, to, says: String::new(), verdict: Verdict::Good, fields: Vec::new() }
    }

    /// Adds the fields of `layout`, whose first byte is `bytes[0]` at this structure's beginning.
    pub(crate) fn layout(mut self, layout: &Layout, bytes: &[u8], covered: &Verdict) -> Structure {
        for place in layout.fields {
            if let Some(field) = bytes.get(place.at..place.at + place.len) {
                self.fields.push(read(place, layout.big_endian, field, self.from, covered));
            }
        }
        self
    }

    /// Adds a field of its own kind.
    pub(crate) fn push(&mut self, field: Field) {
        self.fields.push(field);
    }

    pub(crate) fn says(mut self, says: impl Into<String>) -> Structure {
        self.says = says.into();
        self
    }

    pub(crate) fn verdict(mut self, verdict: Verdict) -> Structure {
        self.verdict = verdict;
        self
    }

    /// Gives a field another verdict; a bad one makes the structure bad.
    pub(crate) fn judge(&mut self, name: &str, verdict: Verdict) {
        if verdict.is_bad() && !self.verdict.is_bad() {
            self.verdict = verdict.clone();
        }
        if let Some(field) = self.fields.iter_mut().find(|field| field.field == name) {
            field.verdict = verdict;
        }
    }

    /// Says more about a field.
    pub(crate) fn mean(&mut self, name: &str, meaning: &str) {
        if let Some(field) = self.fields.iter_mut().find(|field| field.field == name) {
            field.meaning = format!("{meaning} ({})", field.meaning);
        }
    }

    pub(crate) fn holds(&self, at: u64) -> bool {
        (self.from..self.to).contains(&at)
    }
}

fn read(place: &Place, big_endian: bool, bytes: &[u8], start: u64, covered: &Verdict) -> Field {
    let from = start + place.at as u64;
    let mut meaning = place.meaning.to_owned();
    let mut verdict = covered.clone();
    let value = match place.form {
        Form::Number => Value::Number(unsigned(bytes, big_endian)),
        Form::Signed => Value::Signed(signed(bytes, big_endian)),
        Form::Time => {
            let time = signed(bytes, big_endian);
            meaning = format!("{}, {meaning}", time_text(time));
            Value::Signed(time)
        }
        Form::Sum => Value::Text(format!("{:0width$x}", unsigned(bytes, big_endian), width = 2 * place.len)),
        Form::Id => Value::Text(hex(bytes)),
        Form::Zero => {
            let zero = bytes.iter().all(|byte| *byte == 0);
            if !zero && *covered == Verdict::Unchecked {
                verdict = Verdict::Bad("must be zero and is not".to_owned());
            }
            if zero { Value::Number(0) } else { Value::Text(hex(bytes)) }
        }
    };
    Field {
        field: place.name,
        from,
        to: from + place.len as u64,
        value,
        meaning,
        verdict,
        bytes: bytes.to_vec(),
    }
}
