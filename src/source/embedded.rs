//! A Kafka broker inside this process: for the demo, and for tests that need no installation.
//!
//! It is the mock cluster of the client library. It keeps 5 MB of each partition, knows no transactions worth the
//! name, and answers every question for a time with "at the end".

use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use super::SourceError;

/// A running broker; it stops when this is dropped, and what it holds is gone.
///
/// ```no_run
/// use windrow::source::embedded::Broker;
/// let broker = Broker::start("rides", 4)?;
/// println!("brokers = \"{}\"", broker.brokers());
/// # Ok::<(), windrow::source::SourceError>(())
/// ```
#[derive(Debug)]
pub struct Broker {
    brokers: String,
    orders: Sender<(Order, Sender<Result<(), SourceError>>)>,
}

/// What the broker is told to do.
#[derive(Debug)]
enum Order {
    Create { topic: String, partitions: i32 },
    Reachable(bool),
}

type Cluster = MockCluster<'static, DefaultProducerContext>;
type Orders = Receiver<(Order, Sender<Result<(), SourceError>>)>;

impl Broker {
    /// A broker on a free loopback port, with one topic.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`] if it cannot listen or refuses the topic.
    pub fn start(topic: &str, partitions: i32) -> Result<Self, SourceError> {
        let (orders, taken) = mpsc::channel();
        let (ready, started) = mpsc::channel();
        // The cluster may not change threads, so it lives on one of its own.
        let serve = move || match MockCluster::new(1) {
            Ok(cluster) => {
                let _ = ready.send(Ok(cluster.bootstrap_servers()));
                obey(&cluster, &taken);
            }
            Err(error) => drop(ready.send(Err(format!("cannot start the embedded broker: {error}")))),
        };
        let thread = thread::Builder::new().name("windrow-broker".to_owned()).spawn(serve);
        thread.map_err(|error| SourceError::Unavailable(format!("cannot start the embedded broker: {error}")))?;
        let brokers = started.recv().unwrap_or_else(|_| Err("the embedded broker did not start".to_owned()));
        let broker = Self { brokers: brokers.map_err(SourceError::Unavailable)?, orders };
        broker.create_topic(topic, partitions)?;
        Ok(broker)
    }

    /// Its address, as `brokers` of a pipeline file takes it.
    #[must_use]
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Creates one more topic.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`] if the broker refuses, such as for a topic that is there.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<(), SourceError> {
        self.order(Order::Create { topic: topic.to_owned(), partitions })
    }

    /// Cuts every connection and takes no new one, or takes them again. For tests of outages.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`] if the broker is gone.
    pub fn set_reachable(&self, reachable: bool) -> Result<(), SourceError> {
        self.order(Order::Reachable(reachable))
    }

    fn order(&self, order: Order) -> Result<(), SourceError> {
        let gone = || SourceError::Unavailable("the embedded broker is gone".to_owned());
        let (done, outcome) = mpsc::channel();
        self.orders.send((order, done)).map_err(|_| gone())?;
        outcome.recv().map_err(|_| gone())?
    }
}

/// Does what it is told until the [`Broker`] is dropped.
fn obey(cluster: &Cluster, orders: &Orders) {
    for (order, done) in orders {
        let outcome = match &order {
            Order::Create { topic, partitions } => cluster.create_topic(topic, *partitions, 1),
            Order::Reachable(true) => cluster.broker_up(-1),
            Order::Reachable(false) => cluster.broker_down(-1),
        };
        let failed = |error| SourceError::Unavailable(format!("the embedded broker refuses {order:?}: {error}"));
        let _ = done.send(outcome.map_err(failed));
    }
}
