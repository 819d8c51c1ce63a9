"""Check the licences of all that an installation brings along: of the core and its extras, and of what these need.

Each must be one that may be used in a closed program. `zim` and `mobi` are extras of their own because their packages are under the GPL, and
`postgresql` because its client is under the LGPL, which asks that it can be replaced: a closed program may import it, not change it. The extra
`sentence-transformers` (Apache-2.0) brings torch (BSD-3-Clause) with gigabytes of NVIDIA's libraries, `milvus` (Apache-2.0) pandas and gRPC, and `qdrant`
(Apache-2.0) gRPC, which are not installed to look at licences.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata

from packaging.requirements import Requirement

from requirements import PROJECT

ALLOWED = re.compile(
    r"(MIT|MIT-0|MIT-CMU|BSD|[023]-Clause|BSD-[123]-Clause|0BSD|Apache|Apache-2\.0|ISC|PSF|PSF-2\.0|Python-2\.0|Python Software Foundation|"
    r"MPL-2\.0|Mozilla Public License 2\.0|Zlib|Unlicense|CC0-1\.0|HPND|NCSA|CNRI-Python|any-OSI|BSL-1\.0)\b",
    re.IGNORECASE,
)

OF_ITS_OWN = {"milvus", "mobi", "postgresql", "qdrant", "zim", "sentence-transformers"}

KNOWN = {
    "dirtyjson": "MIT OR AFL-2.1",
    "py-rust-stemmers": "MIT",
    "pysimdjson": "MIT",
}
"""What a package's metadata does not say, looked up in its files."""


def licences(name: str) -> list[str]:
    """As its metadata says: an SPDX expression, or the classifiers, or free text."""
    told = metadata.metadata(name)
    if name in KNOWN:
        return [KNOWN[name]]
    if told["License-Expression"]:
        return [told["License-Expression"]]
    classified = [one.rpartition(" :: ")[2] for one in told.get_all("Classifier", []) if one.startswith("License :: ")]
    classified = [one for one in classified if one != "OSI Approved"]
    return classified or [line for line in (told["License"] or "").splitlines()[:1] if line]


def needed(requirements: Iterable[str]) -> Iterator[str]:
    """The names of these packages and of all that they need here, each once."""
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(line) for line in requirements]
    while waiting:
        wanted = waiting.pop()
        for extra in ("", *wanted.extras):
            name = re.sub(r"[-_.]+", "-", wanted.name).lower()
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            if extra == "":
                yield name
            for line in metadata.requires(name) or ():
                further = Requirement(line)
                if further.marker is None or further.marker.evaluate({"extra": extra}):
                    waiting.append(further)


def may_be_used(licence: str) -> bool:
    """Whether it, one side of each OR, and every side of each AND, is allowed."""
    licence = licence.replace("(", " ").replace(")", " ")
    return any(
        all(ALLOWED.match(part.strip()) for part in re.split(r"\bAND\b|\bWITH\b.*", side) if part.strip())
        for side in re.split(r"\bOR\b", licence)
    )


def main() -> int:
    project = PROJECT["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(line for name in extras.keys() - OF_ITS_OWN for line in extras[name])]
    bad = []
    count = 0
    for name in sorted(needed(wanted)):
        count += 1
        found = licences(name)
        if not found or not all(map(may_be_used, found)):
            bad.append(f"{name}: {found or 'its metadata names none'}")
    print("\n".join(bad) or f"The licences of {count} packages are allowed.")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
