//! kcat, as it reads.

use super::record::Record;
pub(crate) use crate::support::kcat::Kcat;

impl Kcat {
    /// Reads a partition from an offset in kcat's words (beginning, a number, -N, s@MS) to its end.
    pub(crate) fn consume(&self, topic: &str, partition: i32, from: &str) -> Vec<Record> {
        let number = partition.to_string();
        let format = "%o %T %K %S %h\n%k%s\n";
        let args = ["-C", "-t", topic, "-p", &number, "-o", from, "-e", "-f", format];
        let mut output = &self.run(&args, b"")[..];
        let mut records = Vec::new();
        while !output.is_empty() {
            let end = output.iter().position(|byte| *byte == b'\n').unwrap();
            let head = std::str::from_utf8(&output[..end]).unwrap();
            output = &output[end + 1..];
            let mut fields = head.splitn(5, ' ');
            let mut number = || fields.next().unwrap().parse::<i64>().unwrap();
            let (offset, timestamp, key, value) = (number(), number(), number(), number());
            let mut bytes = |len: i64| {
                let (bytes, rest) = output.split_at(usize::try_from(len).ok()?);
                output = rest;
                Some(bytes.to_vec())
            };
            let (key, value) = (bytes(key), bytes(value));
            assert_eq!(output[0], b'\n', "kcat's output is not what it was told to write");
            output = &output[1..];
            let headers = headers(fields.next().unwrap());
            records.push(Record { partition, offset, timestamp, key, value, headers });
        }
        records
    }
}

fn headers(text: &str) -> Vec<(String, Option<Vec<u8>>)> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    let value = |value: &str| (value != "NULL").then(|| value.as_bytes().to_vec());
    pairs.map(|(name, text)| (name.to_owned(), value(text))).collect()
}
