//! The server's address.

use hyper::Uri;
use hyper::http::uri::Authority;

use crate::Error;

/// Port when an address names none.
const DEFAULT_PORT: u16 = 4242;

/// HOST:PORT, checked. `http://` in front and `/` behind are tolerated, a missing port is 4242.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    authority: Authority,
}

impl Address {
    pub(crate) fn parse(given: &str) -> Result<Address, Error> {
        let error =
            |why: &str| Error::Address { given: given.escape_debug().to_string(), why: why.to_owned() };
        if given.starts_with("https://") {
            return Err(error("TLS is not supported"));
        }
        let rest = given.strip_prefix("http://").unwrap_or(given);
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let authority: Authority = rest.parse().map_err(|_| error("it is not a host and port"))?;
        if authority.as_str().contains('@') {
            return Err(error("it holds a user name"));
        }
        if authority.host().is_empty() {
            return Err(error("it has no host"));
        }
        match authority.port_u16() {
            Some(0) => Err(error("port 0 cannot be connected to")),
            Some(_) => Ok(Address { authority }),
            // `host:` and `host:99999` parse as an authority without a port.
            None if authority.as_str() != authority.host() => Err(error("the port is not one of 1 to 65535")),
            None => {
                let full = format!("{}:{DEFAULT_PORT}", authority.as_str());
                Ok(Address { authority: full.parse().map_err(|_| error("it is not a host and port"))? })
            }
        }
    }

    /// HOST:PORT.
    pub(crate) fn as_str(&self) -> &str {
        self.authority.as_str()
    }

    /// The URI of a path with query, both already encoded.
    pub(crate) fn uri(&self, path_and_query: &str) -> Result<Uri, Error> {
        let uri =
            Uri::builder().scheme("http").authority(self.authority.clone()).path_and_query(path_and_query);
        uri.build()
            .map_err(|cause| Error::Address { given: self.as_str().to_owned(), why: cause.to_string() })
    }
}

/// `text` as one segment of a path or as a value in a query: everything but unreserved characters is escaped.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => out.push(char::from(byte)),
            // Alone they would be dot segments.
            b'.' if text != "." && text != ".." => out.push('.'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_with_and_without_scheme_and_port() {
        for (given, server) in [
            ("127.0.0.1:4243", "127.0.0.1:4243"),
            ("http://example.org:80/", "example.org:80"),
            ("[::1]:4242", "[::1]:4242"),
            ("[::1]", "[::1]:4242"),
            ("localhost", "localhost:4242"),
        ] {
            assert_eq!(Address::parse(given).unwrap().as_str(), server);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_a_reason() {
        for (given, why) in [
            ("", "host and port"),
            (":4242", "no host"),
            ("a:0", "port 0"),
            ("a:99999", "1 to 65535"),
            ("a:b", "1 to 65535"),
            ("u:p@a:1", "user name"),
            ("a b", "host and port"),
            ("a/b", "host and port"),
            ("https://a", "TLS"),
        ] {
            match Address::parse(given) {
                Err(Error::Address { why: said, .. }) => assert!(said.contains(why), "{given}: {said}"),
                other => panic!("{given}: {other:?}"),
            }
        }
    }

    #[test]
    fn names_become_one_segment_of_a_path() {
        for (name, encoded) in
            [("a.b-c_d", "a.b-c_d"), ("a/b?c", "a%2Fb%3Fc"), ("..", "%2E%2E"), ("ä", "%C3%A4")]
        {
            assert_eq!(encode(name), encoded);
            let uri = Address::parse("h:1").unwrap().uri(&format!("/v1/topics/{encoded}")).unwrap();
            assert_eq!(uri.to_string(), format!("http://h:1/v1/topics/{encoded}"));
        }
    }
}
