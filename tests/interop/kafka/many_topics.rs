//! A thousand topics.

use serde_json::json;

use super::driver::{Driver, are_installed};
use super::{admin, start};

#[test]
fn a_thousand_topics_are_made_written_listed_and_read() {
    if !are_installed() {
        return;
    }
    let node = start();
    let job = json!({ "topics": 1000 });
    let said = Driver::run(&node, "many_topics", admin::script("many_topics.py"), &job).finish();
    assert_eq!(said.said("read"), [json!(1000)]);
}
