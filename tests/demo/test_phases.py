"""The parts of a run."""

import pytest

from kiel_logging.demo.phases import CONNECTING, FLAT_OUT, STEADY, phase_of, plan


@pytest.mark.parametrize("records", [1, 2, 9, 10, 199, 300, 5_000, 20_000, 1_000_000])
def test_phases_share_out_all_records(records):
    """The ids of the phases follow each other from 0 to the number of records."""
    phases = plan(records, rate=1_000)
    assert [each for phase in phases for each in phase.ids] == list(range(records))


def test_a_usual_run():
    """20,000 records: 100 to connect, two seconds at the rate, the rest flat out."""
    phases = plan(20_000, rate=1_000)
    assert [(phase.name, phase.records, phase.rate) for phase in phases] == [
        (CONNECTING, 100, 1_000),
        (STEADY, 2_000, 1_000),
        (FLAT_OUT, 17_900, None),
    ]


@pytest.mark.parametrize("records", [1, 7, 300])
def test_each_record_is_in_its_phase(records):
    """The phase found for an id is the one that has it, even with empty phases around."""
    phases = plan(records, rate=1_000)
    for record_id in range(records):
        assert record_id in phase_of(phases, record_id).ids
