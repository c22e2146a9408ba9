"""A gRPC server and clients of the grpcio library, with the proxy between them: calls of every kind.

    grpc_calls.py PROXY ADMIN CALLERS

The server takes a free port and is put into the pool "app" through the dyups interface. Messages are bytes
as they are; nothing is generated.
"""

import queue
import sys
import threading
import urllib.request
from concurrent import futures

import grpc

LARGE = bytes(range(256)) * 8192
CANCELLED = threading.Event()


def echo(request, context):
    metadata = dict(context.invocation_metadata())
    assert metadata["x-asked"] == "yes" and metadata["x-bytes-bin"] == b"\x00\xff", metadata
    context.send_initial_metadata((("x-first", "1"),))
    context.set_trailing_metadata((("x-last", "2"), ("x-last-bin", b"\xff\x00")))
    return request


def fail(request, context):
    context.set_trailing_metadata((("x-last", "2"),))
    context.abort(grpc.StatusCode.NOT_FOUND, "nobody by that näme")


def count(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def add(requests, context):
    return str(sum(len(request) for request in requests)).encode()


def chat(requests, context):
    for request in requests:
        yield request.upper()


def stall(request, context):
    """One message, and then none until nobody wants any."""
    gone = threading.Event()
    context.add_callback(gone.set)
    yield str(context.time_remaining()).encode()
    if gone.wait(20):
        CANCELLED.set()


def serve():
    server = grpc.server(futures.ThreadPoolExecutor(64))
    kinds = {
        "Echo": grpc.unary_unary_rpc_method_handler(echo),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Add": grpc.stream_unary_rpc_method_handler(add),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
        "Stall": grpc.unary_stream_rpc_method_handler(stall),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.Test", kinds),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def publish(admin, port):
    body = f"server 127.0.0.1:{port};".encode()
    request = urllib.request.Request(f"http://{admin}/upstream/app", data=body, method="POST")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        assert answer.read() == b"success"


def calls_of_one_answer(channel):
    call = channel.unary_unary("/t.Test/Echo")
    asked = (("x-asked", "yes"), ("x-bytes-bin", b"\x00\xff"))
    for message in (b"", b"hello", LARGE):
        answer, told = call.with_call(message, metadata=asked, timeout=20)
        assert answer == message, f"{len(message)} bytes came back altered"
        first, last = dict(told.initial_metadata()), dict(told.trailing_metadata())
        assert first["x-first"] == "1", first
        assert (last["x-last"], last["x-last-bin"]) == ("2", b"\xff\x00"), last
    sizes = channel.stream_unary("/t.Test/Add")
    assert sizes(iter([b"x" * 10] * 1000), timeout=20) == b"10000"


def failures(channel):
    try:
        channel.unary_unary("/t.Test/Fail")(b"", timeout=20)
        raise AssertionError("it should fail")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND, error
        assert error.details() == "nobody by that näme", error
        assert dict(error.trailing_metadata())["x-last"] == "2", error
    try:
        channel.unary_unary("/t.Test/Nothing")(b"", timeout=20)
        raise AssertionError("there is no such method")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error


def streams(channel):
    numbers = channel.unary_stream("/t.Test/Count")(b"500", timeout=20)
    assert [int(number) for number in numbers] == list(range(500))
    said = queue.Queue()
    heard = channel.stream_stream("/t.Test/Chat")(iter(said.get, None), timeout=20)
    # Each message is answered before the next is said.
    for number in range(20):
        said.put(f"word {number}".encode())
        assert next(heard) == f"WORD {number}".encode()
    said.put(None)
    assert list(heard) == []
    assert heard.code() == grpc.StatusCode.OK


def ends_before_their_time(channel):
    stall = channel.unary_stream("/t.Test/Stall")
    call = stall(b"", timeout=1)
    assert 0 < float(next(call)) <= 1, "the server knows the deadline"
    try:
        next(call)
        raise AssertionError("nothing more should come")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    assert CANCELLED.wait(10), "the server was not told of the deadline"
    CANCELLED.clear()
    call = stall(b"", timeout=20)
    next(call)
    call.cancel()
    assert CANCELLED.wait(10), "the server was not told that nobody waits"


def connect(proxy):
    return grpc.insecure_channel(proxy, options=(("grpc.enable_http_proxy", 0),))


def talk(proxy):
    with connect(proxy) as channel:
        calls_of_one_answer(channel)
        failures(channel)
        streams(channel)


def main(proxy, admin, callers):
    server, port = serve()
    publish(admin, port)
    with futures.ThreadPoolExecutor(callers) as pool:
        for talked in [pool.submit(talk, proxy) for _ in range(callers)]:
            talked.result(60)
    with connect(proxy) as channel:
        ends_before_their_time(channel)
    server.stop(0)


main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
