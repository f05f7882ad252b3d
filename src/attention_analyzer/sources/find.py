"""The sources of an answer: five methods side by side, judged on this very text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from attention_analyzer.errors import InputError
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.progress import OnProgress, ProgressCounter
from attention_analyzer.sources.evidence import PartWeights, attention_to_parts
from attention_analyzer.sources.head_weights import HeadWeights, saved_weights
from attention_analyzer.sources.judge import Judgment, judge
from attention_analyzer.sources.prompt import Prompt, read_prompt
from attention_analyzer.sources.result import Sources
from attention_analyzer.sources.scorer import Scorer
from attention_analyzer.sources.surrogate import fit_surrogate
from attention_analyzer.text.chat import Messages
from attention_analyzer.text.splitters import Level

Floats = NDArray[np.float64]
#: Nats that make a part a source: without it the answer is at most half as probable.
SOURCE_DROP = float(np.log(2))
#: Nats that make a part speak against the answer: without it the answer is a third more probable.
AGAINST = 0.3
#: Methods that need no forward but the one whose attention they read.
_BY_ATTENTION = {"attention", "learned_heads"}
#: Methods, those first that measure the answer itself.
_BY_DIRECTNESS = ("removal", "knock_out", "surrogate", "learned_heads", "attention")
#: Other parts that are removed for comparison with a method's best one.
_RANDOM_PARTS = 4
#: Log-probability below which a given answer is not one that this model writes, per token.
_UNLIKELY = -4.0


@dataclass(frozen=True)
class Evidence:
    """What a method found.

    Attributes:
        scores: ``[part]``; larger says that the answer rests on the part.
        low, high: 95 % interval, or None where the method is exact for this text.
        forwards: how many forwards it took.
    """

    scores: Floats
    low: Floats | None = None
    high: Floats | None = None
    forwards: int = 0


@dataclass
class Case:
    """One prompt and answer, with everything that methods share.

    Attributes:
        kept, values: random removals for fitting, ``[removal, part]`` and the answer's log-probability.
    """

    loaded: LoadedModel
    prompt: Prompt
    scorer: Scorer
    kept: NDArray[np.bool_]
    values: Floats
    weights: HeadWeights | None
    seed: int
    known_attention: PartWeights | None = None

    @cached_property
    def attention(self) -> PartWeights:
        """Heads and their attention to candidates above chance; measured once."""
        return self.known_attention or attention_to_parts(self.loaded, self.prompt)


def by_attention(case: Case) -> Evidence:
    """Mean over heads of the weight above chance, with the interval over heads."""
    attention = case.attention.above_chance
    generator = np.random.default_rng(case.seed)
    draws = [attention[generator.integers(0, len(attention), len(attention))].mean(0) for _ in range(200)]
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    return Evidence(attention.mean(0), low, high, forwards=1)


def by_knock_out(case: Case) -> Evidence:
    """Nats that the answer loses if nothing that follows the part may attend to it, in any head."""
    if not case.scorer.has_cache:
        raise InputError(
            "The method 'knock_out' needs a model whose cache of keys and values can be cut; leave it out of methods=…."
        )
    count = len(case.prompt.candidates)
    drops = [case.scorer.whole - case.scorer.knocked_out(number) for number in range(count)]
    return Evidence(np.array(drops), forwards=count)


def by_removal(case: Case) -> Evidence:
    """Nats that the answer loses if the part is not in the prompt."""
    count = len(case.prompt.candidates)
    drops = [case.scorer.whole - case.scorer.removed([number]) for number in range(count)]
    return Evidence(np.array(drops), forwards=count)


def by_surrogate(case: Case) -> Evidence:
    """Nats that the part adds in a sparse linear model of random removals."""
    fitted = fit_surrogate(case.kept, case.values, case.seed)
    return Evidence(fitted.scores, fitted.low, fitted.high, forwards=len(case.values))


def by_learned_heads(case: Case) -> Evidence:
    """Sum over heads of the weight above chance times what was learned about the head, with the interval over heads."""
    assert case.weights is not None
    scores = case.weights.scores(case.attention)
    each = np.asarray(case.weights.weights)[:, None] * case.attention.above_chance
    generator = np.random.default_rng(case.seed)
    draws = [each[generator.integers(0, len(each), len(each))].sum(0) for _ in range(200)]
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    return Evidence(scores, low, high, forwards=1)


#: Name → method.
METHODS: dict[str, Callable[[Case], Evidence]] = {
    "attention": by_attention,
    "knock_out": by_knock_out,
    "removal": by_removal,
    "surrogate": by_surrogate,
    "learned_heads": by_learned_heads,
}


def sources(
    loaded: LoadedModel,
    prompt: str | Messages | None = None,
    *,
    messages: Messages | None = None,
    documents: Sequence[Any] | None = None,
    answer: str | None = None,
    parts: Level | None = None,
    methods: Sequence[str] | None = None,
    removals: int = 64,
    max_new_tokens: int = 64,
    seed: int = 0,
    cache: Path | None = None,
    progress: OnProgress | None = None,
) -> Sources:
    """Which parts of a prompt an answer rests on.

    Args:
        prompt: a text, or messages. Of a text, the parts are its sentences unless something else is said.
        messages: a chat; a last message of the assistant is taken as its answer. The parts are its documents, turns
            and thoughts before the last turn of the user.
        documents: for the chat's template; or, of a text, documents that stand in it.
        answer: what is explained; by default the model answers, greedily.
        parts: another level, or parts of your own.
        methods: some of :data:`METHODS`; by default all that are possible.
        removals: how many random removals are measured: half to fit the surrogate, half to judge all methods. With 0,
            nothing is judged and methods that need them are refused.
        max_new_tokens: of the model's own answer.
        seed: of the random removals.
        cache: the folder with learned head weights; see :func:`.head_weights.learn_head_weights`.
        progress: called with the number of steps done and of all.

    Raises:
        InputError: prompt, documents, parts, answer or methods cannot be used.
        TooLongError: prompt and answer exceed the model's positions.
        UnsupportedModelError: the model does not continue texts.
        MissingDependencyError: scikit-learn is not installed, which the surrogate needs.
    """
    if type(removals) is not int or removals < 0 or 0 < removals < 8:
        raise InputError(f"removals must be 0 or at least 8, not {removals!r}.")
    weights = saved_weights(cache, loaded.fingerprint)
    chosen = _chosen(methods, weights, removals)
    read = read_prompt(
        loaded,
        prompt,
        messages=messages,
        documents=documents,
        answer=answer,
        parts=parts,
        max_new_tokens=max_new_tokens,
    )
    counter = ProgressCounter(removals + len(chosen) + 1, progress)
    # Where nothing but attention is asked for, the one forward that shows it also has the answer's probability.
    attention = attention_to_parts(loaded, read) if not removals and _BY_ATTENTION.issuperset(chosen) else None
    scorer = Scorer(loaded, read) if attention is None else Scorer(loaded, read, False, attention.log_probability)
    if methods is None and not scorer.has_cache:
        chosen.remove("knock_out")
    kept, values = _random_removals(scorer, len(read.candidates), removals, seed, counter)
    half = removals // 2
    case = Case(loaded, read, scorer, kept[:half], values[:half], weights, seed, attention)
    found: dict[str, Evidence] = {}
    for name in chosen:
        found[name] = METHODS[name](case)
        counter.advance()
    judged = {
        name: _judged(scorer, evidence, kept[half:], values[half:], seed)
        for name, evidence in found.items()
        if removals
    }
    made = _result(scorer, read, found, judged)
    counter.advance()
    return made


def _chosen(methods: Sequence[str] | None, weights: HeadWeights | None, removals: int) -> list[str]:
    if methods is None:
        return [
            name
            for name in METHODS
            if not (name == "learned_heads" and weights is None) and not (name == "surrogate" and not removals)
        ]
    chosen = [methods] if isinstance(methods, str) else list(methods)
    for name in chosen:
        if name not in METHODS:
            raise InputError(f"There is no method {name!r}; the methods are {', '.join(METHODS)}.")
    if "learned_heads" in chosen and weights is None:
        raise InputError(
            "No head weights have been learned for this model; call analyzer.learn_sources(prompts) once, or leave "
            "'learned_heads' out of methods=…."
        )
    if "surrogate" in chosen and not removals:
        raise InputError("The method 'surrogate' is fitted on random removals; give removals of at least 8.")
    if not chosen:
        raise InputError(f"Give at least one method: {', '.join(METHODS)}.")
    return chosen


def _random_removals(
    scorer: Scorer, count: int, removals: int, seed: int, counter: ProgressCounter
) -> tuple[NDArray[np.bool_], Floats]:
    generator = np.random.default_rng(seed)
    kept = generator.random((removals, count)) < 0.5
    values = np.zeros(removals)
    known: dict[bytes, float] = {}
    for number, row in enumerate(kept):
        if row.tobytes() not in known:
            known[row.tobytes()] = scorer.removed(np.flatnonzero(~row).tolist())
        values[number] = known[row.tobytes()]
        counter.advance()
    return kept, values


def _judged(scorer: Scorer, evidence: Evidence, kept: NDArray[np.bool_], values: Floats, seed: int) -> Judgment:
    scores = evidence.scores
    best = int(scores.argmax())
    others = [number for number in range(len(scores)) if number != best]
    drop = scorer.whole - scorer.removed([best])
    generator = np.random.default_rng(seed)
    sample = generator.permutation(len(others))[:_RANDOM_PARTS].tolist()
    drops = [scorer.whole - scorer.removed([others[number]]) for number in sample]
    random_drop = float(np.mean(drops)) if drops else 0.0
    return judge(scores, kept, values, drop, random_drop, seed)


def _result(scorer: Scorer, read: Prompt, found: dict[str, Evidence], judged: dict[str, Judgment]) -> Sources:
    everything = list(range(len(read.candidates)))
    without_any = scorer.removed(everything)
    holding = {name: judgment for name, judgment in judged.items() if judgment.holds}
    direct = [name for name in _BY_DIRECTNESS if name in holding]  # max() takes the first of methods that predict alike
    recommended = max(direct, key=lambda name: holding[name].lds, default="")
    lead = recommended or ("removal" if "removal" in found else next(iter(found)))
    effects = [float(found[name].scores.max()) for name in ("removal", "surrogate") if name in found]
    none = scorer.whole - without_any < SOURCE_DROP and max(effects, default=0.0) < SOURCE_DROP
    roles = _roles(found, lead, none)
    scores = found[lead].scores
    table = _table(read, found, lead, roles)
    methods = pd.DataFrame(
        [
            {
                "method": name,
                "lds": judged[name].lds if name in judged else np.nan,
                "random_lds": judged[name].random_lds if name in judged else np.nan,
                "drop": judged[name].drop if name in judged else np.nan,
                "random_drop": judged[name].random_drop if name in judged else np.nan,
                "holds": judged[name].holds if name in judged else False,
                "forwards": evidence.forwards,
            }
            for name, evidence in found.items()
        ]
    )
    order = np.argsort(-scores, kind="stable")
    return Sources(
        answer=read.answer,
        is_given=read.is_given,
        log_probability=scorer.whole,
        without_any=without_any,
        parts=read.parts,
        table=table.iloc[order].reset_index(drop=True),
        methods=methods,
        recommended="" if none else recommended,
        none=none,
        contradictions=_contradictions(scorer, read, roles, scores),
        notes=_notes(scorer, read),
        model_name=scorer.loaded.name,
    )


def _roles(found: dict[str, Evidence], lead: str, none: bool) -> list[str]:
    """Sources are parts without which the answer is at most half as probable, alone or beside others that say the same.

    Removal alone shows the first; the surrogate, by the lower end of its interval, also the second. Of methods that
    do not measure the answer, the best part is the source.
    """
    count = len(found[lead].scores)
    removal, surrogate = found.get("removal"), found.get("surrogate")
    if removal is None and surrogate is None:
        best = int(found[lead].scores.argmax())
        return ["source" if number == best and not none else "" for number in range(count)]
    roles = []
    for number in range(count):
        alone = removal.scores[number] if removal else 0.0
        beside = surrogate.low[number] if surrogate and surrogate.low is not None else 0.0
        opposed = surrogate.high[number] if surrogate and surrogate.high is not None and not removal else alone
        is_source = max(alone, beside) >= SOURCE_DROP and not none
        roles.append("against" if opposed <= -AGAINST else "source" if is_source else "")
    return roles


def _table(read: Prompt, found: dict[str, Evidence], lead: str, roles: list[str]) -> pd.DataFrame:
    count = len(read.candidates)
    nothing = np.full(count, np.nan)
    led = found[lead]
    return pd.DataFrame(
        {
            "part": list(read.names),
            "role": roles,
            "score": led.scores,
            "low": nothing if led.low is None else led.low,
            "high": nothing if led.high is None else led.high,
            **{name: evidence.scores for name, evidence in found.items()},
            "tokens": [len(read.run_of(number)) for number in range(count)],
            "text": [read.parts.shown(number) for number in read.candidates],
        }
    )


def _contradictions(scorer: Scorer, read: Prompt, roles: list[str], scores: Floats) -> tuple[str, ...]:
    """What the model says without the sources, where a part speaks against the answer."""
    against = [number for number, role in enumerate(roles) if role == "against"]
    backing = [number for number, role in enumerate(roles) if role == "source"] or [int(scores.argmax())]
    if not against:
        return ()
    tokenizer = scorer.loaded.need_tokenizer()
    other = scorer.preferred(backing, len(read.answer_ids))
    said = tokenizer.decode(list(other), skip_special_tokens=True).strip()
    named = " and ".join(read.names[number] for number in backing)
    if other == read.answer_ids:
        return tuple(f"{read.names[number]} makes the answer less probable." for number in against)
    return tuple(
        f"{read.names[n]} speaks against the answer: without {named} the model says {said!r}." for n in against
    )


def _notes(scorer: Scorer, read: Prompt) -> tuple[str, ...]:
    notes = []
    if read.is_given and scorer.whole < _UNLIKELY * len(read.answer_ids):
        notes.append(
            f"The model itself hardly writes this answer to this prompt (log-probability {scorer.whole:.1f}), so its "
            "sources may be elsewhere."
        )
    if scorer.use_cache and not scorer.has_cache:
        notes.append("The model's cache of keys and values cannot be cut, so every removal read the whole prompt.")
    sizes = [stop - start for start, stop in pairwise(read.parts.borders)]
    if any(sizes[number] > len(read.parts.tokens) / 2 for number in read.candidates) and len(read.candidates) > 1:
        largest = max(read.candidates, key=lambda number: sizes[number])
        notes.append(f"{read.parts.names[largest]} is more than half of the prompt; finer parts say more.")
    return tuple(notes)
