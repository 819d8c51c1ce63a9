"""One start of the page: an address, a token, a server, and a browser that opens."""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn

from stackroom.errors import BusyError, StorageError, UsageError
from stackroom.web.app import application
from stackroom.web.desk import Desk
from stackroom.web.guard import Address
from stackroom.web.library import Library

_PORT = 7865
"""Asked for first, so that a bookmark of the page keeps its meaning; if it is taken, any other one."""


@dataclass(frozen=True)
class Settings:
    """`port` None: the usual one, or any that is free. `documents` is where uploads land; beside the library where it is None."""

    library: str | None = None
    host: str = "127.0.0.1"
    port: int | None = None
    documents: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    without_tls: bool = False


class _Server(uvicorn.Server):
    """Tells endless answers to end when it is told to."""

    def __init__(self, config: uvicorn.Config, closing: threading.Event) -> None:
        super().__init__(config)
        self._closing = closing

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._closing.set()
        super().handle_exit(sig, frame)


def serve(settings: Settings, started: Callable[[str, str], None]) -> None:
    """Serve until Ctrl-C or SIGTERM. `started` is called as soon as the page answers, with two addresses: one with the token for its user,
    and one for starting a browser, which opens the page once.

    Raises UsageError where the host is one that others reach and neither TLS nor `without_tls` is
    given; BusyError where the port is taken.
    """
    check_host(settings)
    listener = _listener(settings)
    with contextlib.closing(listener):
        address = address_of(settings, listener.getsockname()[1])
        token, once = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        desk = Desk(Library(settings.library), settings.documents)
        config = uvicorn.Config(
            application(desk, address, token, once),
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=3,
            h11_max_incomplete_event_size=64 * 1024,
            ssl_certfile=settings.certificate,
            ssl_keyfile=settings.key,
        )
        server = _Server(config, desk.closing)
        # The server gives back what it was told to end by: then there is still something to close.
        signal.signal(signal.SIGTERM, _end)
        try:
            # Whoever connects from now on is answered as soon as the server runs.
            started(f"{address.url}/?token={token}", f"{address.url}/?token={once}")
            threading.Thread(target=desk.warm, name="stackroom-warm", daemon=True).start()
            server.run(sockets=[listener])
        finally:
            desk.close()


def _end(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise SystemExit(0)


def check_host(settings: Settings) -> None:
    """Raises UsageError."""
    if (settings.certificate is None) != (settings.key is None):
        raise UsageError("A certificate and its key belong together.", hint="Give --certificate and --private-key.")
    for path in (settings.certificate, settings.key):
        if path is not None and not path.is_file():
            raise UsageError(f"{path} is no file.", path=path)
    if settings.host in ("", "*", "0.0.0.0", "::"):
        raise UsageError(
            f"{settings.host!r} is every address of this machine, and the page checks by which one it is asked.",
            hint="Name one: its name or its address in your network.",
        )
    if is_loopback(settings.host) or settings.certificate is not None or settings.without_tls:
        return
    raise UsageError(
        f"Others reach {settings.host}, and without TLS they can read what goes to and fro, the token too.",
        hint="Give --certificate and --private-key; or say --without-tls, for a network that you trust.",
    )


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def address_of(settings: Settings, port: int) -> Address:
    """By which names the page may be asked for."""
    scheme = "http" if settings.certificate is None else "https"
    names = [f"[{settings.host}]" if ":" in settings.host else settings.host.lower()]
    if is_loopback(settings.host) and names != ["localhost"]:
        names.append("localhost")
    return Address(tuple(f"{name}:{port}" for name in names), scheme)


def _listener(settings: Settings) -> socket.socket:
    wanted = [settings.port] if settings.port is not None else [_PORT, 0]
    for port in wanted:
        try:
            found = socket.getaddrinfo(settings.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            family = found[0][0]
            return socket.create_server(found[0][4][:2], family=family, backlog=256)
        except OSError as error:
            if port != wanted[-1]:
                continue
            if isinstance(error, socket.gaierror):
                raise UsageError(f"{settings.host!r} is no address of this machine.", hint="Try 127.0.0.1.") from error
            if settings.port is not None:
                raise BusyError(
                    f"Port {port} can't be had: {error.strerror}.", hint="Choose another one, or none: --port N"
                ) from error
            raise StorageError(f"The page can't listen on {settings.host}: {error.strerror}.") from error
    raise AssertionError("unreachable")
