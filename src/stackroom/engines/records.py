"""What engines have in common about records: an embedder's identity as text, and what was found for each key."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import TypeVar

from stackroom.errors import DamagedError
from stackroom.types import EmbedderIdentity

T = TypeVar("T")


def dump_identity(identity: EmbedderIdentity) -> str:
    return json.dumps(asdict(identity), sort_keys=True)


def load_identity(text: str) -> EmbedderIdentity:
    known = {field.name for field in fields(EmbedderIdentity)}
    return EmbedderIdentity(**{name: value for name, value in json.loads(text).items() if name in known})


def each(found: Mapping[int, T], keys: Sequence[int]) -> list[T]:
    """What was found for each key. Raises DamagedError."""
    try:
        return [found[key] for key in keys]
    except KeyError as error:
        raise DamagedError(
            f"The index names the passage {error}, which the library does not hold.",
            hint="Push or pull the library again, from one that is whole.",
            actual=error.args[0],
        ) from None
