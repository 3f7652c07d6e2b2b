"""The things that a maintainer must not forget when a file, a command or a release is added."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml

from kiel_logging.cli import SUBCOMMANDS
from kiel_logging.constants import VERSION

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


def test_each_command_is_documented() -> None:
    """With its help, which comes from the code."""
    page = (ROOT / "docs/command-line.rst").read_text(encoding="utf-8")
    assert set(re.findall(r"^\.\. command-help:: (\w+)$", page, re.MULTILINE)) == set(SUBCOMMANDS)


def test_the_changelog_begins_with_this_version() -> None:
    """It says unreleased, or the date of the release."""
    text = (ROOT / "CHANGELOG.rst").read_text(encoding="utf-8")
    [version, when] = re.findall(r"^(\d+\.\d+\.\d+) \((unreleased|[\d-]{10})\)$", text, re.M)[0]
    assert version == VERSION
    assert when


BUILD = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"


@pytest.mark.slow
@pytest.mark.programs
@pytest.mark.timeout(400)
def test_the_source_distribution_is_whole_and_tests_itself(tmp_path: Path) -> None:
    """It has every file of the repository, and its tests pass where it is unpacked."""
    quiet = {"capture_output": True, "text": True, "check": True}
    subprocess.run([sys.executable, "-c", BUILD, tmp_path], cwd=ROOT, **quiet)
    [archive] = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path, filter="data")
    unpacked = tmp_path / archive.name.removesuffix(".tar.gz")
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, **quiet).stdout.split()
        assert [name for name in listed if not (unpacked / name).exists()] == []
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "0",
        "tests/wire",
        "tests/test_layering.py",
    ]
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    done = subprocess.run(command, cwd=unpacked, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
