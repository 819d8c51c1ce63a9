"""What is fuzzed: each module has `attempt`, which takes any bytes and raises where a promise is broken, and `seeds`."""

from __future__ import annotations
