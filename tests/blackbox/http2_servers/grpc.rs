//! gRPC by a library of its own on both ends, Python's grpcio: calls of every kind, with the proxy between.

use crate::{kit::Edge, real_clients::play};

#[test]
fn grpc_calls_of_every_kind_pass() {
    let edge = Edge::new()
        .listener("h2c = true")
        .route("upstream = \"app\"\nmax_body = \"0\"")
        .toml("[upstream_defaults]\nprotocol = \"http2\"")
        .start();
    play("grpc_calls_of_every_kind_pass", ("grpc_calls.py", "grpc"), &edge, 20);
}
