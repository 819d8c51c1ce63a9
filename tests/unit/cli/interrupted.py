"""The `stackroom` command, and a signal to it at the Nth moment of its start: `interrupted.py SIGNAL N ARGUMENTS`.

A moment is an event that Python's own audit tells of in the main thread: an import, a file that is opened, code that is run. With N = 0 none is
sent, and the last line on standard error is how many there were: to the end, or to the opening of a port.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

_MOMENTS = {"import", "open", "exec", "marshal.loads", "object.__getattr__", "socket.bind"}


def main() -> None:
    number, nth = int(sys.argv[1]), int(sys.argv[2])
    sys.argv[1:] = sys.argv[3:]
    seen = 0

    def hear(event: str, _: object) -> None:
        nonlocal seen
        if event in _MOMENTS and threading.current_thread() is threading.main_thread():
            seen += 1
            if nth and seen == nth:
                signal.raise_signal(number)
            if not nth and event == "socket.bind":
                os.write(2, f"{seen}\n".encode())
                os._exit(0)

    sys.addaudithook(hear)
    from stackroom.cli.main import main as command

    try:
        command()
    finally:
        if not nth:
            os.write(2, f"{seen}\n".encode())


if __name__ == "__main__":
    main()
