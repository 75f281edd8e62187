//! Where a run may be looked at: an address on this machine, unless another is written.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use tokio::net::TcpListener;

use crate::error::Error;

/// An address to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    host: String,
    port: u16,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let here = || Ipv4Addr::LOCALHOST.to_string();
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { host: address.ip().to_string(), port: address.port() });
        }
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        let port = port.parse().map_err(|_| "write an address such as 127.0.0.1:9184, or a port".to_owned())?;
        if host.contains(':') {
            return Err("write an IPv6 address in brackets, such as [::1]:9184".to_owned());
        }
        Ok(Self { host: if host.is_empty() { here() } else { host.to_owned() }, port })
    }
}

impl Address {
    /// Where this machine reaches it: an address that stands for all of them is this machine's own.
    pub(super) fn reached(&self) -> String {
        let host = match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) if address.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
            Ok(IpAddr::V6(address)) if address.is_unspecified() => "[::1]".to_owned(),
            Ok(IpAddr::V6(address)) => format!("[{address}]"),
            _ => self.host.clone(),
        };
        format!("{host}:{}", self.port)
    }

    /// Takes the address, and says where; warns if other machines can reach it.
    pub(super) async fn bind(&self) -> Result<TcpListener, Error> {
        let cannot = |error| Error::Usage(format!("cannot listen at {}:{}: {error}", self.host, self.port));
        let listener = TcpListener::bind((self.host.as_str(), self.port)).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        tracing::info!("metrics and a status page at http://{address}/");
        if !is_here(address.ip()) {
            tracing::warn!("other machines can reach {address}, and nothing there asks for a password");
        }
        Ok(listener)
    }
}

fn is_here(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_are_reached_at_this_machine_s() {
        for (text, reached) in [
            ("9184", "127.0.0.1:9184"),
            ("0.0.0.0:9184", "127.0.0.1:9184"),
            ("[::]:9184", "[::1]:9184"),
            ("10.0.0.7:9184", "10.0.0.7:9184"),
            ("[fe80::1]:9184", "[fe80::1]:9184"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.reached(), reached, "{text}");
        }
    }

    #[test]
    fn a_port_alone_is_this_machine_s() {
        for text in ["9184", ":9184", "127.0.0.1:9184"] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address, Address { host: "127.0.0.1".to_owned(), port: 9184 }, "{text}");
        }
        assert_eq!("[::1]:80".parse::<Address>().unwrap().host, "::1");
        assert_eq!("localhost:80".parse::<Address>().unwrap().host, "localhost");
        for wrong in ["", "here", "127.0.0.1", "::1:80:", "1:2:80", "127.0.0.1:99999"] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn this_machine_is_told_from_others() {
        for (text, here) in [("127.0.0.1", true), ("127.1.2.3", true), ("::1", true), ("::ffff:127.0.0.1", true)] {
            assert_eq!(is_here(text.parse().unwrap()), here, "{text}");
        }
        for text in ["0.0.0.0", "::", "192.168.1.7"] {
            assert!(!is_here(text.parse().unwrap()), "{text}");
        }
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_named() {
        let first = Address { host: "127.0.0.1".to_owned(), port: 0 }.bind().await.unwrap();
        let port = first.local_addr().unwrap().port();
        let error = Address { host: "127.0.0.1".to_owned(), port }.bind().await.unwrap_err();
        assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
        assert_eq!(error.kind().exit_code(), 2);
    }
}
