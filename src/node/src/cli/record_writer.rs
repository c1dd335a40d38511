//! The forms in which `tidelog consume` writes a record.

use std::io::IsTerminal;

use tidelog_format::batch::Record;
use tidelog_format::record_format::{RecordFields, RecordFormat, escaped};
use tidelog_proto::http::answers;

use super::args::Output;
use super::table::time_text;

/// Writes records in one form.
#[derive(Debug)]
pub(crate) struct RecordWriter {
    topic: String,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Format(RecordFormat),
    /// The same without control characters.
    Escaped(RecordFormat),
    Json,
    Table,
}

impl RecordWriter {
    pub(crate) fn new(topic: &str, format: RecordFormat, output: Option<Output>) -> RecordWriter {
        let form = match output {
            // A record may hold escape sequences; a file or pipe gets them, a terminal does not.
            None if std::io::stdout().is_terminal() => Form::Escaped(format),
            None => Form::Format(format),
            Some(Output::Json) => Form::Json,
            Some(Output::Table) => Form::Table,
        };
        RecordWriter { topic: topic.to_owned(), form }
    }

    /// What stands before the first record.
    pub(crate) fn begin(&self, out: &mut Vec<u8>) {
        if matches!(self.form, Form::Table) {
            row(out, ["PARTITION", "OFFSET", "TIMESTAMP", "KEY", "VALUE"]);
        }
    }

    /// Appends one record to `out`.
    pub(crate) fn write(&self, out: &mut Vec<u8>, partition: u32, offset: u64, record: &Record<'_>) {
        match &self.form {
            Form::Format(format) => format.write(out, &self.fields(partition, offset, record)),
            Form::Escaped(format) => format.write_escaped(out, &self.fields(partition, offset, record)),
            Form::Json => self.json(out, partition, offset, record),
            Form::Table => {
                let (key, value) = (cell(record.key), cell(record.value));
                let time = time_text(record.timestamp);
                row(out, [&partition.to_string(), &offset.to_string(), &time, &key, &value]);
            }
        }
    }

    fn fields<'a>(&'a self, partition: u32, offset: u64, record: &'a Record<'_>) -> RecordFields<'a> {
        RecordFields {
            topic: &self.topic,
            partition: u64::from(partition),
            offset,
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: &record.headers,
        }
    }

    /// As the server answers a read, with topic and partition in front.
    fn json(&self, out: &mut Vec<u8>, partition: u32, offset: u64, record: &Record<'_>) {
        // A topic name needs no escapes: it is one that the server knows.
        let head = format!("{{\"topic\":\"{}\",\"partition\":{partition},", self.topic);
        out.extend_from_slice(head.as_bytes());
        let start = out.len();
        answers::write_line(out, offset, record);
        // The brace that begins the line is there already.
        out.remove(start);
    }
}

/// Records come one by one, so the widths are fixed and what is longer moves its row to the right.
fn row(out: &mut Vec<u8>, [partition, offset, time, key, value]: [&str; 5]) {
    let line = format!("{partition:>9}  {offset:>10}  {time:<24}  {key:<16}  {value}");
    out.extend_from_slice(line.trim_end().as_bytes());
    out.push(b'\n');
}

fn cell(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(|| "-".to_owned(), escaped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidelog_format::batch::Header;

    fn written(form: impl Fn(RecordFormat) -> Form) -> String {
        let format = RecordFormat::parse(r"%t/%p/%o %k=%s\n").unwrap();
        let writer = RecordWriter { topic: "top".to_owned(), form: form(format) };
        let mut out = Vec::new();
        writer.begin(&mut out);
        let headers = vec![Header { name: b"h", value: Some(b"1") }];
        let record = Record { timestamp: 0, key: Some(b"k"), value: Some(b"a\x1b\"b"), headers };
        writer.write(&mut out, 2, 7, &record);
        writer.write(&mut out, 3, 8, &Record { timestamp: 1, ..Record::default() });
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_format_writes_the_bytes_as_they_are() {
        assert_eq!(written(Form::Format), "top/2/7 k=a\x1b\"b\ntop/3/8 =\n");
    }

    #[test]
    fn a_terminal_gets_no_control_characters_from_a_record() {
        assert_eq!(written(Form::Escaped), "top/2/7 k=a\\u{1b}\"b\ntop/3/8 =\n");
    }

    #[test]
    fn json_is_one_object_a_line_that_names_topic_and_partition() {
        let text = written(|_| Form::Json);
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let first = serde_json::json!({
            "topic": "top", "partition": 2, "offset": 7, "timestamp": 0, "key": "k", "value": "a\u{1b}\"b",
            "headers": {"h": "1"}
        });
        assert_eq!(lines[0], first);
        assert_eq!((lines.len(), &lines[1]["value"]), (2, &serde_json::Value::Null));
    }

    #[test]
    fn a_table_holds_no_control_characters() {
        assert_eq!(
            written(|_| Form::Table),
            "PARTITION      OFFSET  TIMESTAMP                 KEY               VALUE\n        2           7  \
             1970-01-01T00:00:00.000Z  k                 a\\u{1b}\"b\n        3           8  \
             1970-01-01T00:00:00.001Z  -                 -\n"
        );
    }
}
