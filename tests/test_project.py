"""The project's files: they name the same Python releases, and the source distribution is whole."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
RELEASES = {"3.11", "3.12", "3.13"}


def releases_in(name: str, pattern: str) -> set[str]:
    """Return the Python releases in a file, which the pattern's two groups find."""
    found = re.findall(pattern, (ROOT / name).read_text(encoding="utf-8"))
    return {f"{major}.{minor}" for major, minor in found}


def test_all_files_name_the_same_pythons() -> None:
    """A release of Python that is supported is also tested, built for, and announced."""
    tests = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))
    assert set(tests["jobs"]["unit"]["strategy"]["matrix"]["python"]) == RELEASES
    assert releases_in("setup.py", r"Python :: (3)\.(\d+)") == RELEASES
    assert releases_in("tox.ini", r"\bpy(3)(\d+)\b") == RELEASES
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheels = " ".join(project["tool"]["cibuildwheel"]["build"])
    assert {f"3.{minor}" for minor in re.findall(r"cp3(\d+)", wheels)} == RELEASES


def test_each_target_of_the_makefile_says_what_it_does() -> None:
    """Plain ``make`` lists them all."""
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    [phony] = [line.split()[1:] for line in lines if line.startswith(".PHONY:")]
    command = ["make", "--no-print-directory"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {line.split()[0] for line in shown.splitlines()} == set(phony)


@pytest.mark.parametrize("name", ["SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.rst", "LICENSE"])
def test_the_manifest_has_the_documents(name: str) -> None:
    """They are part of the source distribution, as tests and examples are."""
    manifest = (ROOT / "MANIFEST.in").read_text(encoding="utf-8").split()
    assert (ROOT / name).is_file()
    assert name in manifest or f"*{Path(name).suffix}" in manifest
    assert {"tests", "examples", "docs", "benchmarks"} <= set(manifest)
