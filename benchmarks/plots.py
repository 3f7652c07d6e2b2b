"""The results as pictures: SVG for browsers, PNG for whatever shows no SVG."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from benchmarks.case import MIB
from benchmarks.peers import OURS
from benchmarks.percentiles import PERCENTS
from benchmarks.plan import OUTAGE_SECONDS
from benchmarks.results import Results

_OURS: Final = "#d1495b"
_OTHERS: Final = "#8d99ae"
_LINES: Final = (
    "#33658a",
    "#758e4f",
    "#f6ae2d",
    "#6d597a",
    "#86bbd8",
    "#2f4858",
    "#b5838d",
    "#4d4d4d",
)
_MICROSECONDS: Final = "us a call"

# The same results give the same files: no ids and dates of the moment.
mpl.rcParams["svg.hashsalt"] = "kiel_logging"
_METADATA: Final = {"svg": {"Date": None}, "png": {"Software": None}}


def plot(results: Results, directory: Path) -> Sequence[Path]:
    """Write all pictures that the results have data for; return where."""
    directory.mkdir(parents=True, exist_ok=True)
    return [
        _saved(draw(results), directory / f"{name}.{kind}", kind)
        for name, (has_data, draw) in _PICTURES.items()
        if has_data(results)
        for kind in _METADATA
    ]


def _saved(figure: Figure, path: Path, kind: str) -> Path:
    figure.savefig(path, format=kind, dpi=120, metadata=_METADATA[kind])
    return path


def _summary(results: Results) -> Figure:
    figure, left, right = _two(results)
    _bars(left, results, "records_per_s", "records/s (more is better)")
    _bars(right, results, "cpu_us", "CPU us a record, all threads (less is better)")
    return figure


def _two(results: Results) -> tuple[Figure, Axes, Axes]:
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    figure.suptitle(_origin(results), fontsize=8, color="#555555")
    return figure, left, right


def _origin(results: Results) -> str:
    about = results.about
    machine, versions = about["machine"], about["versions"]
    return (
        f"{about['date']}, {about['broker']}, {versions['python']},"
        f" {machine['cores']} cores of {machine['processor']}"
    )


def _bars(axes: Axes, results: Results, figure: str, title: str) -> None:
    found = [
        (peer, spread)
        for peer in results.peers("throughput")
        if (spread := results.figure("throughput", peer, figure)) is not None
    ]
    names = [peer for peer, _ in found]
    middles = [spread.median for _, spread in found]
    around = [
        [spread.median - spread.least for _, spread in found],
        [spread.most - spread.median for _, spread in found],
    ]
    colours = [_OURS if name == OURS else _OTHERS for name in names]
    bars = axes.barh(names, middles, xerr=around, color=colours, ecolor="#333333", capsize=2)
    axes.bar_label(bars, labels=[f"{middle:,.0f}" for middle in middles], padding=6, fontsize=8)
    axes.margins(x=0.18)
    axes.invert_yaxis()
    _plain(axes, title)


def _calls(results: Results) -> Figure:
    figure, left, right = _two(results)
    for axes, measure, title in (
        (left, "burst", "In a burst"),
        (right, "steady", "At 2,000 a second"),
    ):
        for peer, colour in _coloured(results.peers(measure)):
            _call_line(axes, results, measure, peer, colour)
        _logarithmic(axes)
        axes.set_ylabel(_MICROSECONDS)
        _plain(axes, title)
    left.legend(fontsize=7)
    return figure


def _call_line(axes: Axes, results: Results, measure: str, peer: str, colour: str) -> None:
    found = [results.figure(measure, peer, name) for name in PERCENTS]
    middles = [each.median for each in found if each is not None]
    if len(middles) == len(PERCENTS):
        axes.plot(list(PERCENTS), middles, marker="o", color=colour, label=peer)


def _memory(results: Results) -> Figure:
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    axes = figure.subplots()
    figure.suptitle(_origin(results), fontsize=8, color="#555555")
    before, away, _ = OUTAGE_SECONDS
    axes.axvspan(before, before + away, color="#eeeeee", label="no broker")
    colours = dict(_coloured(results.peers("outage")))
    for each in results.found:
        if each.measure == "outage" and "memory" in each.figures:
            sizes = [size / MIB for size in each.figures["memory"]]
            axes.plot(each.figures["at"], sizes, color=colours[each.peer], label=each.peer)
    axes.set_xlabel("seconds")
    axes.set_ylabel("MiB above the start")
    axes.legend(fontsize=7)
    _plain(axes, "Memory while the broker goes and comes back")
    return figure


def _growth(results: Results) -> Figure:
    aspects = list(_aspects(results))
    figure = Figure(figsize=(11, 2.8 * ((len(aspects) + 1) // 2)), layout="constrained")
    figure.suptitle(_origin(results), fontsize=8, color="#555555")
    panes = list(figure.subplots((len(aspects) + 1) // 2, 2, squeeze=False).flat)
    for axes, aspect in zip(panes, aspects, strict=False):
        for peer, colour in _coloured(results.peers("growth", aspect)):
            _growth_line(axes, results, aspect, peer, colour)
        _logarithmic(axes)
        axes.set_ylabel("CPU us a record")
        axes.legend(fontsize=7)
        _plain(axes, aspect.replace("_", " "))
    for axes in panes[len(aspects) :]:
        axes.set_axis_off()
    return figure


def _growth_line(axes: Axes, results: Results, aspect: str, peer: str, colour: str) -> None:
    found = [
        (size, spread.median)
        for size in results.sizes(aspect)
        if (spread := results.figure("growth", peer, "cpu_us", aspect, size)) is not None
    ]
    if found:
        sizes, middles = zip(*found, strict=True)
        names = [f"{size:,}" for size in sizes]
        axes.plot(names, middles, marker="o", color=colour, label=peer)


def _aspects(results: Results) -> Iterator[str]:
    yield from dict.fromkeys(each.aspect for each in results.found if each.aspect)


def _coloured(peers: Sequence[str]) -> Iterator[tuple[str, str]]:
    others = [peer for peer in peers if peer != OURS]
    for number, peer in enumerate(others):
        yield peer, _LINES[number % len(_LINES)]
    if OURS in peers:
        yield OURS, _OURS


def _logarithmic(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _plain(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def _measured(*measures: str) -> Callable[[Results], bool]:
    return lambda results: all(results.peers(measure) for measure in measures)


_PICTURES: Final[dict[str, tuple[Callable[[Results], bool], Callable[[Results], Figure]]]] = {
    "summary": (_measured("throughput"), _summary),
    "calls": (_measured("burst", "steady"), _calls),
    "memory": (_measured("outage"), _memory),
    "growth": (lambda results: any(_aspects(results)), _growth),
}
"""Name -> whether there is data for it, and what draws it."""
