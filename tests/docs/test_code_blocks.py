"""Each code block runs as it stands.

The Python and YAML blocks of a page are one program: they run one after another, with the same
names, in one process for each page. Where they name a broker or a path, a mock cluster and a
temporary directory take its place.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from kiel_logging.demo.cluster import mock_cluster
from tests.docs.pages import PAGES, ROOT, Block, blocks
from tests.support.waiting import complaints

pytestmark = pytest.mark.programs

BLOCKS = {page: list(blocks(page)) for page in PAGES}
PROGRAMS = ("python", "yaml")
PAGES_WITH_PROGRAMS = [
    page
    for page, found in BLOCKS.items()
    if any(one.language in PROGRAMS and not one.not_run for one in found)
]


def program(block: Block) -> str:
    """Return a block as Python. A YAML block is a dictConfig, or something else's file."""
    if block.language == "python":
        return block.text
    if "version" not in yaml.safe_load(block.text):
        return ""
    return (
        "import logging.config, yaml\n"
        f"logging.config.dictConfig(yaml.safe_load({block.text!r}))\n"
        "logging.getLogger('yaml').warning('configured')\n"
    )


def program_of(page: Path, place: Path, brokers: list[str]) -> str:
    """Return all blocks of a page that are run, for a directory of their own."""
    stand_ins = {
        "kafka01:9092": brokers[0],
        "kafka02:9092": brokers[1],
        "/var/spool/shop": f"{place}/spool",
        "/var/spool/kiel": f"{place}/kiel",
        "/run/secrets/": f"{place}/",
        "/etc/ssl/": f"{place}/",
        "timeout=2.0": "timeout=60.0",
    }
    lines = []
    for block in BLOCKS[page]:
        if block.language in PROGRAMS and not block.not_run:
            text = program(block)
            for name, stand_in in stand_ins.items():
                text = text.replace(name, stand_in)
            lines.append(f"exec(compile({text!r}, {str(block)!r}, 'exec'))\n")
    return "".join(lines)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run all pages; return the directory that has one for each."""
    root = tmp_path_factory.mktemp("pages")
    with mock_cluster() as mock:
        for page in PAGES_WITH_PROGRAMS:
            place = root / page.stem
            place.mkdir()
            source = program_of(page, place, mock.brokers.split(","))
            (place / "program.py").write_text(source, encoding="utf-8")
            (place / "audit").write_text("0123456789abcdef0123456789abcdef")
        subprocess.run(
            [sys.executable, str(Path(__file__).with_name("run_pages.py")), str(root)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=90,
            check=True,
        )
    return root


@pytest.mark.parametrize("page", PAGES_WITH_PROGRAMS, ids=lambda page: page.name)
def test_the_blocks_of_a_page_run(page: Path, places: Path) -> None:
    """They end well, and the handlers report nothing but that it takes a while."""
    place = places / page.stem
    assert complaints((place / "stderr").read_text()) == []
    assert (place / "status").read_text() == "0"


def test_only_blocks_that_say_why_are_not_run() -> None:
    """A block is a language that the tests know, or gives its reason; all JSON is JSON."""
    for found in BLOCKS.values():
        for block in found:
            if block.language == "json":
                json.loads(block.text)
            else:
                assert block.language in PROGRAMS or block.not_run, str(block)


def test_a_literal_block_is_no_python() -> None:
    """Python stands in code blocks, where it is run."""
    for page in PAGES:
        assert "::\n\n    import " not in page.read_text(encoding="utf-8"), page.name
