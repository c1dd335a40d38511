//! A golden directory: its files, and what is in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Starts of the server that wrote a golden directory.
const STARTS: u64 = 3;

/// What one version wrote.
pub(crate) struct Golden {
    pub(crate) name: String,
    folder: PathBuf,
    /// By topic, partition and offset.
    pub(crate) records: Vec<Value>,
}

/// Where the golden directories are.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/compat")
}

impl Golden {
    /// All of them, the oldest first.
    pub(crate) fn all() -> Vec<Golden> {
        let mut out = Vec::new();
        for entry in fs::read_dir(folder()).unwrap() {
            let entry = entry.unwrap();
            if entry.path().is_dir() {
                let text = fs::read_to_string(entry.path().join("records.jsonl")).unwrap();
                let records = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
                let name = entry.file_name().into_string().unwrap();
                out.push(Golden { name, folder: entry.path(), records });
            }
        }
        out.sort_by(|one, two| one.name.cmp(&two.name));
        out
    }

    /// Topics and their number of partitions.
    pub(crate) fn topics(&self) -> BTreeMap<String, u64> {
        let mut out = BTreeMap::new();
        for record in &self.records {
            let partitions = out.entry(record["topic"].as_str().unwrap().to_owned()).or_insert(0);
            *partitions = (*partitions).max(record["partition"].as_u64().unwrap() + 1);
        }
        out
    }

    /// Puts a copy into `data`, each file as long as it was.
    pub(crate) fn restore(&self, data: &Path) {
        copy(&self.folder.join("data"), data);
        let Ok(lengths) = fs::read_to_string(self.folder.join("files.json")) else { return };
        let lengths: BTreeMap<String, u64> = serde_json::from_str(&lengths).unwrap();
        for (name, length) in lengths {
            fs::OpenOptions::new().write(true).open(data.join(name)).unwrap().set_len(length).unwrap();
        }
    }

    /// How many spans each shard has: each start began one. What was written before there were spans, and so before there
    /// was a promise journal, is one for all of them.
    pub(crate) fn spans(&self) -> u64 {
        if self.folder.join("data/promises").exists() { STARTS } else { 1 }
    }
}

/// A record in the form that all readers share.
pub(crate) fn record(line: &str, topic: &str, partition: u64) -> Value {
    let mut json: Value = serde_json::from_str(line).unwrap();
    let fields = json.as_object_mut().unwrap();
    for field in ["type", "partition_id"] {
        fields.remove(field);
    }
    fields.retain(|_, value| !value.is_null());
    fields.insert("topic".to_owned(), json!(topic));
    fields.insert("partition".to_owned(), json!(partition));
    json
}

/// By what records are sorted.
pub(crate) fn place(record: &Value) -> (String, u64, u64) {
    let number = |name: &str| record[name].as_u64().unwrap();
    (record["topic"].as_str().unwrap().to_owned(), number("partition"), number("offset"))
}

/// Every file under `from`, by its name relative to it, in order.
pub(crate) fn files(from: &Path) -> Vec<PathBuf> {
    let (mut out, mut folders) = (Vec::new(), vec![from.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path)
            } else {
                out.push(path.strip_prefix(from).unwrap().to_owned())
            }
        }
    }
    out.sort();
    out
}

/// Copies a directory.
pub(crate) fn copy(from: &Path, to: &Path) {
    for name in files(from) {
        let target = to.join(&name);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(from.join(&name), target).unwrap();
    }
}

/// Flips a bit of a record in the first sealed segment of a data shard: in its second frame's first batch.
pub(crate) fn damage(data: &Path) {
    let sealed = |name: &&PathBuf| {
        let bytes = fs::read(data.join(name)).unwrap();
        let last = bytes.len().saturating_sub(4096);
        name.starts_with("shards/1") && bytes.get(last + 14) == Some(&4)
    };
    let name = files(data).iter().find(sealed).expect("a sealed segment").clone();
    let mut bytes = fs::read(data.join(&name)).unwrap();
    // A frame of kind 1 that holds a batch (magic 2) right behind its header, and records behind its 61 bytes.
    let frame = (1..bytes.len() / 4096).map(|block| block * 4096).find(|at| {
        bytes[at + 14] == 1
            && bytes[at + 15] == 1
            && bytes[at + 128 + 16] == 2
            && bytes[at + 128 + 17..at + 128 + 21] != [0; 4]
    });
    bytes[frame.expect("a frame with a batch") + 128 + 61 + 3] ^= 0x40;
    fs::write(data.join(&name), bytes).unwrap();
}
