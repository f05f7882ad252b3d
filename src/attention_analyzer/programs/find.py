"""Programs of all heads: fitted on every second text, scored on the others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from attention_analyzer.captured import CapturedAttention
from attention_analyzer.errors import InputError, OnError
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.patterns.labels import untrained_model
from attention_analyzer.programs.result import HeadPrograms, scored
from attention_analyzer.programs.scoring import ProgramScores
from attention_analyzer.programs.study import FittedPrograms, Programs
from attention_analyzer.progress import OnProgress, ProgressCounter
from attention_analyzer.recording import BATCH
from attention_analyzer.run.runner import run_studies
from attention_analyzer.run.state import State
from attention_analyzer.text.tokenization import Pair
from attention_analyzer.usable_texts import usable_texts

#: Half of them must say how far scores vary between texts.
FEWEST_TEXTS = 6


def programs(
    source: LoadedModel | Sequence[CapturedAttention],
    texts: Sequence[str | Pair] | None = None,
    *,
    untrained: bool = False,
    truncate: bool = False,
    batch_size: int = BATCH,
    seed: int = 0,
    errors: OnError = "raise",
    store: str | os.PathLike[str] | None = None,
    progress: OnProgress | None = None,
) -> HeadPrograms:
    """What every head does as a short program of rules, and how much of its weight that explains on other texts.

    Args:
        source: a model, with the texts to run it on; or records of several texts by one model.
        texts: at least six, better a hundred: every second one is fitted on, the others are scored on.
        untrained: also fit programs to the same architecture with random weights, as a control.
        truncate: cut what the model has no positions for.
        batch_size: how many texts run together.
        seed: of the controls.
        errors: "raise", or "skip" to leave out texts that cannot be used and list them in ``problems``.
        store: a folder that keeps what was measured; the same call resumes there after an interruption.
        progress: called with how many texts are done and how many there are.

    Raises:
        InputError: too few texts, records of different models, or the store is of another run.
        UnsupportedModelError: heads of one layer see different keys.
    """
    if not isinstance(source, LoadedModel):
        return _of_records(source, texts, untrained, seed, store)
    if isinstance(texts, (str, bytes)) or texts is None:
        raise InputError(f"A list of at least {FEWEST_TEXTS} texts was expected, not {type(texts).__name__}.")
    kept = usable_texts(source, texts, errors=errors, truncate=truncate)
    _check_count(len(kept.texts))
    fitting, scoring = kept.texts[::2], kept.texts[1::2]
    steps = ProgressCounter((1 + untrained) * len(kept.texts), progress)

    def run(model: LoadedModel, folder: Path | None) -> tuple[FittedPrograms, State]:
        def learned(study: Programs | ProgramScores, part: Sequence[str | Pair], name: str) -> State:
            return run_studies(
                model,
                part,
                [study],
                store=None if folder is None else folder / name,
                truncate=truncate,
                batch_size=batch_size,
                progress=steps.within(len(part)),
            ).states[0]

        study = Programs()
        fitted = study.fitted(learned(study, fitting, "fitting"), model.name)
        return fitted, learned(ProgramScores(fitted, seed), scoring, "scoring")

    folder = None if store is None else Path(store)
    control = None
    if untrained:
        control = run(untrained_model(source, seed), None if folder is None else folder / "untrained")[1]
    return kept.noted(scored(*run(source, folder), control))


def _of_records(
    records: Sequence[CapturedAttention],
    texts: object,
    untrained: bool,
    seed: int,
    store: object,
) -> HeadPrograms:
    if texts is not None or untrained or store is not None:
        raise InputError("Texts, untrained=True and a store belong to a model; records are measured already.")
    _check_count(len(records))
    if len({record.sites for record in records}) > 1:
        raise InputError("The records are of different models; programs are of one model at a time.")
    study = Programs()
    states = [study.of_record(record) for record in records[::2]]
    fitted = study.fitted(State.merge(states), records[0].model_name)
    scores = ProgramScores(fitted, seed)
    return scored(fitted, State.merge([scores.of_record(record) for record in records[1::2]]), None)


def _check_count(count: int) -> None:
    if count < FEWEST_TEXTS:
        raise InputError(
            f"Programs are fitted on half of the texts and scored on the other half, so at least {FEWEST_TEXTS} texts "
            f"are needed; {count} given."
        )
