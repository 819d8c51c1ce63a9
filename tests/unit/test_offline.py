"""The whole main job with no network at all, in this process and in those that it starts; and what is secret stays out of a library."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from old_index import KINDS  # noqa: F401

NO_NETWORK = """
import socket, sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.bind"):
        address = arguments[-1] if event != "socket.getaddrinfo" else arguments[0]
        with open(LOG, "a") as log:
            log.write(f"{event} {address} {sys.argv}\\n")
        raise OSError("There is no network.")

sys.addaudithook(refuse)
with open(LOG + ".started", "a") as log:
    log.write(str(sys.argv) + "\\n")
"""
