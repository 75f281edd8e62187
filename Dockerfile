# syntax=docker/dockerfile:1
# Windrow in a small image: built with Rust, run on Debian with nothing but libc and the certificate authorities.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# What was compiled before is kept between builds; a fresh one compiles everything.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin windrow \
    && strip -o /windrow target/release/windrow

FROM debian:bookworm-slim
# Certificate authorities have to be the newest, not the same each time.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home windrow
COPY --from=build /windrow /usr/local/bin/windrow
# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
WORKDIR /home/windrow
# For `run … --listen 9184` or `0.0.0.0:9184`; whoever runs another command turns it off.
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 CMD ["windrow", "health"]
ENTRYPOINT ["windrow"]
