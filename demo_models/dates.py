"""The translator's task: a written-out date becomes digits, and each digit has a known source.

    "She was born on the twenty-third of March, nineteen eighty-four."  ->  "1984-03-23"

The first 1 and the 9 can only come from *nineteen*, the 8 from *eighty*, the 4 from *four*, both
month digits from *March*, the 2 from *twenty* and the last 3 from *third*. So where the model looks
while it writes a digit can be scored against truth, which no natural translation allows.

Dates are split by the date itself: a held-out date is never seen in any wording.
"""

from __future__ import annotations

import datetime as dt
import random
import re
from dataclasses import dataclass

ONES = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TEENS = ["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
ORDINALS = [
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
    "thirteenth",
    "fourteenth",
    "fifteenth",
    "sixteenth",
    "seventeenth",
    "eighteenth",
    "nineteenth",
]
MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
WEEKDAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]

CARRIERS = [
    "{}",
    "{}",
    "{}",
    "{} .",
    "she was born on {} .",
    "he died on {} .",
    "we first met on {} , in the garden .",
    "the letter is dated {} .",
    "it rained on {} and everyone stayed inside .",
    "on {} , the old school was closed .",
    "the train left the city on {} .",
    "my sister came home on {} .",
    "they were married on {} .",
    "nobody remembers what happened on {} .",
    "the ship reached the harbour on {} .",
    "please pay before {} .",
]
UNKNOWN_WORD_SHARE = 0.15
# In "nineteen eighteen" either word could be the century, so only their order tells. Years drawn
# evenly hold too few of them for that to be learned.
EITHER_WAY_YEARS = [100 * century + rest for century in range(15, 21) for rest in range(15, 21)]
EITHER_WAY_SHARE = 0.2
FIRST_DAY = dt.date(1500, 1, 1).toordinal()
LAST_DAY = dt.date(2099, 12, 31).toordinal()
HELD_OUT_EVERY = 10


@dataclass(frozen=True)
class Example:
    """One sentence, its pieces, the digits asked for, and the true source pieces of each digit.

    `sources[i]` holds the places in `pieces` that character i of `target` is read from; it is
    empty for the hyphens.
    """

    text: str
    pieces: list[str]
    target: str
    sources: list[frozenset[int]]


def example(generator: random.Random, held_out: bool) -> Example:
    """A random date in a random wording inside a random sentence."""
    date = _date(generator, held_out)
    before, after = generator.choice(CARRIERS).split("{}")
    opening = _with_unknown_words(before.split(), generator)
    closing = _with_unknown_words(after.split(), generator)
    pieces, origin = _date_pieces(date, generator)
    shifted = [frozenset(place + len(opening) for place in places) for places in origin]
    return Example(
        text=_as_text([*opening, *pieces, *closing]),
        pieces=[*opening, *pieces, *closing],
        target=date.isoformat(),
        sources=shifted,
    )


def vocabulary() -> list[str]:
    """Every word, mark and digit the task can contain."""
    words = {*ONES, *TEENS, *TENS, *ORDINALS, *MONTHS, *WEEKDAYS}
    words |= {"twentieth", "thirtieth", "hundred", "thousand", "oh", "and", "the", "of", ",", "-"}
    words |= {word for carrier in CARRIERS for word in carrier.replace("{}", "").split()}
    return [*"0123456789", *sorted(words)]


def _date(generator: random.Random, held_out: bool) -> dt.date:
    either_way = generator.random() < EITHER_WAY_SHARE
    while True:
        ordinal = generator.randint(FIRST_DAY, LAST_DAY)
        if either_way:
            year = generator.choice(EITHER_WAY_YEARS)
            ordinal = dt.date(year, 1, 1).toordinal() + generator.randrange(365)
        # Multiplying first spreads held-out days evenly over weekdays, months and years.
        if (ordinal * 2654435761 % 2**32 % HELD_OUT_EVERY == 0) == held_out:
            return dt.date.fromordinal(ordinal)


def _date_pieces(date: dt.date, generator: random.Random) -> tuple[list[str], list[frozenset[int]]]:
    """The wording of a date, and for each character of its ISO form the places it comes from."""
    year, year_origin = _year(date.year, generator)
    day, day_origin = _day(date.day)
    parts = {
        "year": (year, year_origin),
        "month": ([MONTHS[date.month - 1]], [{0}, {0}]),
        "day": (day, day_origin),
    }
    wording = generator.choice(
        ["the day of month , year", "month the day , year", "month day , year", "year , month day"]
    )
    if generator.random() < 0.2:
        wording = f"{WEEKDAYS[date.weekday()]} , {wording}"
    pieces: list[str] = []
    origin: dict[str, list[frozenset[int]]] = {}
    for word in wording.split():
        if word in parts:
            words, places = parts[word]
            origin[word] = [frozenset(place + len(pieces) for place in p) for p in places]
            pieces += words
        elif word != "," or generator.random() < 0.7:
            pieces.append(word)
    nothing = [frozenset[int]()]
    return pieces, [*origin["year"], *nothing, *origin["month"], *nothing, *origin["day"]]


def _day(day: int) -> tuple[list[str], list[set[int]]]:
    if day < 20:
        return [ORDINALS[day - 1]], [{0}, {0}]
    if day % 10 == 0:
        return [{20: "twentieth", 30: "thirtieth"}[day]], [{0}, {0}]
    return [TENS[day // 10 - 2], "-", ORDINALS[day % 10 - 1]], [{0}, {2}]


def _year(year: int, generator: random.Random) -> tuple[list[str], list[set[int]]]:
    """A year as people say it. A zero nobody says comes from the words around its gap."""
    century, rest = divmod(year, 100)
    if 2000 <= year < 2010:
        opening, zero = ["two", "thousand"], {0, 1}
        origin: list[set[int]] = [{0, 1}, {0, 1}]
    else:
        opening, zero = [_two_digits(century)[0][0]], set[int]()
        origin = [{0}, {0}]
        if rest == 0 or generator.random() < 0.25:
            opening.append("hundred")
            zero = {1}
    if rest == 0:
        return opening, [*origin, zero, zero]
    if zero and generator.random() < 0.7:
        opening.append("and")
    elif not zero and rest < 10:
        opening.append("oh")
    words, places = _two_digits(rest)
    last = [{place + len(opening) for place in p} for p in places]
    if rest < 10:
        gap = {len(opening) - 1} | zero
        last = [gap | last[1], last[1]] if zero else [{len(opening) - 1}, last[1]]
    return [*opening, *words], [*origin, *last]


def _two_digits(number: int) -> tuple[list[str], list[set[int]]]:
    """1 to 99 in words, and which word each of its two digits comes from."""
    if number < 10:
        return [ONES[number - 1]], [{0}, {0}]
    if number < 20:
        return [TEENS[number - 10]], [{0}, {0}]
    tens, ones = divmod(number, 10)
    if ones == 0:
        return [TENS[tens - 2]], [{0}, {0}]
    return [TENS[tens - 2], "-", ONES[ones - 1]], [{0}, {2}]


def _with_unknown_words(words: list[str], generator: random.Random) -> list[str]:
    """Some words of the sentence become names the model cannot know, as in users' sentences."""
    return [
        "".join(generator.choices("bdfgklmnprstvz", k=5))
        if word.isalpha() and generator.random() < UNKNOWN_WORD_SHARE
        else word
        for word in words
    ]


def _as_text(pieces: list[str]) -> str:
    proper = {*MONTHS, *WEEKDAYS}
    text = " ".join(piece.capitalize() if piece in proper else piece for piece in pieces)
    text = re.sub(r" ([.,])", r"\1", text).replace(" - ", "-")
    return text[0].upper() + text[1:]
