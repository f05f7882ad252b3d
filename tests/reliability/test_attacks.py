"""Some attempts of every attack; `make reliability` makes many more."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from tests.reliability.attack import Attack, Outcome
from tests.reliability.attacks import ATTACKS

ATTEMPTS = 24


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_nothing_is_wrong_and_nothing_crashes(attack: Attack, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a file that was made to look like an old one
        outcome = attack.run(ATTEMPTS, tmp_path)
    assert outcome.is_good, outcome


def test_what_goes_wrong_is_counted() -> None:
    outcome = Outcome()
    for attempt in (lambda: True, lambda: False, lambda: 1 / 0 > 0):
        outcome.count(attempt)
    assert (outcome.worked, outcome.wrong, outcome.crashed) == (1, 1, 1)
    assert not outcome.is_good
    assert not Outcome().is_good


def test_names_are_unique() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)
