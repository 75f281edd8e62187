//! A real HTTP server with quotes in the shape of a recorded API, which fails as it is told.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use windrow::clock::Clock;

/// How the server answers one call.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// A quote with this price and time.
    Quote(f64, Value),
    /// A quote whose members are changed: null takes one away.
    Changed(Value),
    /// This status and body.
    Raw(u16, &'static str),
    /// This status, with `Retry-After`.
    Later(u16, &'static str),
    /// A status that says where else to go, with the call's own query.
    Elsewhere,
    /// A refusal that repeats the query and the authorization it got.
    Echo(u16),
    /// Nothing until [`Api::release`].
    Held,
}

/// One call as the server saw it; times are microseconds.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) symbol: String,
    pub(crate) query: String,
    pub(crate) authorization: String,
    pub(crate) began: i64,
    pub(crate) ended: i64,
}

/// The server, with `/quote/SYMBOL`. It stops when this goes.
pub(crate) struct Api {
    port: u16,
    state: Arc<State>,
    runtime: Option<Runtime>,
}

struct State {
    clock: Clock,
    /// What to answer next for a symbol; afterwards it is a quote.
    replies: Mutex<BTreeMap<String, VecDeque<Reply>>>,
    seen: Mutex<Vec<Seen>>,
    released: AtomicBool,
    under_way: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl Api {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            clock: Clock::system(),
            replies: Mutex::default(),
            seen: Mutex::default(),
            released: AtomicBool::new(false),
            under_way: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
        });
        let shared = state.clone();
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let state = shared.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let state = state.clone();
                        async move { Ok::<_, Infallible>(state.answer(request).await) }
                    });
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { port, state, runtime: Some(runtime) }
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Answers the next calls for a symbol with these, and every later one with a quote.
    pub(crate) fn reply(&self, symbol: &str, replies: impl IntoIterator<Item = Reply>) {
        self.state.replies.lock().unwrap().entry(symbol.to_owned()).or_default().extend(replies);
    }

    /// Lets go of every call that is held, and holds no other.
    pub(crate) fn release(&self) {
        self.state.released.store(true, Ordering::Release);
    }

    /// Every call that was answered, in the order of the answers.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// Calls that are waiting for their answer.
    pub(crate) fn under_way(&self) -> usize {
        self.state.under_way.load(Ordering::Acquire)
    }

    /// The most calls that were waiting at once.
    pub(crate) fn most_at_once(&self) -> usize {
        self.state.most_at_once.load(Ordering::Acquire)
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl State {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let began = self.clock.now().0;
        let waiting = self.under_way.fetch_add(1, Ordering::AcqRel) + 1;
        self.most_at_once.fetch_max(waiting, Ordering::AcqRel);
        let symbol = request.uri().path().trim_start_matches("/quote/").to_owned();
        let query = request.uri().query().unwrap_or_default().to_owned();
        let authorization = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        let authorization = authorization.unwrap_or_default();
        let reply = self.replies.lock().unwrap().get_mut(&symbol).and_then(VecDeque::pop_front);
        let reply = reply.unwrap_or_else(|| Reply::Quote(price(&symbol), json!("2026-03-02T20:07:45.000Z")));
        let (status, header, body) = match reply {
            Reply::Quote(price, time) => (200, None, quote(&symbol, price, time).to_string()),
            Reply::Changed(change) => {
                let mut quote = quote(&symbol, price(&symbol), json!(1_772_482_065));
                let members = quote["results"][0].as_object_mut().unwrap();
                for (name, value) in change.as_object().unwrap() {
                    if value.is_null() {
                        members.remove(name);
                    } else {
                        members.insert(name.clone(), value.clone());
                    }
                }
                (200, None, quote.to_string())
            }
            Reply::Raw(status, body) => (status, None, body.to_owned()),
            Reply::Later(status, wish) => (status, Some(("retry-after", wish.to_owned())), String::new()),
            Reply::Elsewhere => {
                (302, Some(("location", format!("http://127.0.0.1:1/elsewhere?{query}"))), String::new())
            }
            Reply::Echo(status) => (
                status,
                None,
                json!({"error": true, "message": format!("bad {query} and {authorization}")}).to_string(),
            ),
            Reply::Held => {
                while !self.released.load(Ordering::Acquire) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                (200, None, quote(&symbol, price(&symbol), json!(1_772_482_065)).to_string())
            }
        };
        let ended = self.clock.now().0;
        self.seen.lock().unwrap().push(Seen { symbol, query, authorization, began, ended });
        self.under_way.fetch_sub(1, Ordering::AcqRel);
        let mut response = Response::builder().status(status);
        if let Some((name, value)) = header {
            response = response.header(name, value);
        }
        response.body(Full::new(Bytes::from(body))).unwrap()
    }
}

/// The price that a symbol has if nothing else is said.
pub(crate) fn price(symbol: &str) -> f64 {
    f64::from(symbol.bytes().map(u32::from).sum::<u32>()) / 8.0
}

/// As the recorded API answers, with members that nobody asked for.
fn quote(symbol: &str, price: f64, time: Value) -> Value {
    json!({
        "results": [{
            "currency": "BRL",
            "symbol": symbol,
            "shortName": format!("{symbol} PN"),
            "longName": format!("{symbol} Ações S.A."),
            "regularMarketChange": 0.26,
            "regularMarketTime": time,
            "regularMarketPrice": price,
            "regularMarketVolume": 36_457_000,
            "logourl": format!("https://icons.example.com/{symbol}.svg"),
        }],
        "requestedAt": "2026-03-02T20:20:00.000Z",
        "took": "0ms",
    })
}
