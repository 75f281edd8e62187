//! A network between a client and a server that can be cut, or loses requests and answers.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Passes bytes between a loopback port and a server. Its threads stay until the process ends.
#[derive(Clone)]
pub(crate) struct Proxy {
    port: u16,
    state: Arc<State>,
}

struct State {
    to: String,
    seed: u64,
    /// No byte passes.
    cut: AtomicBool,
    /// Out of a thousand pieces of data, how many are lost, and their connection with them.
    loss: AtomicU64,
    lost: AtomicU64,
    connections: AtomicU64,
}

impl Proxy {
    /// Listens on `port`, 0 for any.
    pub(crate) fn listen(port: u16, to: &str, seed: u64) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State {
            to: to.to_owned(),
            seed,
            cut: AtomicBool::new(false),
            loss: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        };
        let proxy = Self { port, state: Arc::new(state) };
        let state = proxy.state.clone();
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(&state.to) else { continue };
                let number = state.connections.fetch_add(2, Ordering::Relaxed);
                let pairs = [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)];
                for ((from, into), number) in pairs.into_iter().zip(number..) {
                    let state = state.clone();
                    thread::spawn(move || state.pass(from, into, number));
                }
            }
        });
        proxy
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn cut(&self, cut: bool) {
        self.state.cut.store(cut, Ordering::Relaxed);
    }

    pub(crate) fn lose(&self, of_a_thousand: u64) {
        self.state.loss.store(of_a_thousand, Ordering::Relaxed);
    }

    /// How many connections were lost with a request or an answer on them.
    pub(crate) fn lost(&self) -> u64 {
        self.state.lost.load(Ordering::Relaxed)
    }
}

impl State {
    fn pass(&self, mut from: TcpStream, mut into: TcpStream, number: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed.wrapping_add(number));
        let mut piece = vec![0; 1 << 16];
        while let Ok(bytes) = from.read(&mut piece) {
            let cut = self.cut.load(Ordering::Relaxed);
            let lost = bytes > 0 && rng.random_range(0..1000) < self.loss.load(Ordering::Relaxed);
            self.lost.fetch_add(u64::from(lost), Ordering::Relaxed);
            if bytes == 0 || cut || lost || into.write_all(&piece[..bytes]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = into.shutdown(Shutdown::Both);
    }
}
