"""The vectors that go into collections: digests on the way in, compared with what is read back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stackroom.backend import View
from stackroom.migration.reading import Batch, Digests
from stackroom.progress import CancelToken, Stopped

_BATCH = 512


class Others:
    """What the proof needs to know of them."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[list[str], Digests]] = {}

    def watch(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The same batches, each seen."""
        for batch in batches:
            for item in batch.accepted:
                for collection, row in item.others:
                    ids, digests = self._found.setdefault(collection, ([], Digests()))
                    ids.append(item.chunk_id)
                    digests.add(row.data)
            yield batch

    def compare(self, view: View, found: list[str], cancel: CancelToken) -> int:
        """Read them back; what differs is said in `found`. Returns how many are equal. Raises Stopped."""
        equal = 0
        for collection, (ids, digests) in self._found.items():
            for first in range(0, len(ids), _BATCH):
                if cancel.cancelled:
                    raise Stopped
                part = ids[first : first + _BATCH]
                keys = [key for key in view.chunk_keys(part) if key is not None]
                if len(keys) != len(part):
                    found.append(f"{len(part) - len(keys)} passages of collection {collection} did not arrive.")
                    continue
                for at, row in enumerate(view.vectors(keys, collection=collection), start=first):
                    if digests.agrees(at, row.data):
                        equal += 1
                    else:
                        found.append(f"The vector of {ids[at]} in collection {collection} differs.")
        return equal
