//! A counterexample can be read by somebody who has not read the model.
#![allow(clippy::unwrap_used, reason = "tests may be blunt")]

use model::bug::Bug;
use model::explore::until;
use model::planted::all;
use model::trace;

#[test]
fn a_counterexample_says_who_did_what_and_what_came_of_it() {
    let planted = all().into_iter().find(|planted| planted.bugs == [Bug::UnfencedLength]).unwrap();
    let explored = until(planted.config, 1, planted.violates);
    let told = trace::told(planted.violates, explored.violated.get(planted.violates).unwrap());
    println!("{told}");
    assert_eq!(told, include_str!("unfenced-length.txt"));
}
