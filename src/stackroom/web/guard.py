"""Who may ask: the exact host, no other origin, and whoever knows this start's token. Every request goes through here."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stackroom.forms import plain_error

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)

_HEADERS = {
    "content-security-policy": PAGE_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cache-control": "no-store",
}

_SAFE = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Address:
    """Where the page is: `hosts` are the values of the Host header that name it, the first one is in its URL."""

    hosts: tuple[str, ...]
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.hosts[0]}"

    @property
    def cookie(self) -> str:
        """Cookies know no ports: several pages on one machine must not take each other's."""
        return "stackroom-" + self.hosts[0].rpartition(":")[2]


class Guard:
    """Around the whole application. No cross-origin sharing: a browser's preflight is refused like anything else from elsewhere."""

    def __init__(
        self,
        app: ASGIApp,
        address: Address,
        token: str,
        once: str | None = None,
        *,
        hint: str = "Open the address that 'stackroom ui' printed when it started.",
    ) -> None:
        """`once` admits as the token does, and only once: every user of a machine sees what a browser is started with. `hint` says to who comes
        without a token where there is one."""
        self._app = app
        self._address = address
        self._token = token
        self._once = once
        self._hint = hint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope)
        refused = self._elsewhere(scope, headers)
        if refused is not None:
            await _refuse(scope, guarded, *refused)
            return
        offered = dict(parse_qsl(scope["query_string"].decode("ascii", "replace"))).get("token")
        if scope["path"] == "/" and scope["method"] == "GET" and offered is not None and self._opens(offered):
            await self._admit(scope, guarded)
            return
        refused = self._unknown(scope, headers)
        if refused is not None:
            await _refuse(scope, guarded, *refused)
            return
        await self._app(scope, receive, guarded)

    def _elsewhere(self, scope: Scope, headers: Headers) -> tuple[int, str, str] | None:
        """Why a request is refused that does not come from this page's own address: status, what and what to do."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._address.hosts:
            # Another name for this machine may be an attacker's, pointed here (DNS rebinding).
            return 403, "This is not the address of this page.", f"It is {self._address.url}."
        origins = headers.getlist("origin")
        own = f"{self._address.scheme}://{hosts[0].lower()}"
        if origins and origins != [own]:
            return 403, "Another page may not ask here.", "Use the API with a token, from a program."
        site = headers.get("sec-fetch-site", "none")
        opens_it = (
            scope["method"] == "GET"
            and headers.get("sec-fetch-mode") == "navigate"
            and headers.get("sec-fetch-dest") == "document"
        )
        if site not in ("same-origin", "none") and not opens_it:
            # Another port of this machine is the same site to a browser, and its cookie comes along.
            return 403, "Another page may not ask here.", "Use the API with a token, from a program."
        return None

    def _unknown(self, scope: Scope, headers: Headers) -> tuple[int, str, str] | None:
        """Why a request is refused that does not prove who asks."""
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._is_token(bearer.strip()):
            return None
        if not any(self._is_token(value) for value in self._cookies(headers)):
            return 401, "Nothing is answered here without the token.", self._hint
        if scope["method"] not in _SAFE and "origin" not in headers:
            return 403, "A browser's request to change something says where it comes from.", "Use the token instead."
        return None

    def _cookies(self, headers: Headers) -> list[str]:
        found = []
        for header in headers.getlist("cookie"):
            try:
                morsel = SimpleCookie(header).get(self._address.cookie)
            except CookieError:
                continue
            if morsel is not None:
                found.append(morsel.value)
        return found

    def _opens(self, offered: str) -> bool:
        if self._once is not None and _same(offered, self._once):
            self._once = None
            return True
        return self._is_token(offered)

    def _is_token(self, offered: str) -> bool:
        return _same(offered, self._token)

    async def _admit(self, scope: Scope, send: Send) -> None:
        """The token goes from the address to a cookie, so that no history and no screen shows it."""
        rest = [
            (name, value)
            for name, value in parse_qsl(scope["query_string"].decode("ascii", "replace"))
            if name != "token"
        ]
        secure = "; Secure" if self._address.scheme == "https" else ""
        cookie = f"{self._address.cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict{secure}"
        location = "/" + (f"?{urlencode(rest)}" if rest else "")
        # Not a redirect: to a browser that one would still come from the page with the link, and a strict cookie would stay behind.
        page = f'<!doctype html><meta charset=utf-8><title>Stackroom</title><link rel=icon href=/static/icon.svg><meta http-equiv=refresh content="0;url={escape(location)}">'
        headers = {
            "content-type": "text/html; charset=utf-8",
            "set-cookie": cookie,
            "content-length": str(len(page.encode())),
        }
        await send({"type": "http.response.start", "status": 200, "headers": _raw(headers)})
        await send({"type": "http.response.body", "body": page.encode()})


def _same(offered: str, secret: str) -> bool:
    return hmac.compare_digest(offered.encode("utf-8", "replace"), secret.encode())


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


async def _refuse(scope: Scope, send: Send, status: int, message: str, hint: str) -> None:
    if scope["path"].startswith("/api/"):
        kind, body = "application/json", json.dumps(plain_error("RefusedError", message, hint)).encode()
    else:
        kind, body = "text/plain; charset=utf-8", f"{message} {hint}\n".encode()
    headers = {"content-type": kind, "content-length": str(len(body))}
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    await send({"type": "http.response.start", "status": status, "headers": _raw(headers)})
    await send({"type": "http.response.body", "body": body})
