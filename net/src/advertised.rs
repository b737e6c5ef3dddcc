//! The address that clients are told to connect to.

use std::net::SocketAddr;

use rustmq_model::Endpoint;

/// The endpoint to return on one connection: the advertised one; else the listener's; else, if the
/// listener is bound to a wildcard address, `local`, the address that this client has reached.
#[must_use]
pub fn advertised_endpoint(advertised: Option<&Endpoint>, listener: SocketAddr, local: SocketAddr) -> Endpoint {
    match advertised {
        Some(endpoint) => endpoint.clone(),
        None if listener.ip().is_unspecified() => Endpoint::from(local),
        None => Endpoint::from(listener),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::advertised_endpoint;

    #[test]
    fn a_wildcard_listener_answers_with_the_address_that_was_reached() {
        let check = |advertised: Option<&str>, listener: &str, connection: &str, expected: &str| {
            let advertised = advertised.map(|text| text.parse().unwrap());
            let answer =
                advertised_endpoint(advertised.as_ref(), listener.parse().unwrap(), connection.parse().unwrap());
            assert_eq!(answer.to_string(), expected);
        };
        check(None, "0.0.0.0:9092", "10.1.2.3:9092", "10.1.2.3:9092");
        check(None, "[::]:9092", "[::ffff:10.1.2.3]:9092", "10.1.2.3:9092");
        check(None, "127.0.0.1:9092", "127.0.0.1:9092", "127.0.0.1:9092");
        check(Some("public:19092"), "0.0.0.0:9092", "10.1.2.3:9092", "public:19092");
    }
}
