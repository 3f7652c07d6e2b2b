"""The command line: its options, its help, and what it does without the extra."""

import argparse
import json
import os
import subprocess
import sys

import pytest

from kiel_logging.cli import main
from kiel_logging.demo.command import configure

_PATIENCE_S = 60.0


def _options(*words):
    parser = argparse.ArgumentParser()
    configure(parser)
    return parser.parse_args(words)


def test_defaults():
    """Without options: the mock cluster, 20,000 records, snappy."""
    options = _options()
    assert (options.brokers, options.records, options.compression) == (None, 20_000, "snappy")


def test_options_are_taken():
    """Each option has its type."""
    options = _options(
        *("--records", "1000000", "--threads", "2", "--rate", "50", "--seed", "-3"),
        *("--brokers", "kafka-1:9092,[::1]:9093", "--keep-topics"),
    )
    assert (options.records, options.threads, options.rate, options.seed) == (1_000_000, 2, 50, -3)
    assert options.brokers == "kafka-1:9092,[::1]:9093"
    assert options.keep_topics


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--records", "0"], "'0' is not a whole number from 1 to"),
        (["--threads", "two"], "'two' is not a whole number from 1 to"),
        (["--brokers", "kafka-1"], "not of the form host:port"),
        (["--brokers", "kafka-1:9092,:9092"], "not of the form host:port"),
        (["--brokers", "kafka-1:http"], "not of the form host:port"),
        (["--compression", "zip"], "invalid choice"),
        (["--view", "--brokers", "kafka-1:9092"], "not allowed with"),
    ],
)
def test_wrong_options_are_refused(words, complaint, capsys):
    """A wrong value is named, and the exit status is argparse's 2."""
    with pytest.raises(SystemExit) as exit_:
        main(["demo", *words])
    assert exit_.value.code == 2
    assert complaint in capsys.readouterr().err


def test_show_config_prints_json(capsys):
    """``--show-config`` prints a dictionary that could be put into a file, and runs nothing."""
    assert main(["demo", "--show-config", "--brokers", "kafka-1:9092"]) == 0
    config = json.loads(capsys.readouterr().out)
    assert config["handlers"]["app"]["brokers"] == ["kafka-1:9092"]


_WITHOUT_THE_EXTRA = """
import importlib.util, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "confluent_kafka":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name: (
    None if name == "confluent_kafka" else find_spec(name)
)
sys.meta_path.insert(0, Missing())
from kiel_logging.cli import main
sys.exit(main(["demo"]))
"""


def test_without_the_extra_it_says_what_to_install():
    """Without confluent-kafka there is one line of advice, and exit status 2."""
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_THE_EXTRA],
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    assert done.returncode == 2
    assert "pip install 'kiel_logging[demo]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
