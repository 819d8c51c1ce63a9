"""Where a server listens, by which names it may be asked for, and how it runs until it is told to end."""

from __future__ import annotations

import ipaddress
import signal
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from stackroom.errors import BusyError, StorageError, UsageError
from stackroom.web.guard import Address

if TYPE_CHECKING:
    from starlette.types import ASGIApp


@dataclass(frozen=True)
class Where:
    """`port` None: the usual one, or any that is free."""

    host: str = "127.0.0.1"
    port: int | None = None
    certificate: Path | None = None
    key: Path | None = None
    without_tls: bool = False


class _Server(uvicorn.Server):
    """Tells endless answers to end when it is told to."""

    def __init__(self, config: uvicorn.Config, closing: threading.Event) -> None:
        super().__init__(config)
        self._closing = closing
        self.interrupted = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._closing.set()
        self.interrupted |= sig == signal.SIGINT
        super().handle_exit(sig, frame)


class Server:
    """An application that will be served there. From its making on, Ctrl-C and SIGTERM end it, and set `closing` first, without an exception: one in
    the middle of an import would leave a lock behind, for which others wait for ever."""

    def __init__(
        self, app: ASGIApp, where: Where, *, closing: threading.Event | None = None, lifespan: bool = False
    ) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="on" if lifespan else "off",
            ws="none",
            timeout_graceful_shutdown=3,
            # As long as a browser keeps a connection that it may use again: with a shorter time each of the two may close it while the other speaks.
            timeout_keep_alive=120,
            h11_max_incomplete_event_size=64 * 1024,
            ssl_certfile=where.certificate,
            ssl_keyfile=where.key,
        )
        self._server = _Server(config, closing or threading.Event())
        # The server gives back what it was told to end by: then there is still something to close.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._server.handle_exit)

    def run(self, listener: socket.socket) -> None:
        """Serve until it is told to end. Raises KeyboardInterrupt where that was by Ctrl-C, once everything is answered."""
        self._server.run(sockets=[listener])
        if self._server.interrupted:
            raise KeyboardInterrupt


def check_host(where: Where) -> None:
    """Raises UsageError."""
    if (where.certificate is None) != (where.key is None):
        raise UsageError("A certificate and its key belong together.", hint="Give --certificate and --private-key.")
    for path in (where.certificate, where.key):
        if path is not None and not path.is_file():
            raise UsageError(f"{path} is no file.", path=path)
    if where.host in ("", "*", "0.0.0.0", "::"):
        raise UsageError(
            f"{where.host!r} is every address of this machine, and the page checks by which one it is asked.",
            hint="Name one: its name or its address in your network.",
        )
    if is_loopback(where.host) or where.certificate is not None or where.without_tls:
        return
    raise UsageError(
        f"Others reach {where.host}, and without TLS they can read what goes to and fro, the token too.",
        hint="Give --certificate and --private-key; or say --without-tls, for a network that you trust.",
    )


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def address_of(where: Where, port: int) -> Address:
    """By which names the page may be asked for."""
    scheme = "http" if where.certificate is None else "https"
    names = [f"[{where.host}]" if ":" in where.host else where.host.lower()]
    if is_loopback(where.host) and names != ["localhost"]:
        names.append("localhost")
    return Address(tuple(f"{name}:{port}" for name in names), scheme)


def listener(where: Where, usual: int) -> socket.socket:
    """A socket that listens there: at `usual`, or any port that is free, where none is named.

    Raises UsageError where others reach the host and neither TLS nor `without_tls` is given; BusyError where the port is taken.
    """
    check_host(where)
    wanted = [where.port] if where.port is not None else [usual, 0]
    for port in wanted:
        try:
            found = socket.getaddrinfo(where.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            return socket.create_server(found[0][4][:2], family=found[0][0], backlog=256)
        except OSError as error:
            if port != wanted[-1]:
                continue
            if isinstance(error, socket.gaierror):
                raise UsageError(f"{where.host!r} is no address of this machine.", hint="Try 127.0.0.1.") from error
            if where.port is not None:
                raise BusyError(
                    f"Port {port} can't be had: {error.strerror}.", hint="Choose another one, or none: --port N"
                ) from error
            raise StorageError(f"Nothing can listen on {where.host}: {error.strerror}.") from error
    raise AssertionError("unreachable")
