//! OpenTSDB's put: the data model ([`point`]), the telnet lines ([`telnet`]) and the JSON bodies ([`http`]).

pub mod http;
mod number;
pub mod point;
mod put_answer;
pub mod telnet;
