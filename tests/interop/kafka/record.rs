//! A record as clients send and see it.

use serde_json::{Value, json};

/// What all clients can say of a record.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Record {
    pub(crate) partition: i32,
    /// -1 before it is stored.
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl std::fmt::Debug for Record {
    /// Long values by their length.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let short = |bytes: &Option<Vec<u8>>| match bytes {
            Some(bytes) if bytes.len() > 40 => format!("{} bytes", bytes.len()),
            Some(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
            None => "null".to_owned(),
        };
        let (key, value) = (short(&self.key), short(&self.value));
        write!(f, "{}/{} @{} {key} = {value}", self.partition, self.offset, self.timestamp)?;
        self.headers.iter().try_for_each(|(name, value)| write!(f, " {name}:{}", short(value)))
    }
}

impl Record {
    pub(crate) fn new(partition: i32, timestamp: i64, value: impl Into<Vec<u8>>) -> Record {
        let (key, value, headers) = (None, Some(value.into()), Vec::new());
        Record { partition, offset: -1, timestamp, key, value, headers }
    }

    /// The value as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.value.clone().unwrap()).unwrap()
    }

    /// As the drivers read it.
    pub(crate) fn to_json(&self) -> Value {
        let headers: Vec<Value> =
            self.headers.iter().map(|(name, value)| json!([name, hex(value.as_deref())])).collect();
        json!({
            "partition": self.partition,
            "timestamp": self.timestamp,
            "key": hex(self.key.as_deref()),
            "value": hex(self.value.as_deref()),
            "headers": headers,
        })
    }

    /// As the drivers say it: the topic, and the record.
    pub(crate) fn of_json(json: &Value) -> (String, Record) {
        let headers = json["headers"].as_array().unwrap().iter();
        let headers = headers.map(|pair| (pair[0].as_str().unwrap().to_owned(), unhex(&pair[1])));
        let record = Record {
            partition: i32::try_from(json["partition"].as_i64().unwrap()).unwrap(),
            offset: json["offset"].as_i64().unwrap(),
            timestamp: json["timestamp"].as_i64().unwrap(),
            key: unhex(&json["key"]),
            value: unhex(&json["value"]),
            headers: headers.collect(),
        };
        (json["topic"].as_str().unwrap().to_owned(), record)
    }
}

fn hex(bytes: Option<&[u8]>) -> Option<String> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.map(|bytes| bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect())
}

fn unhex(json: &Value) -> Option<Vec<u8>> {
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
    let pairs = json.as_str()?.as_bytes().chunks(2);
    Some(pairs.map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect())
}
