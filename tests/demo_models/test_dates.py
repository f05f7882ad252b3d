"""The task: wordings, the pieces that digits come from, and the split."""

from __future__ import annotations

import random

import pytest

from demo_models import dates


def _examples(count: int, *, held_out: bool) -> list[dates.Example]:
    generator = random.Random(11)
    return [dates.example(generator, held_out) for _ in range(count)]


def test_no_date_is_both_trained_on_and_held_out() -> None:
    trained = {one.target for one in _examples(2000, held_out=False)}
    assert trained.isdisjoint(one.target for one in _examples(2000, held_out=True))


def test_years_that_can_be_read_either_way_are_common() -> None:
    halves = [divmod(int(one.target[:4]), 100) for one in _examples(1000, held_out=False)]
    either_way = [15 <= century <= 20 and 15 <= rest <= 20 for century, rest in halves]
    assert 0.2 < sum(either_way) / len(either_way) < 0.35


def test_every_digit_has_a_source_and_no_hyphen_has_one() -> None:
    for one in _examples(500, held_out=True):
        assert [bool(places) for places in one.sources] == [c != "-" for c in one.target]


def test_both_digits_of_the_month_come_from_its_name() -> None:
    for one in _examples(500, held_out=True):
        for character in (5, 6):
            (place,) = one.sources[character]
            assert one.pieces[place] == dates.MONTHS[int(one.target[5:7]) - 1]


@pytest.mark.parametrize(
    ("year", "wordings"),
    [
        (1984, {"nineteen eighty - four", "nineteen hundred eighty - four", "nineteen hundred and eighty - four"}),
        (1905, {"nineteen oh five", "nineteen hundred five", "nineteen hundred and five"}),
        (1900, {"nineteen hundred"}),
        (2000, {"two thousand"}),
        (2007, {"two thousand seven", "two thousand and seven"}),
        (2010, {"twenty ten", "twenty hundred ten", "twenty hundred and ten"}),
    ],
)
def test_years_as_people_say_them(year: int, wordings: set[str]) -> None:
    generator = random.Random(0)
    assert {" ".join(dates._year(year, generator)[0]) for _ in range(200)} == wordings


def test_the_zero_in_nineteen_oh_five_comes_from_oh() -> None:
    generator = random.Random(0)
    years = [dates._year(1905, generator) for _ in range(50)]
    words, origin = next((w, o) for w, o in years if w == ["nineteen", "oh", "five"])
    assert [{words[place] for place in places} for places in origin] == [
        {"nineteen"},
        {"nineteen"},
        {"oh"},
        {"five"},
    ]
