//! The address of a broker, as registration, metadata and configuration name it. Resolves nothing
//! and connects to nothing.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A host, which is a name or an address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not an address that a client can dial: write host:port, such as \"broker-1.example.com:9092\"")]
pub struct EndpointError {
    text: String,
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let fail = || EndpointError { text: text.to_owned() };
        let (host, port) = text.rsplit_once(':').ok_or_else(fail)?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if bracketed.is_none() && host.contains(':') {
            return Err(fail());
        }
        let host = bracketed.unwrap_or(host);
        let port = port.parse().map_err(|_| fail())?;
        let wildcard = host.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified());
        if host.is_empty() || host.contains(char::is_whitespace) || wildcard || port == 0 {
            return Err(fail());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{open}{}{close}:{}", self.host, self.port)
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_canonical().to_string(), port: address.port() }
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoint;

    #[test]
    fn endpoints_are_host_and_port() {
        let check = |text: &str, expected: Option<(&str, u16)>| {
            let parsed = text.parse::<Endpoint>().ok();
            assert_eq!(parsed.map(|e| (e.host, e.port)), expected.map(|(h, p)| (h.to_owned(), p)), "{text:?}");
        };
        check("kafka:9092", Some(("kafka", 9092)));
        check("[::1]:9092", Some(("::1", 9092)));
        check("10.0.0.1:1", Some(("10.0.0.1", 1)));
        check("0.0.0.0:9092", None);
        check("[::]:9092", None);
        check("::1:9092", None);
        check("kafka", None);
        check(":9092", None);
        check("kafka:0", None);
        check("kafka:99999", None);
    }
}
