"""What an installation brings along: licences, lower bounds, and the lock file for development."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import licences
import requirements

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("MIT License", True),
        ("BSD-3-Clause", True),
        ("BSD License", True),
        ("Apache Software License", True),
        ("MIT OR GPL-2.0-only", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0", True),
        ("MIT AND GPL-3.0-or-later", False),
        ("GPL-3.0-only", False),
        ("GNU General Public License v3 (GPLv3)", False),
        ("AGPL-3.0-only", False),
        ("Proprietary", False),
        ("SSPL-1.0", False),
    ],
)
def test_licences_that_may_be_used(licence: str, allowed: bool) -> None:
    assert licences.may_be_used(licence) is allowed


def test_a_package_under_another_licence_is_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Whatever is installed: what its releases say is looked at by `make lint`."""
    monkeypatch.setattr(licences, "needed", lambda wanted: ["click", "numpy"])
    monkeypatch.setattr(licences, "KNOWN", {"click": "BSD-3-Clause", "numpy": "BSD-3-Clause"})
    assert licences.main() == 0
    monkeypatch.setattr(licences, "KNOWN", {**licences.KNOWN, "numpy": "GPL-3.0-only"})
    assert licences.main() == 1
    assert "numpy: ['GPL-3.0-only']" in capsys.readouterr().out


def test_every_requirement_has_a_lower_bound_that_can_be_installed() -> None:
    pinned = [Requirement(line) for line in requirements.lowest()]
    for requirement in pinned:
        (bound,) = requirement.specifier
        assert bound.operator == "==", requirement
    project = requirements.PROJECT["project"]
    assert len(pinned) == len(project["dependencies"]) + len(requirements.extras())
    assert project["optional-dependencies"].keys() > requirements.HEAVY


def test_the_lock_file_holds_what_development_needs() -> None:
    lines = (ROOT / "requirements" / "development.txt").read_text(encoding="utf-8").splitlines()
    locked = {}
    for line in lines:
        if not line.startswith("#"):
            name, _, rest = line.partition("==")
            version, _, digest = rest.partition(" --hash=sha256:")
            assert len(digest) == 64, line
            locked[canonicalize_name(name)] = version
    project = requirements.PROJECT["project"]
    for line in [*project["dependencies"], *requirements.extras(), *requirements.PROJECT["dependency-groups"]["dev"]]:
        wanted = Requirement(line)
        assert wanted.specifier.contains(locked[canonicalize_name(wanted.name)]), line
