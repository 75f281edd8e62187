//! A broker behind TLS and passwords, as most brokers outside a laptop are.
//!
//! `WINDROW_TEST_KAFKA_SECURE` is an address of the same broker as `WINDROW_TEST_KAFKA` that speaks SASL_SSL, with user
//! `windrow` and password `correct-horse`; `WINDROW_TEST_KAFKA_CA` the file with the certificate it is known by.

use crate::support::broker::Broker;
use crate::support::pipeline::PipelineFile;
use crate::support::place::Place;
use crate::support::process::{Ended, run};
use crate::support::rides::{MINUTE, Plan};
use crate::support::worlds::World;
use crate::support::{seed, skip};

const PASSWORD: &str = "correct-horse";

/// A topic with 500 rides, and the broker's other address.
struct Secure {
    world: World,
    address: String,
    certificate: String,
}

impl Secure {
    fn new(test: &str) -> Option<Self> {
        let broker = Broker::kafka(test)?;
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let named = variable("WINDROW_TEST_KAFKA_SECURE").zip(variable("WINDROW_TEST_KAFKA_CA"));
        let Some((address, certificate)) = named else {
            skip(test, "WINDROW_TEST_KAFKA_SECURE and WINDROW_TEST_KAFKA_CA name no broker");
            return None;
        };
        let world = World::new(broker, Place::disk(), 1);
        let producer = world.broker.producer(&world.topic, &[]);
        for line in Plan::clean(seed(), &[500], MINUTE).lines().remove(0) {
            producer.send(0, line.text.as_deref());
        }
        producer.flush();
        Some(Self { world, address, certificate })
    }

    fn once(&self, mechanism: &str, password: &str, certificate: Option<&str>) -> Ended {
        let certificate = certificate.map(|path| format!(", \"ssl.ca.location\" = {path:?}")).unwrap_or_default();
        let mut pipeline = PipelineFile::over_topic(&self.world);
        let plain = self.world.broker.servers();
        pipeline.source = pipeline.source.replace(plain, &self.address);
        pipeline.source += &format!(
            "\nproperties = {{ \"security.protocol\" = \"SASL_SSL\", \"sasl.mechanism\" = \"{mechanism}\", \
             \"sasl.username\" = \"windrow\", \"sasl.password\" = \"${{RIDES_PASSWORD}}\"{certificate} }}\n"
        );
        let path = pipeline.write(self.world.dir.path());
        run(self.world.place.windrow().args(["run", "--once"]).arg(path).env("RIDES_PASSWORD", password))
    }
}

#[test]
fn a_topic_is_read_through_tls_with_a_password() {
    for mechanism in ["PLAIN", "SCRAM-SHA-512"] {
        let Some(secure) = Secure::new("a_topic_is_read_through_tls_with_a_password") else { return };
        secure.once(mechanism, PASSWORD, Some(&secure.certificate)).expect(0);
        assert_eq!(secure.world.place.newest().unwrap()["totals"]["read"], 500);
    }
}

#[test]
fn a_wrong_password_ends_the_run_and_is_not_told() {
    let Some(secure) = Secure::new("a_wrong_password_ends_the_run_and_is_not_told") else { return };
    let ended = secure.once("PLAIN", "canary-55e1", Some(&secure.certificate)).expect(2);
    assert!(ended.stderr.to_lowercase().contains("authentication failed"), "{}", ended.stderr);
    assert!(!ended.said().contains("canary-55e1"), "{}", ended.stderr);
}

#[test]
fn a_broker_that_nobody_vouches_for_ends_the_run() {
    let Some(secure) = Secure::new("a_broker_that_nobody_vouches_for_ends_the_run") else { return };
    let ended = secure.once("PLAIN", PASSWORD, None).expect(2);
    assert!(ended.stderr.contains("certificate"), "{}", ended.stderr);
}
