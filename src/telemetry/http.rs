//! The HTTP server: GET only, a handful of paths, nothing that changes anything.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::{Telemetry, page};

/// Connections at once; more have to wait.
const CONNECTIONS: usize = 64;
/// How long a client may take to send its request's head.
const HEAD: Duration = Duration::from_secs(10);
/// Between two events of the live page.
const EVENT: Duration = Duration::from_secs(1);
/// How long to rest after a connection could not be accepted.
const REST: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";
const EVENTS: &str = "text/event-stream";
/// The page may run what is in it and ask this server, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

type Body = BoxBody<Bytes, Infallible>;

/// Answers whoever asks, without end.
pub(super) async fn serve(listener: TcpListener, telemetry: Telemetry) {
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = free.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "could not accept a connection");
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        let telemetry = telemetry.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let response = answer(&request, &telemetry);
                async { Ok::<_, Infallible>(response) }
            });
            let mut connection = http1::Builder::new();
            connection.timer(TokioTimer::new()).header_read_timeout(HEAD);
            // A client that goes away is no trouble of ours.
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
            drop(permit);
        });
    }
}

fn answer(request: &Request<Incoming>, telemetry: &Telemetry) -> Response<Body> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut refused = reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n");
        refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match request.uri().path() {
        "/" => {
            let mut page = reply(StatusCode::OK, HTML, page::HTML);
            page.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
            page
        }
        "/metrics" => {
            let accepts =
                |value: &HeaderValue| value.to_str().is_ok_and(|text| text.contains("application/openmetrics-text"));
            if request.headers().get_all(header::ACCEPT).iter().any(accepts) {
                reply(StatusCode::OK, OPEN_METRICS, telemetry.metrics())
            } else {
                reply(StatusCode::OK, CLASSIC, telemetry.classic_metrics())
            }
        }
        "/healthz" => reply(StatusCode::OK, TEXT, "ok\n"),
        "/readyz" => match telemetry.unready() {
            None => reply(StatusCode::OK, TEXT, "ready\n"),
            Some(why) => reply(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("not ready: {why}\n")),
        },
        "/status.json" => reply(StatusCode::OK, JSON, telemetry.status()),
        "/events" if request.method() == Method::GET => {
            let events = StreamBody::new(events(telemetry.clone()));
            with_headers(Response::new(events.boxed()), StatusCode::OK, EVENTS)
        }
        _ => reply(StatusCode::NOT_FOUND, TEXT, "there are /, /metrics, /healthz, /readyz, /status.json and /events\n"),
    }
}

/// The status again and again, as server-sent events.
fn events(telemetry: Telemetry) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + Sync {
    let mut tick = tokio::time::interval(EVENT);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    futures::stream::unfold((telemetry, tick), |(telemetry, mut tick)| async move {
        tick.tick().await;
        let event = format!("data: {}\n\n", telemetry.status());
        Some((Ok(Frame::data(Bytes::from(event))), (telemetry, tick)))
    })
}

fn reply(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    with_headers(Response::new(Full::new(body.into()).boxed()), status, kind)
}

fn with_headers(mut response: Response<Body>, status: StatusCode, kind: &'static str) -> Response<Body> {
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
