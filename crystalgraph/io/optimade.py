"""Fetch structures from an OPTIMADE server: page by page, politely, and never a page twice.

Every page is kept with its checksum in a folder beside the output until the import is done. A fetch that was cut off
goes on behind the last whole page. A server can neither lead to another one nor go on without end, see
`crystalgraph.io.bounded_http.Bounds`.

Reference:
    M. L. Evans et al., Digital Discovery 3, 1509 (2024) (OPTIMADE 1.2).
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from shutil import rmtree
from time import sleep
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests

from crystalgraph import __version__
from crystalgraph.errors import InputError
from crystalgraph.io.bounded_http import MEBIBYTE, USUAL_BOUNDS, BoundedSession, Bounds, Reply, are_origins
from crystalgraph.io.sealed import read_sealed, write_sealed
from crystalgraph.progress import Progress, at_stage

FIELDS = (
    *("lattice_vectors", "cartesian_site_positions", "species", "species_at_sites"),
    *("dimension_types", "structure_features"),
)
"""What is asked of every structure."""

USER_AGENT = f"crystalgraph/{__version__} (cg-data import)"

_HEADERS = {
    "User-Agent": USER_AGENT,
    "Accept": "application/vnd.api+json, application/json",
    "Accept-Encoding": "gzip, deflate",
}

TRIES, BACK_OFF = 6, 1.0
"""How often a page is asked for, and the seconds before the second time; each later wait is twice as long."""

LONGEST_WAIT = 300.0
"""Seconds; a server that asks for a longer pause (``Retry-After``) is left alone, to go on with another time."""

_BUSY = (429, 500, 502, 503, 504)
_QUERY_FILE, _INFO_FILE = "query.json", "info.json"

LOGGER = logging.getLogger("crystalgraph.io")
"""Hears what is worth a line; the commands print it."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """What to fetch.

    Attributes:
        url: base URL of the server, with or without ``/v1``.
        filter: in OPTIMADE's filter language; empty for every structure.
        properties: further properties to keep, such as ``_mp_band_gap``.
        page_limit: entries a page.
        pause: seconds between two pages.
        allowed: origins beside the server's own that it may redirect or link to, such as ``https://example.org``.

    Raises:
        InputError: if an address is none, or a number is impolite.
    """

    url: str
    filter: str = ""
    properties: tuple[str, ...] = ()
    page_limit: int = 100
    pause: float = 0.5
    allowed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in ("http", "https") or not urlsplit(self.url).netloc:
            raise InputError(
                f"{self.url!r} is no address of an OPTIMADE server; give one such as https://example.org/optimade"
            )
        if self.page_limit < 1 or self.pause < 0:
            raise InputError(f"page limit {self.page_limit} and pause {self.pause} s: give at least 1 and 0")
        if not are_origins(self.allowed):
            raise InputError(f"allowed origins {', '.join(self.allowed)}: give each such as https://example.org")

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


def fetch(
    query: Query,
    kept: Path,
    *,
    resume: bool = False,
    bounds: Bounds = USUAL_BOUNDS,
    progress: Progress | None = None,
) -> Answer:
    """Fetch all pages of a query.

    Args:
        query: what to fetch.
        kept: folder in which the pages are kept; the caller removes it when the entries are safe elsewhere.
        resume: go on with the pages that are there.
        bounds: how much the server may give.
        progress: called as the work goes on, with the number of entries that the server announces.

    Returns:
        All entries, each once.

    Raises:
        InputError: if the server cannot be reached, refuses, or gives something that is not OPTIMADE; if pages are
            there and are not to be used, or belong to another query; if the server leads elsewhere or goes on beyond a
            bound.
    """
    _prepare(query, kept, resume=resume)
    session = BoundedSession(headers=_HEADERS, bounds=bounds, allowed=query.allowed)
    info = _info(session, query, kept / _INFO_FILE)
    entries: dict[str, dict[str, Any]] = {}
    meta: dict[str, Any] = {}
    n_entries = n_pages = 0
    report = at_stage(progress, "fetch")
    for page in _pages(session, query, kept):
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
        licences=_licences(info),
        retrieved=_day(meta.get("time_stamp")),
    )


def _prepare(query: Query, kept: Path, *, resume: bool) -> None:
    """Make the folder of the pages, or see that it belongs to this query."""
    # The size of pages does not change what is asked for, but page links depend on it.
    record = {key: value for key, value in asdict(query).items() if key not in ("pause", "allowed")}
    if not resume:
        if any(kept.glob("page-*.json")):
            raise InputError(f"{kept} holds the pages of an import that was cut off; go on with --resume, or remove it")
        rmtree(kept, ignore_errors=True)  # of a first try that got no page
        write_sealed(kept / _QUERY_FILE, record)
        return
    try:
        found = read_sealed(kept / _QUERY_FILE)
    except (OSError, ValueError):
        raise InputError(f"nothing to resume: {kept} holds no pages of an import; leave --resume out") from None
    if differing := [key for key, value in record.items() if found.get(key) != json.loads(json.dumps(value))]:
        key = differing[0]
        raise InputError(
            f"{kept} was begun with {key} {found.get(key)!r}, not {record[key]!r}; use the same, or remove it"
        )


def _pages(session: BoundedSession, query: Query, kept: Path) -> Iterator[dict[str, Any]]:
    """All pages in order, from the folder while there are some, then from the server."""
    url: str | None = query.first_page
    seen: set[str] = set()
    holders: dict[tuple[str, ...], int] = {}
    n_bytes = 0
    while url is not None:
        number = len(seen) + 1
        seen.add(url)
        file = kept / f"page-{number:05d}.json"
        page = _kept_page(file)
        if page is None:
            if number > 1:
                sleep(query.pause)
            page = _get(session, url, first=number == 1)
            _keep(file, page)
        n_bytes += file.stat().st_size
        ids = tuple(str(entry["id"]) for entry in page["data"])
        if ids and (first := holders.setdefault(ids, number)) != number:
            raise InputError(f"page {number} of {query.base} repeats page {first}: the server's pages run in a circle")
        url = _next(session, page, url)
        if url in seen:
            raise InputError(f"page {number} of {query.base} links back to {url}: the server's pages run in a circle")
        if url is not None and not page["data"]:
            raise InputError(
                f"page {number} of {query.base} is empty but names a next one; the server's paging is broken"
            )
        yield page
        if url is not None and (number >= session.bounds.n_pages or n_bytes > session.bounds.total_bytes):
            raise InputError(
                f"{query.base} goes on after {number:,} pages with {n_bytes / MEBIBYTE:,.0f} MiB, more than an import "
                "takes; ask for less with --filter"
            )


def _kept_page(file: Path) -> dict[str, Any] | None:
    """A page that was fetched before, if there is one and every byte of it is as it was written."""
    try:
        return _checked_page(read_sealed(file))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        LOGGER.warning("%s is not believed (%s); the page is asked for again", file, error)
        return None


def _keep(file: Path, page: dict[str, Any]) -> None:
    try:
        write_sealed(file, page)
    except RecursionError:
        raise InputError("the server's answer is nested too deeply for crystals; report it to the server") from None


def _next(session: BoundedSession, page: dict[str, Any], url: str) -> str | None:
    """Where the next page is, None after the last."""
    link = _table(page.get("links")).get("next")
    link = link.get("href") if isinstance(link, dict) else link
    return session.target(url, str(link)) if link else None


def _get(session: BoundedSession, url: str, *, first: bool) -> dict[str, Any]:
    """A page, asked for again while the server is busy."""
    fault, wait = "", 0.0
    for attempt in range(TRIES):
        if attempt:
            sleep(max(wait, BACK_OFF * 2 ** (attempt - 1)))
        wait = 0.0
        try:
            answer = session.get(url)
        except requests.RequestException as error:
            fault = type(error).__name__
            if first and attempt and isinstance(error, requests.ConnectionError):
                break  # more likely a wrong address than a server that will be back in seconds
            continue
        if answer.status in _BUSY:
            fault = f"HTTP {answer.status}"
            wait = _retry_after(answer)
            if wait > LONGEST_WAIT:
                raise InputError(f"{_host(url)} asks to come back in {wait:.0f} s; go on then with --resume")
            continue
        if not answer.ok:
            raise InputError(f"{_host(url)} refuses: {_refusal(answer)}; asked was {url}")
        try:
            return _checked_page(answer.json())
        except ValueError as error:
            fault = str(error)
    raise InputError(f"{_host(url)} gave no page in {attempt + 1} tries ({fault}); try later with --resume")


def _checked_page(page: Any) -> dict[str, Any]:
    """A page, if it is one.

    Raises:
        ValueError: if it is not, saying why.
    """
    entries = page.get("data") if isinstance(page, dict) else None
    if not isinstance(entries, list):
        raise ValueError("the answer has no list of entries under data")
    for entry in entries:
        if not (isinstance(entry, dict) and entry.get("id") is not None):
            raise ValueError("an entry of the answer has no id")
    found: dict[str, Any] = page
    return found


def _retry_after(answer: Reply) -> float:
    """Seconds that the server asks to wait, given as a number or as a date; 0 where it does not ask."""
    text = answer.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max((parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds(), 0.0)
    except (TypeError, ValueError):
        return 0.0


def _refusal(answer: Reply) -> str:
    """What a server says that it does not like, in one line."""
    try:
        errors = answer.json()["errors"]
        said = "; ".join(str(error.get("detail") or error.get("title")) for error in errors)
    except (ValueError, KeyError, TypeError, AttributeError):
        said = answer.reason
    printable = "".join(letter for letter in " ".join(said.split()) if letter.isprintable())
    return f"HTTP {answer.status} {printable[:300]}".rstrip()


def _info(session: BoundedSession, query: Query, file: Path) -> dict[str, Any]:
    """The attributes of the server's ``info``; empty where it has none, for nothing but the licence is read there."""
    try:
        return _table(read_sealed(file))
    except (OSError, ValueError, RecursionError):
        pass
    try:
        answer = session.get(f"{query.base}/info")
        info = _table(_table(answer.json()["data"])["attributes"]) if answer.ok else {}
    except (requests.RequestException, ValueError, KeyError, TypeError):
        info = {}
    _keep(file, info)
    return info


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
