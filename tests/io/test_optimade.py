"""The OPTIMADE client against a stub that misbehaves in every way that servers do."""

import json
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.optimade import OptimadeStructureAdapter

from crystalgraph.errors import InputError
from crystalgraph.io import optimade
from crystalgraph.io.bounded_http import Bounds
from crystalgraph.io.entries import from_optimade
from crystalgraph.io.optimade import FIELDS, Query, fetch

pytestmark = pytest.mark.slow

ROCK_SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.2), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def entry(name, **changed):
    attributes = OptimadeStructureAdapter.get_optimade_structure(ROCK_SALT)["attributes"]
    return {"id": name, "type": "structures", "attributes": {**attributes, **changed}}


class Stub(ThreadingHTTPServer):
    """Serves pages; what it does next, if not the right thing, is in ``mischief``: one item a request for a page."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages = [[entry(f"s{3 * page + k}") for k in range(3)] for page in range(4)]
        self.asked: list[str] = []
        self.agents: set[str] = set()
        self.mischief: list = []
        self.links: dict[int, object] = {}
        self.info: dict = {}
        self.url = f"http://127.0.0.1:{self.server_port}"

    def page(self, number):
        following = f"{self.url}/v1/structures?page_offset={number + 1}" if number + 1 < len(self.pages) else None
        return {
            "data": self.pages[number],
            "links": {"next": self.links.get(number, following)},
            "meta": {
                "data_returned": sum(map(len, self.pages)),
                "time_stamp": "2026-01-31T23:59:59Z",
                "provider": {"name": "Stub", "description": "Salt", "homepage": "https://example.org"},
            },
        }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server: Stub = self.server
        server.agents.add(self.headers["User-Agent"])
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        if path == "/v1/info":
            self.answer(200, json.dumps({"data": {"attributes": server.info}}).encode())
            return
        assert path == "/v1/structures"
        server.asked.append(self.path)
        does = server.mischief.pop(0) if server.mischief else None
        if does is not None:
            self.answer(*does)
        else:
            self.answer(200, json.dumps(server.page(int(query.get("page_offset", ["0"])[0]))).encode())

    def answer(self, status, content=b"", headers=()):
        if status is None:  # hang up
            self.close_connection = True
            return
        self.send_response(status)
        for key, value in dict(headers).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def stub():
    server = Stub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """Seconds that the client would have slept."""
    slept: list[float] = []
    monkeypatch.setattr(optimade, "sleep", slept.append)
    return slept


EVERYTHING = [f"s{k}" for k in range(12)]


def ids(answer):
    return [one["id"] for one in answer.entries]


def test_pages_are_followed_to_the_end(stub, waits, tmp_path):
    reports = []
    query = Query(url=stub.url, filter='elements HAS "Mg" AND nelements=2', properties=("_x_gap",), page_limit=3)
    answer = fetch(query, tmp_path / "kept", progress=lambda *state: reports.append(state))
    assert ids(answer) == EVERYTHING
    assert (answer.n_pages, answer.repeated, answer.announced) == (4, 0, 12)
    assert answer.retrieved == "2026-01-31"
    assert reports == [("fetch", done, 12) for done in (3, 6, 9, 12)]
    asked = parse_qs(urlsplit(stub.asked[0]).query)
    assert asked["filter"] == ['elements HAS "Mg" AND nelements=2']
    assert asked["response_fields"] == [",".join((*FIELDS, "_x_gap"))]
    assert asked["page_limit"] == ["3"]
    assert waits == [0.5] * 3, "a pause between two pages, none before the first"
    (agent,) = stub.agents
    assert agent.startswith("crystalgraph/")


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/", "/v1/structures"])
def test_any_form_of_the_address_will_do(stub, tmp_path, ending):
    assert ids(fetch(Query(url=stub.url + ending), tmp_path / "kept")) == EVERYTHING


def test_next_links_of_every_form(stub, tmp_path):
    stub.links = {0: "/v1/structures?page_offset=1", 1: {"href": f"{stub.url}/v1/structures?page_offset=2"}}
    assert ids(fetch(Query(url=stub.url), tmp_path / "kept")) == EVERYTHING


BUSY = {
    "too many requests": (429,),
    "a fault": (500,),
    "overloaded": (503,),
    "broken JSON": (200, b'{"data": [{"id": "s0", "attr'),
    "no list": (200, b'{"errors": []}'),
    "an entry without id": (200, b'{"data": [{"attributes": {}}]}'),
    "hung up": (None,),
}


@pytest.mark.parametrize("fault", BUSY)
def test_a_server_that_recovers_loses_nothing(stub, waits, tmp_path, fault):
    stub.mischief = [None, BUSY[fault], BUSY[fault], None, BUSY[fault]]
    assert ids(fetch(Query(url=stub.url, pause=0), tmp_path / "kept")) == EVERYTHING
    assert [wait for wait in waits if wait] == [1, 2, 1], "each wait twice as long as the one before"
    assert len(stub.asked) == 4 + 3


@pytest.mark.parametrize("fault", ["too many requests", "broken JSON", "hung up"])
def test_a_server_that_does_not_recover_ends_in_one_line_and_can_be_resumed(stub, waits, tmp_path, fault):
    stub.mischief = [None, None] + [BUSY[fault]] * optimade.TRIES
    with pytest.raises(InputError, match=r"gave no page in 6 tries \(.*\); try later with --resume"):
        fetch(Query(url=stub.url, pause=0), tmp_path / "kept")
    assert waits[-5:] == [1, 2, 4, 8, 16]
    before = len(stub.asked)
    assert ids(fetch(Query(url=stub.url, pause=0), tmp_path / "kept", resume=True)) == EVERYTHING
    assert len(stub.asked) - before == 2, "the two pages that were there are not asked for again"


def test_the_wait_that_a_server_asks_for_is_kept(stub, waits, tmp_path):
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=50), usegmt=True)
    stub.mischief = [
        (429, b"", {"Retry-After": "7"}),
        (503, b"", {"Retry-After": date}),
        (429, b"", {"Retry-After": "x"}),
    ]
    assert ids(fetch(Query(url=stub.url, pause=0), tmp_path / "kept")) == EVERYTHING
    assert waits[0] == 7
    assert waits[1] == pytest.approx(50, abs=5)
    assert waits[2] == 4


def test_a_long_wait_is_left_to_the_user(stub, waits, tmp_path):
    stub.mischief = [None, (429, b"", {"Retry-After": "3600"})]
    with pytest.raises(InputError, match="asks to come back in 3600 s; go on then with --resume"):
        fetch(Query(url=stub.url), tmp_path / "kept")
    assert max(waits) < 1


def test_a_refusal_is_told_in_the_servers_words(stub, tmp_path):
    said = json.dumps({"errors": [{"title": "Bad Request", "detail": "cannot parse\nthe filter"}]}).encode()
    stub.mischief = [(400, said)]
    with pytest.raises(InputError, match="refuses: HTTP 400 cannot parse the filter; asked was http"):
        fetch(Query(url=stub.url, filter="elements HAS"), tmp_path / "kept")
    assert len(stub.asked) == 1, "what is refused is not asked for again"


@pytest.mark.parametrize("back_to", [0, 1, 2])
def test_pages_in_a_circle_are_noticed(stub, tmp_path, back_to):
    first = Query(url=stub.url).first_page
    stub.links = {2: first if back_to == 0 else f"{stub.url}/v1/structures?page_offset={back_to}"}
    with pytest.raises(InputError, match="run in a circle"):
        fetch(Query(url=stub.url), tmp_path / "kept")
    assert len(stub.asked) == 3


def test_empty_pages_without_end_are_noticed(stub, tmp_path):
    stub.pages[1] = []
    with pytest.raises(InputError, match=r"page 2 .* is empty"):
        fetch(Query(url=stub.url), tmp_path / "kept")


def test_no_entries_at_all(stub, tmp_path):
    stub.pages = [[]]
    assert fetch(Query(url=stub.url), tmp_path / "kept").entries == []


@pytest.mark.parametrize("link", ["http://localhost.example/v1/structures?page_offset=1", "file:///etc/passwd"])
def test_no_link_leads_to_another_server(stub, tmp_path, link):
    stub.links = {0: link}
    with pytest.raises(InputError, match=r"lies on another server|is no address"):
        fetch(Query(url=stub.url), tmp_path / "kept")


@pytest.mark.parametrize("entries", [1, 3])
def test_pages_that_repeat_under_new_addresses_are_noticed(stub, tmp_path, entries):
    stub.pages = [[entry(f"s{k}") for k in range(entries)]] * 9
    with pytest.raises(InputError, match=r"page 2 .* repeats page 1: .* run in a circle"):
        fetch(Query(url=stub.url), tmp_path / "kept")


@pytest.mark.parametrize(
    "bounds", [Bounds(n_pages=4), Bounds(total_bytes=1000)], ids=["pages without end", "bytes without end"]
)
def test_a_server_that_goes_on_is_left(stub, tmp_path, monkeypatch, bounds):
    new = iter(range(10**6))
    monkeypatch.setattr(
        Stub,
        "page",
        lambda self, number: {
            "data": [entry(f"s{next(new)}")],
            "links": {"next": f"{self.url}/v1/structures?page_offset={number + 1}"},
        },
    )
    with pytest.raises(InputError, match=r"goes on after \d pages with 0 MiB, more than an import takes; .* --filter"):
        fetch(Query(url=stub.url), tmp_path / "kept", bounds=bounds)
    assert len(stub.asked) <= 4


def test_a_page_that_was_changed_on_disk_is_fetched_again(stub, tmp_path):
    query = Query(url=stub.url)
    fetch(query, tmp_path / "kept")
    page = tmp_path / "kept" / "page-00002.json"
    page.write_bytes(page.read_bytes().replace(b"s4", b"s5", 1))
    before = len(stub.asked)
    assert ids(fetch(query, tmp_path / "kept", resume=True)) == EVERYTHING
    assert len(stub.asked) - before == 1


@pytest.mark.parametrize("origin", ["example.org", "ftp://example.org", "http://"])
def test_an_allowed_origin_is_an_address(origin):
    with pytest.raises(InputError, match=r"give each such as https://example.org"):
        Query(url="https://example.org", allowed=(origin,))


def test_entries_that_come_twice_are_taken_once(stub, tmp_path):
    stub.pages[2][0] = stub.pages[1][2]
    query = Query(url=stub.url)
    answer = fetch(query, tmp_path / "kept")
    assert ids(answer) == [name for name in EVERYTHING if name != "s6"]
    assert answer.repeated == 1
    gaps = " ".join(from_optimade(query, answer).source.gaps)
    assert "announced 12 entries and gave 11" in gaps
    assert "1 entry came more than once" in gaps


def test_resume_needs_the_same_question(stub, tmp_path):
    kept = tmp_path / "kept"
    with pytest.raises(InputError, match="nothing to resume"):
        fetch(Query(url=stub.url), kept, resume=True)
    fetch(Query(url=stub.url, filter="nelements=2"), kept)
    with pytest.raises(InputError, match="go on with --resume, or remove it"):
        fetch(Query(url=stub.url, filter="nelements=2"), kept)
    with pytest.raises(InputError, match="was begun with filter 'nelements=2', not 'nelements=3'"):
        fetch(Query(url=stub.url, filter="nelements=3"), kept, resume=True)
    before = len(stub.asked)
    again = fetch(Query(url=stub.url, filter="nelements=2", pause=9), kept, resume=True)
    assert ids(again) == EVERYTHING
    assert len(stub.asked) == before


def test_a_page_that_was_damaged_on_disk_is_fetched_again(stub, tmp_path):
    query = Query(url=stub.url)
    fetch(query, tmp_path / "kept")
    page = tmp_path / "kept" / "page-00002.json"
    page.write_bytes(page.read_bytes()[:100])
    before = len(stub.asked)
    assert ids(fetch(query, tmp_path / "kept", resume=True)) == EVERYTHING
    assert len(stub.asked) - before == 1


def test_missing_fields_leave_entries_out_with_their_reasons(stub, tmp_path):
    stub.pages = [
        [
            entry("good", _x_gap=1.5),
            entry("no positions", cartesian_site_positions=None),
            {"id": "no attributes"},
            {"id": "null", "attributes": None},
            entry("short", lattice_vectors=[[1, 0, 0]]),
            entry("odd", species=[{"name": "Mg"}]),
            entry("molecule", dimension_types=[0, 0, 0]),
            entry("mixed", species=[{"name": "Mg", "chemical_symbols": ["Mg", "Fe"], "concentration": [0.5, 0.5]}]),
            entry("flat", lattice_vectors=[[4, 0, 0], [0, 4, 0], [4, 4, 0]]),
            entry("text", cartesian_site_positions="here"),
        ]
    ]
    query = Query(url=stub.url, properties=("_x_gap",))
    found = from_optimade(query, fetch(query, tmp_path / "kept"))
    assert found.ids == ["good"]
    assert found.rows() == [{"_x_gap": 1.5}]
    assert set(found.failures) == {one["id"] for one in stub.pages[0]} - {"good"}
    assert "no cartesian_site_positions" in found.failures["no positions"]
    assert "not periodic" in found.failures["molecule"]
    assert "disordered" in found.failures["mixed"]
    assert all(reason and "\n" not in reason for reason in found.failures.values())


def test_the_card_says_what_the_server_says(stub, tmp_path):
    stub.info = {"available_licenses_for_entries": ["CC-BY-4.0"], "license": {"href": "https://example.org/terms"}}
    query = Query(url=stub.url)
    found = from_optimade(query, fetch(query, tmp_path / "kept"))
    assert found.source.name == "Stub"
    assert found.source.licence == "CC-BY-4.0"
    assert found.source.attribution == "Stub: Salt. https://example.org"
    assert found.source.taken_from == f"OPTIMADE server {stub.url}/v1, no filter, 2026-01-31"
    assert from_optimade(query, fetch(query, tmp_path / "other"), licence="CC0").source.licence == "CC0"


def test_a_server_that_says_nothing_about_itself(stub, tmp_path, monkeypatch):
    monkeypatch.setattr(Stub, "page", lambda self, number: {"data": self.pages[number]})
    query = Query(url=stub.url)
    found = from_optimade(query, fetch(query, tmp_path / "kept"))
    assert found.ids == ["s0", "s1", "s2"]
    assert found.source.licence == "not stated"
    assert found.source.name == f"{stub.url}/v1"


@pytest.mark.parametrize("url", ["example.org", "ftp://example.org", "", "http://"])
def test_what_is_no_address(url):
    with pytest.raises(InputError, match="is no address"):
        Query(url=url)


@pytest.mark.parametrize("wrong", [{"page_limit": 0}, {"pause": -1.0}])
def test_impolite_numbers(wrong):
    with pytest.raises(InputError, match="at least 1 and 0"):
        Query(url="https://example.org", **wrong)


def test_a_server_that_is_not_there_is_given_up_soon(tmp_path, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr("crystalgraph.io.optimade.sleep", waits.append)
    with pytest.raises(InputError, match=r"127.0.0.1:9 gave no page in 2 tries \(ConnectionError\)"):
        fetch(Query(url="http://127.0.0.1:9"), tmp_path / "kept")
    assert 0 < sum(waits) < 5


def test_a_first_try_that_got_no_page_is_no_import_that_was_cut_off(stub, tmp_path):
    stub.mischief = [(400,)]
    with pytest.raises(InputError, match="refuses"):
        fetch(Query(url=stub.url, filter="wrong"), tmp_path / "kept")
    assert ids(fetch(Query(url=stub.url), tmp_path / "kept")) == EVERYTHING
