# syntax=docker/dockerfile:1
# Windrow in a small image: built with Rust, run on Debian with nothing but libc and the certificate authorities.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home windrow
COPY --from=build /src/target/release/windrow /usr/local/bin/windrow
USER windrow
WORKDIR /home/windrow
ENTRYPOINT ["windrow"]
