"""The parser process with one reader more: a file that begins with `!` does to it what its lines say.

Started in place of `python -m stackroom.ingest.parser` by test_workers.py; everything else in it is the real one.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from stackroom.ingest import parser, readers
from stackroom.protocols import Reading, Section


class Misbehaving:
    name = "misbehaving"
    version = 1
    suffixes: tuple[str, ...] = ()

    def accepts(self, path: Path, head: bytes) -> bool:
        del path
        return head.startswith(b"!")

    def read(self, path: Path) -> Reading:
        return Reading("misbehaving", _obey(path.read_text(encoding="utf-8").splitlines()))


def _obey(lines: list[str]) -> Iterator[Section]:
    for line in lines:
        order, _, rest = line.removeprefix("!").partition(" ")
        if order == "say":
            yield Section(rest + "\n")
        elif order == "signal":
            os.kill(os.getpid(), int(rest))
            signal.pause()
        elif order == "exit":
            os._exit(int(rest))
        elif order == "trip":
            raise {"ValueError": ValueError, "KeyError": KeyError, "OSError": OSError}[rest]("tripped")
        elif order == "recurse":
            _forever(0)
        elif order == "take":
            bytearray(int(rest) * 2**20)
        elif order == "print":
            print(rest, flush=True)
            os.write(1, rest.encode())
        elif order == "make":
            Path(rest).write_text(str(os.getpid()))
        elif order == "unpack":
            Path(rest).write_text(tempfile.mkdtemp())
        elif order == "wait":
            while not Path(rest).exists():
                time.sleep(0.01)
        elif order == "hang":
            while True:
                time.sleep(60)
        else:
            raise AssertionError(order)


def _forever(depth: int) -> int:
    return _forever(depth + 1) + 1


if __name__ == "__main__":
    readers.READERS = (Misbehaving(), *readers.READERS)
    parser.main()
