"""One chunk of texts through the model: what every engine does, wherever it runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from attention_analyzer.corpus.chunks import Chunk, Problem
from attention_analyzer.corpus.measures import Measures
from attention_analyzer.corpus.summary import KeptText, Summary
from attention_analyzer.corpus.tables import LONGEST, texts_table, tokens_table
from attention_analyzer.errors import UnsupportedModelError
from attention_analyzer.inputs import Prepared, prepare, split_texts
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.run.axes import OtherAxesError
from attention_analyzer.run.runner import take_prepared
from attention_analyzer.run.state import State
from attention_analyzer.site import Site
from attention_analyzer.text.readers import Row
from attention_analyzer.text.tokenization import Pair
from attention_analyzer.text.tokens import Tokens

#: Texts that run together at most.
MOST_TEXTS = 128
#: Of a chunk's batches the first is proved, and every so many after it.
PROVED_EVERY = 16


@dataclass(frozen=True)
class WorkSettings:
    """What decides a scan's results.

    Attributes:
        truncate: cut what the model has no positions for, instead of leaving it out.
        examples: how many texts and token pairs are kept for each head (and measure).
        links: whether every token's strongest key is kept, for searching.
        batch_tokens: tokens of a batch at most, padding included.
    """

    truncate: bool = False
    examples: int = 10
    links: bool = True
    batch_tokens: int = 4096


@dataclass(frozen=True)
class ChunkResult:
    """What a chunk gave.

    Attributes:
        number, stop, digest, share: of the chunk.
        summary: None if the chunk had no text that could be used.
        linked: places of the sites whose links are in ``tokens``.
        texts, tokens: tables for the store; None where they are not kept.
        problems: rows that were left out.
        text_count, token_count: what was analyzed.
        batches, proved: forwards, and how many of them had their outputs rebuilt from the weights.
        deviation: the largest deviation met there, relative.
    """

    number: int
    stop: int
    digest: str
    share: float | None
    summary: Summary | None
    linked: tuple[int, ...]
    texts: pa.Table | None
    tokens: pa.Table | None
    problems: tuple[Problem, ...]
    text_count: int
    token_count: int
    batches: int
    proved: int
    deviation: float


@dataclass(frozen=True)
class _TextResult:
    number: int
    row: Row
    tokens: Tokens
    target: Tokens | None
    values: NDArray[np.float32]
    pair_weight: NDArray[np.float32]
    pair_place: NDArray[np.int32]
    strongest: NDArray[np.uint16] | None
    weight: NDArray[np.float16] | None


def work(loaded: LoadedModel, chunk: Chunk, settings: WorkSettings) -> ChunkResult:
    """Run a chunk.

    Texts of about the same length run together. The first batch and every sixteenth after it are proved: their module
    outputs are rebuilt from the weights and compared with the model's own.

    Raises:
        CaptureError: the weights do not reproduce the model's own outputs.
        UnsupportedModelError: the model's attention cannot be scanned.
    """
    problems = list(chunk.problems)
    study = Measures(settings.links)
    sites: tuple[Site, ...] = ()
    linked: tuple[int, ...] = ()
    found: list[_TextResult] = []
    batches = proved = 0
    deviation = 0.0
    for batch in _batches(loaded, chunk.texts, settings, problems):
        check = batches % PROVED_EVERY == 0
        prepared = prepare(loaded, [row.text for _, row in batch], truncate=settings.truncate)
        try:
            taken = take_prepared(loaded, tuple(number for number, _ in batch), prepared, [study], check=check)
        except OtherAxesError as error:
            raise UnsupportedModelError(f"{error} Such attention cannot be scanned: use record(text).") from None
        (state,) = taken.states
        sites = state.sites
        if settings.links:
            axes = [prepared.axes(site.stack, site.kind) for site in sites]
            linked = tuple(place for place, each in enumerate(axes) if each[0] is each[1] is prepared.source)
        found += _texts(batch, prepared, state)
        batches, proved, deviation = batches + 1, proved + check, max(deviation, taken.deviation)
    found.sort(key=lambda text: text.number)
    rows = [(text.number, text.row) for text in found]
    tokens = [text.tokens for text in found]
    links = [(text.strongest, text.weight) for text in found if text.strongest is not None and text.weight is not None]
    keep = settings.links and bool(found)
    return ChunkResult(
        number=chunk.number,
        stop=chunk.stop,
        digest=chunk.digest,
        share=chunk.share,
        summary=_summary(sites, found, settings.examples) if found else None,
        linked=linked,
        texts=texts_table(rows, tokens) if keep else None,
        tokens=tokens_table(rows, tokens, [s for s, _ in links], [w for _, w in links]) if keep and links else None,
        problems=tuple(sorted(problems, key=lambda problem: problem.row)),
        text_count=len(found),
        token_count=sum(map(len, tokens)),
        batches=batches,
        proved=proved,
        deviation=deviation,
    )


def _batches(
    loaded: LoadedModel, texts: Sequence[tuple[int, Row]], settings: WorkSettings, problems: list[Problem]
) -> Iterator[list[tuple[int, Row]]]:
    """Texts of about the same length; what is too long is entered in ``problems``."""
    lengths = _lengths(loaded, [row.text for _, row in texts])
    limit = loaded.max_length
    fitting: list[tuple[int, int]] = []
    for index, ((number, row), length) in enumerate(zip(texts, lengths, strict=True)):
        cut = length if limit is None or not settings.truncate else min(length, limit)
        if length == 0:
            problems.append(Problem.of(number, row, "the tokenizer makes no token of the text"))
        elif limit is not None and cut > limit:
            reason = f"the text has {length} tokens, but the model has positions for {limit}"
            problems.append(Problem.of(number, row, f"{reason}; cut it with truncate"))
        elif settings.links and cut > LONGEST:
            reason = f"the text has {length} tokens, but at most {LONGEST} can be searched"
            problems.append(Problem.of(number, row, f"{reason}; scan without links"))
        else:
            fitting.append((cut, index))
    batch: list[tuple[int, Row]] = []
    width, most = 0, loaded.at_once(MOST_TEXTS)
    # The longest first: what does not fit into memory is met at once.
    for length, index in sorted(fitting, key=lambda each: (-each[0], each[1])):
        if batch and (len(batch) == most or width * (len(batch) + 1) > settings.batch_tokens):
            yield batch
            batch = []
        width = width if batch else length
        batch.append(texts[index])
    if batch:
        yield batch


def _lengths(loaded: LoadedModel, texts: Sequence[str | Pair]) -> list[int]:
    """Tokens of each main text."""
    if not texts:
        return []
    whole, _ = split_texts(loaded, texts)
    return [len(ids) for ids in loaded.need_tokenizer()(whole, verbose=False)["input_ids"]]


def _texts(batch: Sequence[tuple[int, Row]], prepared: Prepared, state: State) -> Iterator[_TextResult]:
    arrays = state.arrays
    start = 0
    for index, (number, row) in enumerate(batch):
        tokens = prepared.source[index]
        own = slice(start, start := start + len(tokens))
        yield _TextResult(
            number=number,
            row=row,
            tokens=tokens,
            target=None if prepared.target is None else prepared.target[index],
            values=arrays["values"][index],
            pair_weight=arrays["pair weight"][index],
            pair_place=arrays["pair place"][index],
            strongest=arrays["strongest"][own] if "strongest" in arrays else None,
            weight=arrays["largest"][own] if "largest" in arrays else None,
        )


def _summary(sites: tuple[Site, ...], found: Sequence[_TextResult], most: int) -> Summary:
    kept = {
        text.number: KeptText(
            content=text.row.text if isinstance(text.row.text, str) else "\n".join(text.row.text),
            place=text.row.place,
            pieces=text.tokens.pieces,
            others=() if text.target is None else text.target.pieces,
        )
        for text in found
    }
    return Summary.of(
        sites,
        np.array([text.number for text in found], dtype=np.int64),
        np.stack([text.values for text in found]),
        np.stack([text.pair_weight for text in found]),
        np.stack([text.pair_place for text in found]),
        kept,
        most,
    )
