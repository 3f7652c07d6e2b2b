"""How large a request may be for a broker that hangs up on what is too large."""

from __future__ import annotations

from typing import Final

import pytest

from kiel_logging.delivery.request_limit import MANY, SMALL, RequestLimit

NOW: Final = 100.0
MIB: Final = 1024 * 1024
FOUR: Final = (MIB, MIB, MIB, MIB)


def refused(*sizes: int) -> RequestLimit:
    """One that met hang-ups upon requests of these sizes."""
    limit = RequestLimit()
    for size in sizes:
        limit.hung_up(size, NOW)
    return limit


def test_three_hang_ups_are_no_reason() -> None:
    """Connections end for many reasons, and a batch that is halved may be stored already."""
    assert refused(MIB, MIB, MIB).most(NOW) is None


def test_the_fourth_halves_and_so_does_each_that_follows() -> None:
    """Until something is answered."""
    limit = refused(*FOUR)
    assert limit.most(NOW) == MIB // 2
    limit.hung_up(MIB // 2, NOW)
    assert limit.most(NOW) == MIB // 4
    limit.answered(MIB // 4)
    assert limit.most(NOW) == MIB // 4


def test_an_answer_shows_once_that_the_limit_is_right() -> None:
    """Without a limit it shows nothing."""
    assert not RequestLimit().answered(MIB)
    limit = refused(*FOUR)
    assert [limit.answered(MIB // 2) for _ in range(3)] == [True, False, False]


def test_a_size_that_was_answered_is_not_the_reason() -> None:
    """A broker that restarts hangs up on all that is under way."""
    limit = RequestLimit()
    limit.answered(MIB)
    for _ in range(3):
        limit.hung_up(MIB, NOW)
    assert limit.most(NOW) is None


def test_what_was_answered_long_ago_proves_nothing() -> None:
    """The broker may have another configuration by now: it hangs up, again and again."""
    limit = RequestLimit()
    limit.answered(MIB)
    for _ in range(11):
        limit.hung_up(MIB, NOW)
    assert limit.most(NOW) == MIB // 2


def test_a_limit_is_not_below_what_was_answered() -> None:
    """Half of what was refused would be needlessly little."""
    limit = RequestLimit()
    limit.answered(MIB - 1)
    for size in FOUR:
        limit.hung_up(size, NOW)
    assert limit.most(NOW) == MIB - 1


def test_a_broker_that_hangs_up_on_everything_has_no_limit() -> None:
    """Small requests would be no better, and many more."""
    limit, size = RequestLimit(), MIB
    for _ in range(30):
        limit.hung_up(size, NOW)
        size = limit.most(NOW) or size
    assert limit.most(NOW) is None
    assert size >= SMALL


def test_small_requests_are_no_reason() -> None:
    """However often the broker hangs up."""
    limit = refused(*[SMALL - 1] * 20)
    assert limit.most(NOW) is None


def test_a_limit_is_tried_out_from_time_to_time() -> None:
    """The broker may take more by now; an answer ends it, a hang-up brings it back."""
    limit = refused(*FOUR)
    limit.answered(MIB // 2)
    assert limit.most(NOW + 3600) is None
    limit.hung_up(MIB, NOW + 3600)
    assert limit.most(NOW + 3600) == MIB // 2
    limit.answered(MIB)
    assert limit.most(NOW + 3600) is None


@pytest.mark.parametrize(("confirmed", "times"), [(True, 3), (False, MANY)])
def test_a_single_record_may_be_too_large(confirmed: bool, times: int) -> None:
    """After few hang-ups if the broker takes smaller requests, after many if nothing is known."""
    limit, record = refused(*FOUR), object()
    if confirmed:
        limit.answered(MIB // 2)
    for _ in range(times):
        assert not limit.is_too_large(MIB)
        limit.hung_up(MIB, NOW, single=record)
    assert limit.is_too_large(MIB)
    limit.hung_up(MIB, NOW, single=object())
    assert not limit.is_too_large(MIB)


def test_a_small_record_is_never_too_large() -> None:
    """The broker hangs up for another reason."""
    limit, record = RequestLimit(), object()
    for _ in range(3 * MANY):
        limit.hung_up(SMALL - 1, NOW, single=record)
    assert not limit.is_too_large(SMALL - 1)
