"""The site can be built, and the files that are outside of it lead to files that are there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

pytestmark = pytest.mark.programs

_LINK = re.compile(r"<((?:docs/|examples/|\w+\.)[\w./-]+)>`_")
_MODULE = re.compile(r"``((?:\w+/)*\w+\.(?:py|c))``")


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """Links between pages lead somewhere, no page is forgotten, and each option is in a table."""
    pytest.importorskip("furo", reason="the site needs the extra docs")
    options = ["-W", "--keep-going", "-q", "-d", str(tmp_path / "trees")]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(ROOT / "docs"), str(tmp_path / "html")],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_links_of_the_readme_lead_to_files() -> None:
    """They are relative, and work in a clone."""
    links = _LINK.findall((ROOT / "README.rst").read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_design_names_files_that_are_there() -> None:
    """A file that was renamed or removed is noticed."""
    names = set(_MODULE.findall((ROOT / "DESIGN.rst").read_text(encoding="utf-8")))
    known = [
        path.relative_to(ROOT).as_posix()
        for folder in ("kiel_logging", "tests", "benchmarks", "examples")
        for path in (ROOT / folder).rglob("*.[pc]*")
    ]
    assert names
    missing = [
        name for name in sorted(names) if not any(f"/{path}".endswith(f"/{name}") for path in known)
    ]
    assert missing == []
