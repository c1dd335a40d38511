//! # Purpose
//! What `POST /api/put` and the small metadata requests answer, in OpenTSDB's shapes.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::http::{PutBody, PutError, PutFlags};

/// Answer to `/api/aggregators`: names only, what Grafana offers its users.
pub const AGGREGATORS: &str =
    r#"["avg","count","dev","first","last","max","min","none","sum","zimsum","mimmin","mimmax"]"#;
/// Answer to `/api/config/filters`: no filters yet.
pub const CONFIG_FILTERS: &str = "{}";

/// Answer to `/api/version`.
pub fn version_body(version: &str, revision: &str) -> String {
    json!({ "version": version, "short_revision": revision, "full_revision": revision, "repo": "tidelog", "host": "",
            "user": "", "timestamp": "0", "repo_status": "MINT" })
    .to_string()
}

/// OpenTSDB's error body: `{"error":{"code":..,"message":..,"details":..}}`.
pub fn error_body(code: u16, message: &str, details: Option<&str>) -> String {
    let mut error = json!({ "code": code, "message": message });
    if let (Some(details), Some(object)) = (details, error.as_object_mut()) {
        object.insert("details".to_owned(), Value::from(details));
    }
    json!({ "error": error }).to_string()
}

/// What went wrong outside the body. The status says whether sending again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure<'a> {
    /// Too busy, stopping, or not stored for certain: 503, with this text. The node adds `Retry-After`.
    Unavailable(&'a str),
    /// The body is over the limit, in bytes: 413.
    TooLarge(u64),
    /// Not a POST: 405.
    Method,
}

/// An answer: status and body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutAnswer {
    /// HTTP status.
    pub status: u16,
    /// JSON, empty for 204.
    pub body: String,
}

impl PutAnswer {
    /// For a decoded body whose good points are all stored durably.
    pub fn stored(put: &PutBody<'_>, flags: PutFlags) -> PutAnswer {
        let status = if put.failed > 0 { 400 } else { 200 };
        if flags.details {
            let mut errors = Vec::with_capacity(put.bad.len());
            for bad in &put.bad {
                let datapoint: Option<&RawValue> = serde_json::from_str(bad.datapoint).ok();
                errors.push(ErrorEntry { datapoint, error: bad.error.to_string() });
            }
            let details = Details { success: put.success(), failed: put.failed, errors };
            return PutAnswer { status, body: serde_json::to_string(&details).unwrap_or_default() };
        }
        if flags.summary {
            return PutAnswer {
                status,
                body: json!({ "success": put.success(), "failed": put.failed }).to_string(),
            };
        }
        match put.bad.first() {
            None => PutAnswer { status: 204, body: String::new() },
            Some(first) => {
                let message = "One or more data points had errors";
                let details = format!(
                    "{} stored, {} refused; the first refused: {} (send ?details to see all)",
                    put.success(),
                    put.failed,
                    first.error
                );
                PutAnswer { status, body: error_body(status, message, Some(&details)) }
            }
        }
    }

    /// For a body that was refused as a whole.
    pub fn refused(error: &PutError) -> PutAnswer {
        let text = error.to_string();
        let body = match error {
            PutError::Json(details) => error_body(400, "Unable to parse the given JSON", Some(details)),
            _ => error_body(400, &text, None),
        };
        PutAnswer { status: 400, body }
    }

    /// For everything else.
    pub fn failure(failure: Failure<'_>) -> PutAnswer {
        let (status, message) = match failure {
            Failure::Unavailable(why) => (503, why.to_owned()),
            Failure::TooLarge(max) => {
                (413, format!("The request body is over {max} bytes; send fewer points at a time"))
            }
            Failure::Method => (405, "Method not allowed; data points are sent with POST".to_owned()),
        };
        PutAnswer { status, body: error_body(status, &message, None) }
    }
}

#[derive(serde::Serialize)]
struct Details<'a> {
    success: usize,
    failed: u64,
    errors: Vec<ErrorEntry<'a>>,
}

#[derive(serde::Serialize)]
struct ErrorEntry<'a> {
    datapoint: Option<&'a RawValue>,
    error: String,
}
