"""Where a library is: its URL, read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from stackroom.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9]+(?:_[A-Za-z0-9]+)*")
_LONGEST_NAME = 40
_DEFAULT_NAME = "library"
_STRANGE = re.compile(
    r"^illegal |http2 header with status: 404|parsing HTTP/2|WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|CERTIFICATE_VERIFY_FAILED|validation errors? for "
)
"""What clients say of an answer that is no HTTP, or no gRPC, or not of the shape that they know, or no TLS, or TLS of somebody whom nobody vouches for."""


class Place(NamedTuple):
    """Nothing of it is secret."""

    url: str
    """As the user wrote it."""
    host: str
    """As it stands in an address; "" where none is named."""
    port: int
    user: str
    path: str
    """with its slash; "" where there is none"""
    name: str
    """of the library"""
    options: dict[str, str]

    @classmethod
    def of(cls, url: str, *, engine: str, port: int, options: Mapping[str, Sequence[str]]) -> Place:
        """`ENGINE://[user@]host[:port][/path]?library=NAME[&option=value]`, with the values that each option may have. Raises UsageError."""
        try:
            parts = urlsplit(url)
            host, found = parts.hostname or "", parts.port or port
        except ValueError:
            raise UsageError(
                f"{url} has no port that can be read.",
                hint=f"For example: {url.partition(':')[0]}://host:{port}?library=NAME",
            ) from None
        given = dict(parse_qsl(parts.query, keep_blank_values=True))
        name = given.pop("library", _DEFAULT_NAME)
        if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
            raise UsageError(
                f"{name!r} can't be a library's name on {engine}.",
                hint="Use up to 40 letters and digits, with single _ between them: ?library=NAME",
                actual=name,
            )
        wrong = next((option for option, value in given.items() if value not in options.get(option, ())), None)
        if wrong is not None and wrong in options:
            said = f"{wrong}={given[wrong]}"
            raise UsageError(f"{said} of {url} can't be.", hint=f"Use {wrong}={_said(options[wrong])}.", actual=said)
        if wrong is not None:
            there = ", ".join(["library=NAME", *(f"{option}={_said(values)}" for option, values in options.items())])
            raise UsageError(f"{wrong!r} of {url} means nothing.", hint=f"There are: {there}.", actual=wrong)
        host = f"[{host}]" if ":" in host else host
        return cls(url, host, found, parts.username or "", parts.path, name, given)

    def named(self, part: str) -> str:
        """The name of something of this library on the server."""
        return f"stackroom_{self.name}__{part}"


def is_strange(said: str) -> bool:
    """Whether a connection failed by what was answered."""
    return _STRANGE.search(said) is not None


def _said(values: Sequence[str]) -> str:
    return " or ".join(values) if len(values) < 4 else f"{values[0]} to {values[-1]}"
