//! Every broker with every sink there is, each pair as a test of its own.

use tempfile::TempDir;

use super::broker::Broker;
use super::place::Place;
use super::unique;

/// Where a test runs: a broker with a topic that nobody else has, a place to write to, a folder for its own files.
pub(crate) struct World {
    pub(crate) broker: Broker,
    pub(crate) topic: String,
    pub(crate) place: Place,
    pub(crate) dir: TempDir,
}

impl World {
    pub(crate) fn new(broker: Broker, place: Place, partitions: i32) -> Self {
        let topic = unique("rides");
        broker.create_topic(&topic, partitions);
        Self { broker, topic, place, dir: TempDir::new().unwrap() }
    }
}

/// Turns `fn name(broker, place)` into a module with one test for each broker and each sink.
macro_rules! for_every_broker_and_sink {
    ($(fn $name:ident($broker:ident: Broker, $place:ident: Place) $body:block)*) => {$(
        mod $name {
            use super::*;

            fn test($broker: Broker, $place: Place) $body

            #[test]
            fn over_mock_broker_and_disk() {
                test(Broker::mock(), Place::disk());
            }

            #[test]
            fn over_mock_broker_and_s3() {
                if let Some(place) = Place::s3(stringify!($name)) {
                    test(Broker::mock(), place);
                }
            }

            #[test]
            fn over_kafka_and_disk() {
                if let Some(broker) = Broker::kafka(stringify!($name)) {
                    test(broker, Place::disk());
                }
            }

            #[test]
            fn over_kafka_and_s3() {
                if let (Some(broker), Some(place)) = (Broker::kafka(stringify!($name)), Place::s3(stringify!($name))) {
                    test(broker, place);
                }
            }
        }
    )*};
}

/// Turns `fn name(place)` into a module with one test for each sink.
macro_rules! for_every_sink {
    ($(fn $name:ident($place:ident: Place) $body:block)*) => {$(
        mod $name {
            use super::*;

            fn test($place: Place) $body

            #[test]
            fn over_disk() {
                test(Place::disk());
            }

            #[test]
            fn over_s3() {
                if let Some(place) = Place::s3(stringify!($name)) {
                    test(place);
                }
            }
        }
    )*};
}
