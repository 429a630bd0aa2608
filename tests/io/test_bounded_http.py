"""Hostile servers on loopback: each is ended with a reason, within its bound."""

import gzip
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from crystalgraph.errors import InputError
from crystalgraph.io.bounded_http import BoundedSession, Bounds

SMALL = Bounds(page_bytes=100_000, page_seconds=10.0, n_redirects=3)


class Server(ThreadingHTTPServer):
    """Answers as the test says."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.stopped = threading.Event()
        self.answer = None


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            self.server.answer(self)
        except OSError:  # the client has gone
            self.close_connection = True

    def send(self, status, content=b"", **headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.stopped.set()
    server.shutdown()
    thread.join()
    server.server_close()


def session(bounds=SMALL, **options):
    return BoundedSession(headers={"Accept-Encoding": "gzip, deflate"}, bounds=bounds, **options)


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress, zlib.compress])
def test_what_is_within_the_bounds_arrives(server, pack):
    encoding = {gzip.compress: "gzip", zlib.compress: "deflate"}.get(pack, "identity")
    server.answer = lambda handler: handler.send(200, pack(b'{"a": 1}'), Content_Encoding=encoding)
    reply = session().get(server.url)
    assert (reply.ok, reply.status, reply.json()) == (True, 200, {"a": 1})


def endless(handler):
    handler.send(200)
    while not handler.server.stopped.is_set():
        handler.wfile.write(b" " * 10_000)


def bomb(handler):
    handler.send(200, gzip.compress(b" " * 50_000_000), Content_Encoding="gzip")


@pytest.mark.parametrize("answer", [endless, pytest.param(bomb, marks=pytest.mark.slow)])
def test_an_answer_without_end_or_packed_small_is_cut_off(server, answer):
    server.answer = answer
    with pytest.raises(InputError, match=r"gives more than 0.0953674 MiB in one answer; ask for fewer"):
        session().get(server.url)


@pytest.mark.parametrize("where", ["headers", "content"])
def test_a_dripping_server_is_left(server, where):
    def drip(handler):
        if where == "content":
            handler.send(200, Content_Length="1000000")
        while not handler.server.stopped.wait(0.01):
            handler.wfile.write(b"H")
            handler.wfile.flush()

    server.answer = drip
    start = time.monotonic()
    with pytest.raises(InputError, match=r"took more than 0.2 s for one answer; try later"):
        session(Bounds(page_seconds=0.2)).get(server.url)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("packed", ["br", "zstd", "gzip, gzip", "x" * 1000])
def test_what_is_packed_in_ways_that_nobody_asked_for_is_not_unpacked(server, packed):
    server.answer = lambda handler: handler.send(200, b"{}", Content_Encoding=packed)
    with pytest.raises(InputError, match="which nobody asked for") as refused:
        session().get(server.url)
    assert len(str(refused.value)) < 200


def test_redirects_on_the_same_server_are_followed_and_counted(server):
    server.answer = lambda handler: handler.send(302, Location="/b") if handler.path == "/a" else handler.send(200)
    assert session().get(f"{server.url}/a").url == f"{server.url}/b"
    server.answer = lambda handler: handler.send(307, Location=handler.path + "x")
    with pytest.raises(InputError, match="redirects more than 3 times"):
        session().get(server.url)


def test_no_redirect_leads_to_another_server_unless_it_is_allowed(server):
    other = Server()
    asked = []
    other.answer = lambda handler: asked.append(handler.path) or handler.send(200, b"1")
    thread = threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        server.answer = lambda handler: handler.send(301, Location=f"{other.url}/secret")
        with pytest.raises(InputError, match=rf"lies on another server; .* --allow-origin {other.url}"):
            session().get(server.url)
        assert asked == []
        assert session(allowed=(other.url,)).get(server.url).content == b"1"
    finally:
        other.shutdown()
        thread.join()
        other.server_close()


HERE = "http://example.org:8080/v1/structures"


@pytest.mark.parametrize(
    ("here", "link", "target"),
    [
        (HERE, "?page=2", "http://example.org:8080/v1/structures?page=2"),
        (HERE, "http://example.org:8080/x", "http://example.org:8080/x"),
        (HERE, "https://example.org/x", "https://example.org/x"),
        (HERE, "http://example.org/x", None),
        (HERE, "http://example.org:8080@evil.org/x", None),
        (HERE, "//evil.org/x", None),
        (HERE, "file:///etc/passwd", None),
        (HERE, "http://example.org:port/x", None),
        (HERE, "http://[::1/x", None),
        ("https://example.org/a", "http://example.org:80/x", "https://example.org/x"),
        ("https://example.org/a", "https://sub.example.org/x", None),
        ("https://example.org/a", "https://friend.org/x", "https://friend.org/x"),
        ("https://example.org/a", "http://friend.org/x", None),
    ],
)
def test_where_a_link_may_lead(here, link, target):
    asked = session(allowed=("https://friend.org",))
    if target is None:
        with pytest.raises(InputError, match=r"lies on another server|is no address"):
            asked.target(here, link)
    else:
        assert asked.target(here, link) == target


@pytest.mark.parametrize("content", [b"[NaN]", b"[Infinity]", b"[" * 100_000, b"\xff", b""])
def test_what_is_no_json(server, content):
    server.answer = lambda handler: handler.send(200, content)
    with pytest.raises(ValueError, match="is not JSON"):
        session(Bounds()).get(server.url).json()


def test_a_server_that_hangs_up_is_the_callers_to_ask_again(server):
    server.answer = lambda handler: handler.send(200, b"half", Content_Length="8")
    with pytest.raises(requests.RequestException):
        session().get(server.url)
