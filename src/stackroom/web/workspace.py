"""What one start of the page has in hand: the library, what runs, what waits to be removed, what is uploaded."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path

from stackroom.engines import normalised
from stackroom.errors import NotFoundError, StackroomError
from stackroom.opening import data_folder
from stackroom.progress import CancelToken, Progress
from stackroom.types import Source
from stackroom.web.jobs import Job, Jobs
from stackroom.web.library import Library
from stackroom.web.removals import Removals
from stackroom.web.uploads import Uploads


class Workspace:
    """`documents` is where uploads land; where it is None, beside the library, or among the user's data where that is on an engine."""

    def __init__(self, library: Library, documents: Path | None = None) -> None:
        self.library = library
        self.jobs = Jobs()
        self.removals = Removals(self._remove)
        self.uploads = Uploads(documents or _uploads_of(library))
        self.closing = threading.Event()

    def sources(self) -> list[Source]:
        """Every source that is not about to be removed."""
        hidden = self.removals.hidden()
        found = self.library.sources()
        return [source for source in found if source.id not in hidden] if hidden else found

    def source(self, source_id: str) -> Source:
        """Raises NotFoundError."""
        if source_id not in self.removals.hidden():
            for source in self.library.index().find(source_id):
                if source.id == source_id:
                    return source
        raise NotFoundError(f"There is no source {source_id!r}.", hint="It may have been removed.", actual=source_id)

    def add(self, paths: Sequence[str], title: str, **options: object) -> Job:
        index = self.library.index()

        def work(progress: Progress, cancel: CancelToken) -> object:
            try:
                return index.add(paths, progress=progress, cancel=cancel, **options)  # type: ignore[arg-type]
            finally:
                self.library.changed()

        return self.jobs.start("recognise" if options.get("ocr") else "add", title, work)

    def _remove(self, source_ids: Sequence[str]) -> None:
        try:
            self.library.index().remove(source_ids)
        except StackroomError:
            # One of them is gone already, perhaps by another program: the others go one by one.
            for source_id in source_ids:
                try:
                    self.library.index().remove([source_id])
                except NotFoundError:
                    continue
        finally:
            self.library.changed()

    def warm(self) -> None:
        """Open the library and load the model, while its user reads and types."""
        try:
            index = self.library.index()
            index.resolve_mode()
            if index.sources():
                index.search("a first question loads the model", k=1)
        except StackroomError:
            return

    def close(self) -> None:
        self.closing.set()
        self.jobs.close()
        self.removals.close()
        self.library.close()


def _uploads_of(library: Library) -> Path:
    if library.folder is not None:
        return library.folder.parent / f"{library.name}-documents"
    # Another engine may have a library of the same name.
    whose = hashlib.blake2b(normalised(library.where).encode(), digest_size=4).hexdigest()
    return data_folder() / f"{library.name}-{whose}-documents"
