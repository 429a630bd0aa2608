"""What a server answers, within bounds: of bytes, as they come and unpacked, of seconds, and of where it comes from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests

from crystalgraph.errors import InputError

MEBIBYTE = 2**20

_TIMEOUT = (10.0, 120.0)  # seconds to connect and between two bytes
_CHUNK = 2**16  # bytes
_REDIRECTS = (301, 302, 303, 307, 308)
_UNPACKED = ("", "identity", "gzip", "x-gzip", "deflate")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How much a server may give, and how long it may take.

    Attributes:
        page_bytes: of one answer, unpacked.
        page_seconds: for one answer, redirects included.
        n_redirects: of one answer.
        n_pages: of all answers.
        total_bytes: of all answers, unpacked.
    """

    page_bytes: int = 64 * MEBIBYTE
    page_seconds: float = 300.0
    n_redirects: int = 5
    n_pages: int = 10_000
    total_bytes: int = 8192 * MEBIBYTE


USUAL_BOUNDS = Bounds()


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came.

    Attributes:
        url: from where, after redirects.
        status: of HTTP.
        reason: the words beside it.
        headers: in any case of letters.
        content: unpacked.
    """

    url: str
    status: int
    reason: str
    headers: Mapping[str, str]
    content: bytes

    @property
    def ok(self) -> bool:
        """Whether it is what was asked for."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The content as JSON, whose standard has no NaN and no infinities.

        Raises:
            ValueError: if it is none, or nested without end.
        """
        try:
            return json.loads(self.content, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            raise ValueError("the answer is not JSON") from None


@dataclass(kw_only=True)
class BoundedSession:
    """Asks one server.

    Attributes:
        headers: of every question.
        bounds: see `Bounds`; what one answer may have. The others are the caller's.
        allowed: origins beside the server's own, such as ``https://example.org``, that it may refer to.
    """

    headers: Mapping[str, str]
    bounds: Bounds = USUAL_BOUNDS
    allowed: tuple[str, ...] = ()
    _session: requests.Session = field(default_factory=requests.Session)

    def get(self, url: str) -> Reply:
        """Ask for an address.

        Raises:
            requests.RequestException: if nothing, or not all, came.
            InputError: if what comes is beyond a bound, packed in an unknown way, or from another server.
        """
        answers: SimpleQueue[Reply | Exception] = SimpleQueue()
        given_up = Event()

        def ask() -> None:
            try:
                answers.put(self._follow(url, given_up))
            except (requests.RequestException, InputError) as error:
                answers.put(error)

        # In a thread that can be left behind, because a server that drips can hold up any single read.
        Thread(target=ask, daemon=True).start()
        try:
            answer = answers.get(timeout=self.bounds.page_seconds)
        except Empty:
            raise InputError(
                f"{urlsplit(url).netloc} took more than {self.bounds.page_seconds:g} s for one answer; try later, or "
                "ask for fewer entries a page"
            ) from None
        finally:
            given_up.set()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def target(self, url: str, link: str) -> str:
        """Where a link of a page leads.

        Raises:
            InputError: if to another origin that is not allowed.
        """
        try:
            target = urljoin(url, link)
            place = origin(target)
        except ValueError:
            raise InputError(f"{url} leads to {link[:200]!r}, which is no address; its pages are broken") from None
        here, there = urlsplit(url), urlsplit(target)
        if there.hostname == here.hostname:
            if here.scheme == "https":
                # Servers behind a proxy name themselves by http; what began encrypted stays so.
                return there._replace(scheme="https", netloc=here.netloc).geturl()
            if place in (origin(url), f"https://{here.hostname}:443"):
                return target
        if place in map(origin, self.allowed):
            return target
        raise InputError(
            f"{url} leads to {target[:200]}, which lies on another server; if it is to be trusted, allow it with "
            f"--allow-origin {place}"
        )

    def _follow(self, url: str, given_up: Event) -> Reply:
        for _ in range(self.bounds.n_redirects + 1):
            with self._session.get(
                url, headers=dict(self.headers), timeout=_TIMEOUT, stream=True, allow_redirects=False
            ) as answer:
                if answer.status_code not in _REDIRECTS or "Location" not in answer.headers:
                    return Reply(
                        url=url,
                        status=answer.status_code,
                        reason=answer.reason or "",
                        headers=answer.headers,
                        content=self._content(answer, given_up),
                    )
                url = self.target(url, answer.headers["Location"])
        raise InputError(
            f"{urlsplit(url).netloc} redirects more than {self.bounds.n_redirects} times; check the address"
        )

    def _content(self, answer: requests.Response, given_up: Event) -> bytes:
        host = urlsplit(answer.url).netloc
        packed = answer.headers.get("Content-Encoding", "").strip().lower()
        if packed not in _UNPACKED:
            raise InputError(
                f"{host} packs its answer as {packed[:40]!r}, which nobody asked for; import it from files"
            )
        content = bytearray()
        for chunk in answer.iter_content(_CHUNK):
            content += chunk
            if len(content) > self.bounds.page_bytes or given_up.is_set():
                raise InputError(
                    f"{host} gives more than {self.bounds.page_bytes / MEBIBYTE:g} MiB in one answer; ask for fewer "
                    "entries a page with --page-limit"
                )
        return bytes(content)


def origin(url: str) -> str:
    """Scheme, host and port of an address.

    Raises:
        ValueError: if it is no address of a web server.
    """
    parts = urlsplit(url)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"{url!r} is no address of a web server")
    return f"{parts.scheme}://{parts.hostname}:{parts.port or _DEFAULT_PORTS[parts.scheme]}"


def are_origins(urls: Iterable[str]) -> bool:
    """Whether all are addresses of web servers."""
    try:
        return all(origin(url) for url in urls)
    except ValueError:
        return False


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
