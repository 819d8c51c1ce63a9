"""Names that say who writes, which change for one asker alone: each state is a collection, and the next one has the next number.

Chroma renames a collection whatever its name is at that time, but creates a name once. So the states of a gate are empty collections, numbered;
its name stands in the metadata of the one with the highest number. Who wants to change it creates the next number, or finds that another
has. A number that was seen, superseded and dropped can be created once more by one who was slow: then a higher one is there, and it has lost.
"""

from __future__ import annotations

import contextlib
import re
from typing import NamedTuple

from stackroom.engines.chroma.client import Server, TakenError
from stackroom.engines.versioned.database import AbsentError
from stackroom.engines.versioned.tables import number


class _State(NamedTuple):
    gate: str
    at: int
    name: str


class Gates:
    """All of one library."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._pattern = re.compile(re.escape(server.place.named("gate_")) + r"([0-9a-f]{16})_(\d+)")

    def _states(self) -> list[_State]:
        found = []
        for collection in self._server.collections():
            said = self._pattern.fullmatch(collection["name"])
            if said:
                found.append(_State(said[1], int(said[2]), collection["metadata"]["name"]))
        return sorted(found, key=lambda state: state.at)

    def _newest(self) -> dict[str, _State]:
        return {state.gate: state for state in self._states()}

    def _collection(self, gate: str, at: int) -> str:
        return self._server.place.named(f"gate_{gate}_{at}")

    def _create(self, gate: str, at: int, name: str) -> None:
        self._server.create(self._collection(gate, at), metadata={"name": name})

    def names(self) -> list[str]:
        return [state.name for state in self._newest().values()]

    def put(self, name: str) -> None:
        """A gate is known by its first name: another one of that name is none."""
        with contextlib.suppress(TakenError):
            self._create(f"{number('gate', name):016x}", 0, name)

    def rename(self, old: str, new: str) -> None:
        now = next((state for state in self._newest().values() if state.name == old), None)
        if now is None:
            raise self._absent(old)
        try:
            self._create(now.gate, now.at + 1, new)
        except TakenError:
            # By another one, or by this one's own request, whose answer was lost.
            if not any(state[1:] == (now.at + 1, new) for state in self._states()):
                raise self._absent(old) from None
        states = [state for state in self._states() if state.gate == now.gate]
        lost = states[-1].at > now.at + 1
        for state in states:
            if state.at <= now.at + lost:
                with contextlib.suppress(AbsentError):
                    self._server.drop(self._collection(*state[:2]))
        if lost:
            raise self._absent(old)

    def drop(self, name: str) -> None:
        for gate in [state.gate for state in self._newest().values() if state.name == name]:
            for state in self._states():
                if state.gate == gate:
                    with contextlib.suppress(AbsentError):
                        self._server.drop(self._collection(*state[:2]))

    def _absent(self, name: str) -> AbsentError:
        return AbsentError(f"{self._server.place.url} has no gate {name!r} any more.", path=self._server.place.url)
