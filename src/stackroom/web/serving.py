"""One start of the page: an address, a token, a server, and a browser that opens."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from pathlib import Path

from stackroom.errors import NotALibraryError, UsageError
from stackroom.web import listening
from stackroom.web.app import application
from stackroom.web.library import Library
from stackroom.web.listening import Where
from stackroom.web.workspace import Workspace

_PORT = 7865
"""Asked for first, so that a bookmark of the page keeps its meaning; if it is taken, any other one."""


def serve(
    library: str | None,
    documents: Path | None,
    where: Where,
    started: Callable[[str, str], None],
    *,
    copy: str | None = None,
) -> None:
    """Serve until Ctrl-C or SIGTERM. `documents` is that of Workspace, `library` and `copy` are those of Library.

    `started` is called as soon as the page answers, with two addresses: one with the token for its user, and one for starting a browser,
    which opens the page once. Raises KeyboardInterrupt after Ctrl-C; NotALibraryError; UsageError where others reach the host and neither TLS nor `without_tls` is given; BusyError where the
    port is taken.
    """
    with listening.listener(where, _PORT) as listener:
        address = listening.address_of(where, listener.getsockname()[1])
        token, once = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        workspace = Workspace(Library(library, copy=copy), documents)
        try:
            _, trouble = workspace.library.state()
            if isinstance(trouble, NotALibraryError | UsageError):
                # An old index can be migrated there, and a damaged library repaired; this is somebody else's folder, or no address of a library.
                raise trouble
            app = application(workspace, address, token, once)
            server = listening.Server(app, where, closing=workspace.closing)
            # Whoever connects from now on is answered as soon as the server runs.
            started(f"{address.url}/?token={token}", f"{address.url}/?token={once}")
            threading.Thread(target=workspace.warm, name="stackroom-warm", daemon=True).start()
            server.run(listener)
        finally:
            workspace.close()
