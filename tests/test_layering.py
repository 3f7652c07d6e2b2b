"""Who may import whom: the arrows of the design, read from the sources."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import kiel_logging

ROOT = Path(kiel_logging.__file__).parent
PACKAGE = ROOT.name

VALUES = {
    "_accelerator",
    "constants",
    "delivery_stats",
    "diagnostics",
    "errors",
    "native",
    "printable",
    "records",
}
CHOICES = {"config", "partitioners", "serializers"}

COMMANDS: dict[str, set[str]] = {
    "arguments": {"output"},
    "confluent": {*VALUES, "config"},
    "interrupt": set(),
    "output": set(),
    "check": {*VALUES, *CHOICES, "wire", "network", "record", "journal", "handler", "arguments"},
    "demo": {*VALUES, "wire", "arguments", "confluent", "output", "tail", "view"},
    "spool_command": {*VALUES, "journal", "output"},
    "ship": {*VALUES, *CHOICES, "proof", "record", "handler", "metrics", "arguments", "output"},
    "tail": {*VALUES, "proof", "arguments", "confluent", "output"},
    "view": {*VALUES, "wire", "proof", "arguments", "output", "tail"},
    "verify": {*VALUES, "config", "wire", "proof", "arguments", "confluent", "output"},
}
"""These are imported by the command line alone."""

# handler and clients -> network -> delivery -> wire; arrows may skip, and never point back.
MAY_IMPORT: dict[str, set[str]] = {
    "_accelerator": set(),
    "constants": set(),
    "delivery_stats": set(),
    "diagnostics": {"native", "printable"},
    "errors": {"printable", "records"},
    "native": {"_accelerator"},
    "native_sockets": {"native"},
    "printable": set(),
    "records": set(),
    "serializers": {*VALUES},
    "partitioners": {*VALUES, "serializers"},
    "config": {*VALUES, "partitioners", "serializers", "wire"},
    "wire": {*VALUES},
    "proof": {*VALUES, "wire"},
    "journal": {*VALUES},
    "delivery": {*VALUES, "wire"},
    "network": {*VALUES, *CHOICES, "native_sockets", "wire", "delivery"},
    "clients": {*VALUES, *CHOICES, "wire", "delivery", "network"},
    "record": {*VALUES, *CHOICES, "wire", "proof"},
    "handler": {
        *VALUES,
        *CHOICES,
        "native_sockets",
        "wire",
        "proof",
        "record",
        "journal",
        "delivery",
        "network",
    },
    "metrics": {*VALUES, "handler"},
    "otel_metrics": {*VALUES, "metrics"},
    "prometheus": {*VALUES, "handler", "metrics"},
    "uncaught": set(),
    "configuration": {*VALUES, "config", "record", "handler", "uncaught"},
    "testing": {*VALUES, "config", "wire", "record", "handler"},
    "pytest_plugin": {"testing"},
    **COMMANDS,
}
# The floors of handler/, from the ground up: a module imports from floors below its own alone.
HANDLER: list[set[str]] = [
    {"__init__", "spool/__init__"},
    {"audit_logger", "internal_log", "ledger", "loading", "recursion", "signing", "slices"},
    {"events", "exits", "fallback", "health", "limits", "pausing_loop", "receipts"},
    {"checkpoints", "forks", "spool/awaited", "spool/records"},
    {"buffer", "loop_thread", "sigterm"},
    {"outbox", "record_options", "spool/stream", "spool/writer", "workers"},
    {"lifecycle", "options", "spool/orphans", "spool/spill"},
    {"drops", "spool/append_pipeline", "spool/spool"},
    {"record_handler", "shipper"},
    {"pipeline", "spool_handler"},
    {"kafka_handler"},
    {"audit_handler"},
]

FREE = {"cli", "__main__", "__init__", "pyinstaller"}
"""These stand outside of the layers; the package itself only names its public parts."""

# Bytes and decisions have no clock, no loop and no chance: `now` and the generator are arguments.
PURE = {"wire", "proof", "delivery"}
PURE_MODULES = {
    f"verify/{name}.py"
    for name in (
        "audit",
        "events",
        "evidence",
        "judge",
        "looking",
        "names",
        "pages",
        "stream",
        "verdict",
    )
} | {
    "check/judge.py",
    "journal/frames.py",
    *(f"tail/{name}.py" for name in ("entries", "filters", "gaps", "lines", "merge", "screen")),
    "view/shelf.py",
    "view/streams.py",
}
IMPURE = {"tornado", "asyncio", "threading", "socket", "ssl", "time", "random", "selectors"}
THE_TYPE_OF_AN_ARGUMENT = {"random.Random"}

# Who else than the free may know of these.
ONLY: dict[str, set[str]] = {
    "kio": set(),  # the tests' second opinion
    "tornado": {"network", "clients", "handler/pausing_loop.py", "testing", "view"},
    "threading": {
        "handler",
        "native",
        "demo",
        "interrupt",
        "ship",
        "testing",
        "configuration",
        "uncaught",
        "verify/verification.py",
        "view",
    },
    "ssl": {"clients", "network", "config", "testing"},
    "fcntl": {"journal/locks.py"},
}

SOURCES = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.py"))}
COMPILED = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("*.pyi")}
LAYERED = {
    name: path
    for name, path in SOURCES.items()
    if name.split("/")[0].removesuffix(".py") not in FREE
}


def layer_of(name: str) -> str:
    """``wire/codec.py`` is of the layer wire, ``clients.py`` of clients."""
    return name.split("/")[0].removesuffix(".py").removesuffix(".pyi")


def imports(tree: ast.AST) -> Iterator[str]:
    """Everything that is imported, wherever in the module, by its dotted name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they point"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_of(name: str) -> list[str]:
    """The imports of one of our modules."""
    return list(imports(ast.parse(SOURCES[name].read_text())))


def module_of(imported: str) -> str | None:
    """Our source that an import comes from: ``kiel_logging.wire.codec.Reader``."""
    parts = imported.split(".")
    if parts[0] != PACKAGE:
        return None
    for end in range(len(parts), 0, -1):
        stem = "/".join(parts[1:end])
        for candidate in (f"{stem}.py", f"{stem}.pyi", f"{stem}/__init__.py".lstrip("/")):
            if candidate in SOURCES or candidate in COMPILED:
                return candidate
    raise AssertionError(f"{imported} comes from nowhere")


def test_the_table_has_every_layer() -> None:
    """A new part of the package gets a place in the design first."""
    assert {layer_of(name) for name in (*LAYERED, *COMPILED)} == set(MAY_IMPORT)


def test_the_table_has_no_circle() -> None:
    """An arrow that points back would need another that does."""
    order = list(TopologicalSorter(MAY_IMPORT).static_order())
    assert order.index("wire") < order.index("delivery") < order.index("network")
    assert order.index("network") < min(order.index("clients"), order.index("handler"))


@pytest.mark.parametrize("name", LAYERED)
def test_arrows_never_point_back(name: str) -> None:
    """A module imports from its own layer and from those that the table allows."""
    layer = layer_of(name)
    ours = {one: module_of(one) for one in imports_of(name)}
    targets = {one: layer_of(module) for one, module in ours.items() if module is not None}
    wrong = {one for one, to in targets.items() if to not in {layer, *MAY_IMPORT[layer]}}
    assert wrong == set()


def floor_of(name: str) -> int | None:
    """Return the floor of a module of handler/; None for all others."""
    stem = name.removeprefix("handler/").removesuffix(".py")
    return next((floor for floor, row in enumerate(HANDLER) if stem in row), None)


def test_every_module_of_the_handler_has_a_floor() -> None:
    """A new module of handler/ gets a place in the table first; no row names one that is gone."""
    modules = [name for name in LAYERED if layer_of(name) == "handler"]
    assert {name for name in modules if floor_of(name) is None} == set()
    assert len(modules) == sum(map(len, HANDLER))


@pytest.mark.parametrize("name", [name for name in LAYERED if layer_of(name) == "handler"])
def test_arrows_in_the_handler_point_down(name: str) -> None:
    """A module of handler/ imports from lower floors, when it is run; types may point anywhere."""
    own = floor_of(name)
    tree = _without_type_checking(ast.parse(LAYERED[name].read_text()))
    targets = {module for one in imports(tree) if (module := module_of(one))} - {name}
    floors = {to: floor_of(to) for to in targets if layer_of(to) == "handler"}
    assert own is not None
    assert {to for to, floor in floors.items() if floor is None or floor >= own} == set()


@pytest.mark.parametrize("name", LAYERED)
def test_nobody_imports_the_package_root(name: str) -> None:
    """It imports everybody: that is how cycles come about."""
    from_the_root = [one for one in imports_of(name) if module_of(one) == "__init__.py"]
    assert from_the_root == []


@pytest.mark.parametrize(
    "name", [name for name in LAYERED if layer_of(name) in PURE or name in PURE_MODULES]
)
def test_bytes_and_decisions_are_pure(name: str) -> None:
    """No loop, no thread, no socket, no clock, no chance of their own."""
    impure = {one for one in imports_of(name) if one.split(".")[0] in IMPURE}
    assert impure <= THE_TYPE_OF_AN_ARGUMENT


@pytest.mark.parametrize("module", ONLY)
def test_only_these_know_of(module: str) -> None:
    """Tornado, threads, TLS and file locks each have their place."""
    users = {
        name for name in LAYERED if any(one.split(".")[0] == module for one in imports_of(name))
    }
    assert {name for name in users if not {name, layer_of(name)} & ONLY[module]} == set()


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    """When they are run; what only types need may."""
    graph = {}
    for name, path in LAYERED.items():
        tree = _without_type_checking(ast.parse(path.read_text()))
        graph[name] = {module for one in imports(tree) if (module := module_of(one))} - {name}
    assert set(TopologicalSorter(graph).static_order()) >= set(LAYERED)


def _without_type_checking(tree: ast.Module) -> ast.Module:
    def is_for_types(node: ast.stmt) -> bool:
        return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")

    return ast.Module([node for node in tree.body if not is_for_types(node)], [])


@pytest.mark.parametrize("name", SOURCES)
def test_every_module_says_what_it_is(name: str) -> None:
    """In a docstring."""
    assert ast.get_docstring(ast.parse(SOURCES[name].read_text()))


# -- what an import costs --------------------------------------------------------------------------


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh Python has loaded after a statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT.parent
    )
    return set(done.stdout.split())


def test_the_package_alone_loads_next_to_nothing() -> None:
    """Its names are imported when they are first used."""
    heavy = {"tornado", "kio", "snappy", "asyncio", "confluent_kafka", "rich"}
    assert loaded_by("import kiel_logging") & heavy == set()


def test_a_producer_does_not_load_the_handler_s_json() -> None:
    """Nor does either load what the demo needs."""
    loaded = loaded_by("from kiel_logging import Producer")
    assert "tornado" in loaded
    assert loaded & {"confluent_kafka", "rich"} == set()
    assert not any(name.startswith("kiel_logging.record") for name in loaded)


def test_a_spool_handler_loads_nothing_that_sends() -> None:
    """Thousands of short programs pay for it; those with a KafkaHandler have the rest anyway."""
    loaded = loaded_by("from kiel_logging import SpoolHandler")
    network = {"asyncio", "tornado", "socket", "selectors", "ssl", "concurrent", "kio", "snappy"}
    others = {"hashlib", "hmac", "platform", "random", "secrets", "uuid", "queue"}
    assert loaded & (network | others) == set()


@pytest.mark.parametrize("name", kiel_logging.__all__)
def test_every_public_name_is_there(name: str) -> None:
    """And dir() shows it."""
    assert getattr(kiel_logging, name) is not None
    assert name in dir(kiel_logging)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="has no attribute 'Consumer'"):
        kiel_logging.Consumer  # noqa: B018 - asking is the test
