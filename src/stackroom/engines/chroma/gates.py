"""Names that say who writes, which change for one asker alone: each state is a record with the next number, and of a number there is one.

Chroma renames a collection whatever its name is at that time, but a record that is added where one with its id is changes nothing. So the states of a
gate are numbered, and the last one counts. Who wants to change it adds the next number, and looks whose that is. A number that was superseded and
deleted may be added once more by one who was slow: then a higher one is there, and it has lost.
"""

from __future__ import annotations

import contextlib
from typing import NamedTuple

from stackroom.engines.chroma.client import Server, TakenError
from stackroom.engines.versioned.database import AbsentError
from stackroom.engines.versioned.tables import number
from stackroom.errors import StackroomError

_COLLECTION = "gates"
_NO_VECTOR = [0.0, 0.0]


class _State(NamedTuple):
    gate: str
    at: int
    name: str

    @property
    def id(self) -> str:
        return f"{self.gate}-{self.at}"


class Gates:
    """All of one library."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def _states(self) -> list[_State]:
        """In the order of their numbers."""
        try:
            found = self._server.ask(_COLLECTION, "get", include=["metadatas"])["metadatas"]
        except AbsentError:
            return []
        return sorted((_State(**said) for said in found), key=lambda state: state.at)

    def _newest(self) -> list[_State]:
        return list({state.gate: state for state in self._states()}.values())

    def _add(self, state: _State) -> None:
        said = [state._asdict()]
        self._server.ask(_COLLECTION, "add", ids=[state.id], metadatas=said, embeddings=[_NO_VECTOR])

    def names(self) -> list[str]:
        return [state.name for state in self._newest()]

    def put(self, name: str) -> None:
        """A gate is known by its first name: there is one that began so."""
        first = _State(f"{number('gate', name):x}", 0, name)
        if any(state.gate == first.gate for state in self._states()):
            return
        with contextlib.suppress(TakenError):
            self._server.create(_COLLECTION, space="l2")
        self._add(first)

    def rename(self, old: str, new: str) -> None:
        now = next((state for state in self._newest() if state.name == old), None)
        if now is not None:
            mine = _State(now.gate, now.at + 1, new)
            self._add(mine)
            *before, last = [state for state in self._states() if state.gate == now.gate]
            if last == mine:
                self._forget(before)
                return
        raise AbsentError(f"{self._server.place.url} has no gate {old!r} any more.", path=self._server.place.url)

    def _forget(self, states: list[_State]) -> None:
        # Their successor is there: whether they are says nothing.
        with contextlib.suppress(StackroomError):
            self._server.ask(_COLLECTION, "delete", ids=[state.id for state in states])

    def drop(self, name: str) -> None:
        gates = {state.gate for state in self._newest() if state.name == name}
        gone = [state.id for state in self._states() if state.gate in gates]
        if gone:
            self._server.ask(_COLLECTION, "delete", ids=gone)
