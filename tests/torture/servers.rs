//! A broker, an S3 server and a proxy of the torture's own, which may be killed.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::place::S3;

/// The servers, taken away when this goes.
pub(crate) struct Servers {
    scripts: PathBuf,
    port: u16,
}

/// A server that can be killed and started again.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Kafka,
    S3,
}

impl Server {
    /// The name of its script, and of the proxy before it.
    pub(crate) fn name(self) -> &'static str {
        if self == Self::Kafka { "kafka" } else { "s3" }
    }
}

const KEY: &str = "torture";
const SECRET: &str = "torture-secret";

impl Servers {
    /// Starts them, on ports so far after the first; `None` if the environment names no scripts.
    pub(crate) fn start(after: u16) -> Option<Self> {
        let scripts = std::env::var_os("WINDROW_TORTURE_SERVICES").filter(|folder| !folder.is_empty())?;
        let port = std::env::var("WINDROW_TORTURE_PORT").map_or(19_600, |text| text.parse().unwrap());
        let servers = Self { scripts: scripts.into(), port: port + after };
        for name in ["kafka", "s3", "toxiproxy"] {
            servers.tell(name, "wipe");
            servers.tell(name, "up");
        }
        for (server, to) in [(Server::Kafka, servers.port + 2), (Server::S3, servers.port + 20)] {
            let body = format!(
                r#"{{"name":"{}","listen":"127.0.0.1:{}","upstream":"127.0.0.1:{to}","enabled":true}}"#,
                server.name(),
                servers.proxy(server)
            );
            servers.api("POST", "/proxies", &body);
        }
        Some(servers)
    }

    fn proxy(&self, server: Server) -> u16 {
        self.port + if server == Server::Kafka { 10 } else { 30 }
    }

    /// Where clients reach the broker without a proxy.
    pub(crate) fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn proxied_brokers(&self) -> String {
        format!("127.0.0.1:{}", self.proxy(Server::Kafka))
    }

    fn s3_at(&self, port: u16) -> S3 {
        S3 {
            endpoint: format!("http://127.0.0.1:{port}"),
            bucket: "torture".to_owned(),
            region: "us-east-1".to_owned(),
            key: KEY.to_owned(),
            secret: SECRET.to_owned(),
        }
    }

    pub(crate) fn s3(&self) -> S3 {
        self.s3_at(self.port + 20)
    }

    pub(crate) fn proxied_s3(&self) -> S3 {
        self.s3_at(self.proxy(Server::S3))
    }

    /// Runs a script.
    fn tell(&self, name: &str, order: &str) {
        let mut command = Command::new(self.scripts.join(format!("{name}.sh")));
        command.arg(order).stdin(Stdio::null());
        command.env("KAFKA_PORT", self.port.to_string());
        command.env("KAFKA_PROXY_PORT", self.proxy(Server::Kafka).to_string());
        command.env("S3_PORT", (self.port + 20).to_string()).env("TOXIPROXY_PORT", (self.port + 40).to_string());
        command.env("S3_BUCKET", "torture").env("S3_ACCESS_KEY", KEY).env("S3_SECRET_KEY", SECRET);
        command.env("S3_SERVER", "versitygw").env_remove("S3_DIR").env_remove("S3_REGION").env_remove("KAFKA_PROPS");
        let told = command.output().unwrap_or_else(|error| panic!("{name}.sh: {error}"));
        assert!(told.status.success(), "{name}.sh {order}: {}", String::from_utf8_lossy(&told.stderr));
    }

    pub(crate) fn kill(&self, server: Server) {
        self.tell(server.name(), "kill");
    }

    pub(crate) fn up(&self, server: Server) {
        self.tell(server.name(), "up");
    }

    /// Lets the proxy before a server do this to what passes, until [`Servers::pass`].
    pub(crate) fn poison(&self, server: Server, kind: &str, upstream: bool, attributes: &[(&str, u32)]) {
        let mut text = String::new();
        for (index, (name, value)) in attributes.iter().enumerate() {
            let _ = write!(text, "{}\"{name}\":{value}", if index == 0 { "" } else { "," });
        }
        let stream = if upstream { "upstream" } else { "downstream" };
        let body = format!(r#"{{"name":"t","type":"{kind}","stream":"{stream}","attributes":{{{text}}}}}"#);
        self.api("POST", &format!("/proxies/{}/toxics", server.name()), &body);
    }

    pub(crate) fn pass(&self, server: Server) {
        self.api("DELETE", &format!("/proxies/{}/toxics/t", server.name()), "");
    }

    fn api(&self, method: &str, path: &str, body: &str) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port + 40)).unwrap();
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: toxiproxy\r\nConnection: close\r\nContent-Length: {length}");
        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let fine = answer.split_whitespace().nth(1).is_some_and(|code| code.starts_with('2'));
        assert!(fine, "{method} {path} {body}: {answer}");
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            ["kafka", "s3", "toxiproxy"].iter().for_each(|name| self.tell(name, "wipe"));
        }
    }
}
