"""Fetch structures from an OPTIMADE server: page by page, politely, and never a page twice.

Every page is kept as it came in a folder beside the output until the import is done. A fetch that was cut off goes on
behind the last whole page.

Reference:
    M. L. Evans et al., Digital Discovery 3, 1509 (2024) (OPTIMADE 1.2).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from shutil import rmtree
from time import sleep
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import requests

from crystalgraph import __version__
from crystalgraph.errors import InputError
from crystalgraph.io.atomic import write_bytes, write_json
from crystalgraph.progress import Progress, at_stage

FIELDS = (
    *("lattice_vectors", "cartesian_site_positions", "species", "species_at_sites"),
    *("dimension_types", "structure_features"),
)
"""What is asked of every structure."""

USER_AGENT = f"crystalgraph/{__version__} (cg-data import)"

TRIES, BACK_OFF = 6, 1.0
"""How often a page is asked for, and the seconds before the second time; each later wait is twice as long."""

LONGEST_WAIT = 300.0
"""Seconds; a server that asks for a longer pause (``Retry-After``) is left alone, to go on with another time."""

_TIMEOUT = (10.0, 120.0)  # seconds to connect and between two bytes
_BUSY = (429, 500, 502, 503, 504)
_QUERY_FILE, _INFO_FILE = "query.json", "info.json"


@dataclass(frozen=True, kw_only=True)
class Query:
    """What to fetch.

    Attributes:
        url: base URL of the server, with or without ``/v1``.
        filter: in OPTIMADE's filter language; empty for every structure.
        properties: further properties to keep, such as ``_mp_band_gap``.
        page_limit: entries a page.
        pause: seconds between two pages.
    """

    url: str
    filter: str = ""
    properties: tuple[str, ...] = ()
    page_limit: int = 100
    pause: float = 0.5

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in ("http", "https") or not urlsplit(self.url).netloc:
            raise InputError(f"--optimade {self.url!r} is no address; give one such as https://example.org/optimade")
        if self.page_limit < 1 or self.pause < 0:
            raise InputError(f"page limit {self.page_limit} and pause {self.pause} s: give at least 1 and 0")

    @property
    def base(self) -> str:
        """The versioned base URL."""
        url = self.url.rstrip("/").removesuffix("/structures")
        return url if re.search(r"/v\d[\d.]*$", url) else f"{url}/v1"

    @property
    def first_page(self) -> str:
        """Where the first page is."""
        asked = {"response_fields": ",".join((*FIELDS, *self.properties)), "page_limit": self.page_limit}
        return f"{self.base}/structures?{urlencode(({'filter': self.filter} if self.filter else {}) | asked)}"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a server gave.

    Attributes:
        entries: the entries of all pages, in order; each has an ``id`` and ``attributes``.
        n_pages: on how many pages.
        repeated: entries whose id had come before; they are not among ``entries``.
        announced: how many entries match by the server's own count, None where it does not say.
        provider: the server's ``meta.provider``, empty where it does not say.
        licences: what the server's ``info`` says about licences.
        retrieved: day of the first page by the server's clock, such as 2026-01-31; empty where it does not say.
    """

    entries: list[dict[str, Any]]
    n_pages: int
    repeated: int
    announced: int | None
    provider: dict[str, Any]
    licences: str
    retrieved: str


def fetch(query: Query, kept: Path, *, resume: bool = False, progress: Progress | None = None) -> Answer:
    """Fetch all pages of a query.

    Args:
        query: what to fetch.
        kept: folder in which the pages are kept; the caller removes it when the entries are safe elsewhere.
        resume: go on with the pages that are there.
        progress: called as the work goes on, with the number of entries that the server announces.

    Returns:
        All entries, each once.

    Raises:
        InputError: if the server cannot be reached, refuses, or gives something that is not OPTIMADE; if pages are
            there and are not to be used, or belong to another query.
    """
    _prepare(query, kept, resume=resume)
    asked = requests.Session()
    asked.headers.update({"User-Agent": USER_AGENT, "Accept": "application/vnd.api+json, application/json"})
    info_file = kept / _INFO_FILE
    if not info_file.is_file():
        write_json(info_file, _info(asked, query))
    entries: dict[str, dict[str, Any]] = {}
    meta: dict[str, Any] = {}
    n_entries = n_pages = 0
    report = at_stage(progress, "fetch")
    for page in _pages(asked, query, kept):
        n_pages += 1
        meta = meta or _table(page.get("meta"))
        n_entries += len(page["data"])
        for entry in page["data"]:
            entries.setdefault(str(entry["id"]), entry)
        report(len(entries), max(_announced(meta) or 0, len(entries)))
    return Answer(
        entries=list(entries.values()),
        n_pages=n_pages,
        repeated=n_entries - len(entries),
        announced=_announced(meta),
        provider=_table(meta.get("provider")),
        licences=_licences(json.loads(info_file.read_bytes())),
        retrieved=_day(meta.get("time_stamp")),
    )


def _prepare(query: Query, kept: Path, *, resume: bool) -> None:
    """Make the folder of the pages, or see that it belongs to this query."""
    # Neither the pause nor the size of pages changes what is asked for, but page links depend on the size.
    record = {key: value for key, value in asdict(query).items() if key != "pause"}
    if not resume:
        if any(kept.glob("page-*.json")):
            raise InputError(f"{kept} holds the pages of an import that was cut off; go on with --resume, or remove it")
        rmtree(kept, ignore_errors=True)  # of a first try that got no page
        write_json(kept / _QUERY_FILE, record)
        return
    try:
        found = json.loads((kept / _QUERY_FILE).read_bytes())
    except (OSError, ValueError):
        raise InputError(f"nothing to resume: {kept} holds no pages of an import; leave --resume out") from None
    if differing := [key for key, value in record.items() if found.get(key) != json.loads(json.dumps(value))]:
        key = differing[0]
        raise InputError(
            f"{kept} was begun with {key} {found.get(key)!r}, not {record[key]!r}; use the same, or remove it"
        )


def _pages(asked: requests.Session, query: Query, kept: Path) -> Iterator[dict[str, Any]]:
    """All pages in order, from the folder while there are some, then from the server."""
    url: str | None = query.first_page
    seen: set[str] = set()
    while url is not None:
        number = len(seen) + 1
        seen.add(url)
        file = kept / f"page-{number:05d}.json"
        page = _kept_page(file)
        if page is None:
            if number > 1:
                sleep(query.pause)
            page, content = _get(asked, url, first=number == 1)
            write_bytes(file, content)
        url = _next(page, url)
        if url in seen:
            raise InputError(f"page {number} of {query.base} links back to {url}: the server's pages run in a circle")
        if url is not None and not page["data"]:
            raise InputError(
                f"page {number} of {query.base} is empty but names a next one; the server's paging is broken"
            )
        yield page


def _kept_page(file: Path) -> dict[str, Any] | None:
    """A page that was fetched before, if there is one and it is whole."""
    try:
        return _checked_page(file.read_bytes())
    except (OSError, ValueError):
        return None


def _next(page: dict[str, Any], url: str) -> str | None:
    """Where the next page is, None after the last."""
    link = _table(page.get("links")).get("next")
    link = link.get("href") if isinstance(link, dict) else link
    if not link:
        return None
    target = urljoin(url, str(link))
    here, there = urlsplit(url), urlsplit(target)
    if there.scheme not in ("http", "https") or there.hostname != here.hostname:
        raise InputError(f"{url} names {target} as the next page, which lies on another server; import it from there")
    # Servers behind a proxy name themselves by http; what began encrypted stays so.
    return target if here.scheme == "http" else there._replace(scheme="https", netloc=here.netloc).geturl()


def _get(asked: requests.Session, url: str, *, first: bool) -> tuple[dict[str, Any], bytes]:
    """A page and its bytes, asked for again while the server is busy."""
    fault, wait = "", 0.0
    for attempt in range(TRIES):
        if attempt:
            sleep(max(wait, BACK_OFF * 2 ** (attempt - 1)))
        wait = 0.0
        try:
            answer = asked.get(url, timeout=_TIMEOUT)
        except requests.RequestException as error:
            fault = type(error).__name__
            if first and attempt and isinstance(error, requests.ConnectionError):
                break  # more likely a wrong address than a server that will be back in seconds
            continue
        if answer.status_code in _BUSY:
            fault = f"HTTP {answer.status_code}"
            wait = _retry_after(answer)
            if wait > LONGEST_WAIT:
                raise InputError(f"{_host(url)} asks to come back in {wait:.0f} s; go on then with --resume")
            continue
        if not answer.ok:
            raise InputError(f"{_host(url)} refuses: {_refusal(answer)}; asked was {url}")
        try:
            return _checked_page(answer.content), answer.content
        except ValueError as error:
            fault = str(error)
    raise InputError(f"{_host(url)} gave no page in {attempt + 1} tries ({fault}); try later with --resume")


def _checked_page(content: bytes) -> dict[str, Any]:
    """A page, if it is one.

    Raises:
        ValueError: if it is not, saying why.
    """
    try:
        page = json.loads(content)
    except ValueError:
        raise ValueError("the answer is not JSON") from None
    entries = page.get("data") if isinstance(page, dict) else None
    if not isinstance(entries, list):
        raise ValueError("the answer has no list of entries under data")
    for entry in entries:
        if not (isinstance(entry, dict) and entry.get("id") is not None):
            raise ValueError("an entry of the answer has no id")
    return page


def _retry_after(answer: requests.Response) -> float:
    """Seconds that the server asks to wait, given as a number or as a date; 0 where it does not ask."""
    text = answer.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max((parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds(), 0.0)
    except (TypeError, ValueError):
        return 0.0


def _refusal(answer: requests.Response) -> str:
    """What a server says that it does not like, in one line."""
    try:
        errors = answer.json()["errors"]
        said = "; ".join(str(error.get("detail") or error.get("title")) for error in errors)
    except (ValueError, KeyError, TypeError, AttributeError):
        said = answer.reason or ""
    printable = "".join(letter for letter in " ".join(said.split()) if letter.isprintable())
    return f"HTTP {answer.status_code} {printable[:300]}".rstrip()


def _info(asked: requests.Session, query: Query) -> dict[str, Any]:
    """The attributes of the server's ``info``; empty where it has none, for nothing but the licence is read there."""
    try:
        answer = asked.get(f"{query.base}/info", timeout=_TIMEOUT)
        return _table(_table(answer.json()["data"])["attributes"]) if answer.ok else {}
    except (requests.RequestException, ValueError, KeyError, TypeError):
        return {}


def _licences(info: dict[str, Any]) -> str:
    """The licences of the entries as ``info`` states them; empty where it does not."""
    for key in ("available_licenses_for_entries", "available_licenses"):
        if isinstance(info.get(key), list) and info[key]:
            return ", ".join(map(str, info[key]))
    link = info.get("license")
    link = link.get("href") if isinstance(link, dict) else link
    return str(link) if link else ""


def _announced(meta: dict[str, Any]) -> int | None:
    count = meta.get("data_returned")
    return count if isinstance(count, int) else None


def _day(time_stamp: Any) -> str:
    found = re.match(r"\d{4}-\d\d-\d\d", str(time_stamp or ""))
    return found.group() if found else ""


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _host(url: str) -> str:
    return urlsplit(url).netloc
