"""Heads by name: ``L2H5``, ``L2``, ``decoder.cross.L0-2H1``, ``*``, or ``(2, 5)``.

::

    [place.]L<layers>[H<heads>]     heads of some layers; all of them without H
    [place.]*                       every head (of a place, or of the model)

A place is a stack (``decoder``), a kind (``cross``) or both (``decoder.cross``). Numbers are single (``5``), listed
(``5,7``) or runs (``0-3``), counted from zero, or from the end if negative (``-1``). Without a place a layer is the
main text's, as in :meth:`.AttentionRecord.entry`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeGuard

from attention_analyzer.errors import InputError, SelectionError
from attention_analyzer.site import Site

#: One head or several, by name or as ``(layer, head)``.
Selector = str | tuple[int, int]
#: One head.
Head = tuple[Site, int]

_FORM = re.compile(
    r"(?:(?P<place>[a-z]\w*(?:\.(?:self|cross))?)\.)?(?:\*|L(?P<layers>[\d,-]+)(?:H(?P<heads>[\d,-]+))?)", re.ASCII
)
#: Letters of a list of numbers; more than any real one has, and few enough to be read at once.
_LONGEST = 2_000
#: Characters of a selector that an error shows.
_MOST_SHOWN = 80


def head_name(head: Head, sites: Iterable[Site]) -> str:
    """``L2H5``, with its place in front where the sites differ in stack or kind."""
    site, number = head
    several = len({(other.stack, other.kind) for other in sites}) > 1
    return f"{site.stack}.{site.kind}.L{site.layer}H{number}" if several else f"L{site.layer}H{number}"


def select_heads(selectors: Selector | Iterable[Selector], sites: Sequence[Site]) -> list[Head]:
    """The heads that are meant, each once, in the order of the sites.

    Raises:
        InputError: a selector has another form.
        SelectionError: it names a place, layer or head that is not there, or leaves open which one is meant.
    """
    found: set[tuple[str, int]] = set()
    for selector in _each(selectors):
        found |= {(site.name, head) for site, head in _selected(selector, sites)}
    return [(site, head) for site in sites for head in range(site.heads) if (site.name, head) in found]


def numbers(text: str, whole: str, size: int) -> list[int]:
    """``"1,4-6"`` as 1, 4, 5, 6; negative numbers count from the end of ``size``, and ``whole`` is what an error shows.

    Nothing is built of a run that leaves the range: its end is returned as it is, for the caller to refuse.

    Raises:
        InputError: it has another form.
    """
    result: list[int] = []
    for part in text.split(",") if len(text) <= _LONGEST else [""]:
        match = re.fullmatch(r"(-?\d{1,12})(?:-(-?\d{1,12}))?", part.strip(), re.ASCII)
        if match is None:
            raise InputError(f"{text[:60]!r} in {shortened(whole)} is no list of numbers; write 5, -1, 5,7 or 0-3.")
        given = int(match[1]), int(match[2] or match[1])
        if 0 <= given[1] < given[0]:
            raise InputError(
                f"The run {part} in {shortened(whole)} ends before it begins; write {given[1]}-{given[0]}."
            )
        outside = [number for number in given if not -size <= number < size]
        if outside:
            return [outside[0]]
        first, last = (number % size for number in given)
        if last < first:
            raise InputError(f"The run {part} in {shortened(whole)} ends before it begins; write {last}-{first}.")
        result += range(first, last + 1)
    return result


def shortened(given: Any) -> str:
    """What an error shows of what was given."""
    shown = repr(given)
    return shown if len(shown) <= _MOST_SHOWN else f"{shown[:_MOST_SHOWN]}…"


def _each(selectors: Selector | Iterable[Selector]) -> list[Selector]:
    if isinstance(selectors, str):
        return [selectors]
    if _is_pair(selectors):
        return [selectors]
    return list(selectors)  # type: ignore[arg-type]


def _is_pair(selector: Any) -> TypeGuard[tuple[int, int]]:
    return isinstance(selector, tuple) and len(selector) == 2 and all(isinstance(part, int) for part in selector)


def _selected(selector: Selector, sites: Sequence[Site]) -> list[Head]:
    if _is_pair(selector):
        selector = f"L{selector[0]}H{selector[1]}"
    match = _FORM.fullmatch(selector.strip()) if isinstance(selector, str) else None
    if match is None:
        raise InputError(
            f"{shortened(selector)} names no head; write L2H5, L2, decoder.cross.L0-2H1, * or (layer, head)."
        )
    assert isinstance(selector, str)
    placed = _at_place(match["place"], sites, selector)
    if match["layers"] is None:
        return [(site, head) for site in placed for head in range(site.heads)]
    result: list[Head] = []
    deepest = max(site.layer for site in placed) + 1
    for layer in numbers(match["layers"], selector, deepest):
        site = _one_site(layer, placed, sites, match["place"], selector)
        heads = range(site.heads) if match["heads"] is None else numbers(match["heads"], selector, site.heads)
        for head in heads:
            if not 0 <= head < site.heads:
                raise SelectionError(
                    f"There is no head {head} in {site.name} ({shortened(selector)}); its heads are 0 to "
                    f"{site.heads - 1}."
                )
            result.append((site, head))
    return result


def _at_place(place: str | None, sites: Sequence[Site], selector: str) -> list[Site]:
    if place is None:
        return list(sites)
    found = [site for site in sites if place in (site.stack, site.kind, f"{site.stack}.{site.kind}")]
    if not found:
        places = ", ".join(dict.fromkeys(f"{site.stack}.{site.kind}" for site in sites))
        raise SelectionError(f"There is no attention at {place!r} ({shortened(selector)}); this model has {places}.")
    return found


def _one_site(layer: int, placed: Sequence[Site], sites: Sequence[Site], place: str | None, selector: str) -> Site:
    found = [site for site in placed if site.layer == layer]
    if len(found) > 1 and place is None:
        # The main text's own attention is what is meant unless something else is said.
        found = [site for site in found if (site.stack, site.kind) == (sites[0].stack, sites[0].kind)]
    if not found:
        layers = sorted({site.layer for site in placed})
        raise SelectionError(
            f"There is no layer {layer} ({shortened(selector)}); the layers are {layers[0]} to {layers[-1]}."
        )
    if len(found) > 1:
        names = " or ".join(f"{site.stack}.{site.kind}.L{layer}" for site in found)
        raise SelectionError(f"{shortened(selector)} leaves open which attention is meant; write {names}.")
    return found[0]
