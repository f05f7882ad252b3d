"""Effects, why and patching on every text type with a language-model head: ``make conformance-mechanism``.

Each type is a small model with random weights. Results go to ``docs/coverage_mechanism.jsonl`` as they come, so a sweep
that was stopped goes on where it was; ``docs/coverage_mechanism.md`` is written from them at the end.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from attention_analyzer import AttentionAnalyzer
from attention_analyzer.errors import AttentionAnalyzerError
from tests.conformance.build import NoModelError, NotHereError, told
from tests.conformance.build import _at_step as at_step
from tests.conformance.recipes import RECIPES, Recipe
from tests.conformance.shrink import LADDER

DOCS = Path(__file__).resolve().parents[2] / "docs"
RESULTS, PAGE = DOCS / "coverage_mechanism.jsonl", DOCS / "coverage_mechanism.md"
TABLES = (
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
)
ANALYSES = ("effects", "why", "patch")
SECONDS, TOKENS, TOLERANCE = 120, 9, 1e-4
TARGET, VERSUS = 5, 11


@dataclass
class Examined:
    """What one type gave.

    Attributes:
        effects, why, patch: "yes", or the reason as a user sees it.
        deviation: of the effects' sum from the logit.
    """

    type: str
    model: str = ""
    effects: str = ""
    why: str = ""
    patch: str = ""
    deviation: float = 0.0
    not_here: str = ""
    seconds: float = field(default=0.0, compare=False)


class _TookTooLong(Exception):
    """A type ran longer than it may."""


def types() -> dict[str, str]:
    """The class with a language-model head of every type that has one."""
    found: dict[str, str] = {}
    for table in TABLES:
        for name, model in getattr(modeling_auto, table).items():
            if name in CONFIG_MAPPING and getattr(CONFIG_MAPPING[name], "model_type", "") == name:
                found.setdefault(name, model if isinstance(model, str) else model[0])
    return found


def examine(name: str, model_name: str) -> Examined:
    """Examine a type; whatever happens becomes part of the result."""
    result = Examined(name, model_name)
    start = time.perf_counter()
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(SECONDS)
    try:
        model = _built(name, model_name)
        inputs, other = _texts(model)
        analyzer = AttentionAnalyzer(model, cache=False)
        parts: dict[str, Callable[[], Any]] = {
            "effects": lambda: _effects(analyzer, inputs, result),
            "why": lambda: _why(analyzer, inputs),
            "patch": lambda: _patch(analyzer, inputs, other),
        }
        for part, ask in parts.items():
            setattr(result, part, _asked(ask))
    except (NotHereError, NoModelError, ImportError) as error:
        result.not_here = " ".join(str(error).split())[:200]
    except Exception as error:  # noqa: BLE001 (any of hundreds of types)
        result.not_here = f"not built: {told(error)[:300]}"
    finally:
        signal.alarm(0)
    result.seconds = round(time.perf_counter() - start, 1)
    return result


def _too_long(*_: Any) -> None:
    raise _TookTooLong(f"took longer than {SECONDS} s")


def _asked(ask: Callable[[], Any]) -> str:
    try:
        ask()
    except AttentionAnalyzerError as error:
        return " ".join(str(error).split())
    except Exception as error:  # noqa: BLE001 (a failure is what the sweep looks for)
        return f"failed: {told(error)[:300]}"
    return "yes"


def _built(name: str, model_name: str) -> Any:
    recipe = RECIPES.get(name, Recipe(""))
    model_class = getattr(transformers, model_name)
    last: Exception | None = None
    for number, step in enumerate(LADDER if recipe.steps is None else [LADDER[i] for i in recipe.steps]):
        try:
            return at_step(CONFIG_MAPPING[name], model_class, recipe, step, number).model
        except ImportError as failure:
            raise NotHereError(" ".join(str(failure).split())[:160]) from failure
        except _TookTooLong:
            raise
        except Exception as failure:  # noqa: BLE001 (the next step)
            last = last or failure
    assert last is not None
    raise last


def _texts(model: Any) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    size = model.get_input_embeddings().weight.shape[0]
    generator = torch.Generator().manual_seed(2)
    clean = torch.randint(min(20, size // 2), size, (1, TOKENS), generator=generator)
    corrupted = clean.clone()
    corrupted[0, 2] = 12 if int(clean[0, 2]) != 12 else 13
    inputs: list[dict[str, torch.Tensor]] = [{"input_ids": clean}, {"input_ids": corrupted}]
    if getattr(model.config, "is_encoder_decoder", False):
        for each in inputs:
            each["decoder_input_ids"] = clean[:, :5]
    return inputs[0], inputs[1]


def _effects(analyzer: AttentionAnalyzer, inputs: Any, result: Examined) -> None:
    found = analyzer.effects(inputs, target=TARGET, versus=VERSUS, position=-1)
    with torch.no_grad():
        row = analyzer.model(**inputs).logits[0, -1].double()
    plain = float(row[TARGET] - row[VERSUS])
    scale = max(1.0, abs(plain), float(found.rows["effect"].abs().max()))
    result.deviation = max(found.deviation, abs(found.rows["effect"].sum() - plain)) / scale
    if result.deviation > TOLERANCE:
        raise AssertionError(f"effects sum to {found.rows['effect'].sum()}, the model says {plain}")


def _why(analyzer: AttentionAnalyzer, inputs: Any) -> None:
    record = analyzer.record(inputs=inputs)
    sites = [entry.site for entry in record.entries if entry.site.kind == "self"]
    found = record.why(sites[-1].layer, 0, -1, -1, stack=sites[-1].stack)
    if found.deviation > TOLERANCE * max(1.0, abs(found.score)):
        raise AssertionError(f"the cells are {found.deviation} off")


def _patch(analyzer: AttentionAnalyzer, inputs: Any, other: Any) -> None:
    found = analyzer.patch(inputs, other, target=TARGET, versus=VERSUS, position=-1)
    with torch.no_grad():
        row = analyzer.model(**inputs).logits[0, -1].double()
    if abs(found.clean - float(row[TARGET] - row[VERSUS])) > 1e-4 * max(1.0, abs(found.clean)):
        raise AssertionError(f"the clean run gives {found.clean}, the model says {float(row[TARGET] - row[VERSUS])}")
    if not found.table["value"].notna().all():
        raise AssertionError("patched values are NaN")


def load(path: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """What is known, by type."""
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return {found["type"]: found for found in map(json.loads, lines)}


def save(results: Mapping[str, Mapping[str, Any]], path: Path = RESULTS) -> None:
    """All results, one a line, by type."""
    lines = (json.dumps(results[name], sort_keys=True, ensure_ascii=False) for name in sorted(results))
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def page(results: Iterable[Mapping[str, Any]]) -> str:
    """The coverage page."""
    ordered = sorted(results, key=lambda each: str(each["type"]))
    here = [each for each in ordered if not each["not_here"]]
    absent = [each for each in ordered if each["not_here"]]
    counts = {part: sum(each[part] == "yes" for each in here) for part in ANALYSES}
    total = len(here)
    left = len(set(types()) - {each["type"] for each in ordered})
    lines = [
        "# Coverage of mechanism",
        "",
        f"Which text types of transformers {transformers.__version__} with a language-model head have direct effects,",
        "scores by components and patching: every entry of its tables for causal, masked and sequence-to-sequence",
        "language models, each as a small model with random weights. Effects and scores must sum to the logit and the",
        "score of the model (1e-4), patching must give its logits at both ends. This page is written by",
        "`make conformance-mechanism`.",
        "",
        "| | types | of all |",
        "| --- | ---: | ---: |",
        *(f"| `{part}` | {count} | {count / max(total, 1):.0%} |" for part, count in counts.items()),
        "",
        f"{total} types were built and examined{f'; {left} more are not examined yet' if left else ''}.",
        "Where a cell is not *yes*, it has the sentence that a user sees.",
        "",
        "| type | model | effects | why | patch |",
        "| --- | --- | --- | --- | --- |",
    ]
    for each in here:
        cells = [str(each[part]).replace("|", "/").replace("<", "‹") for part in ANALYSES]
        lines.append(f"| {each['type']} | {each['model']} | {' | '.join(cells)} |")
    if absent:
        lines += ["", "Not examined, because they could not be built here as a text model:", ""]
        lines += [f"- {each['type']}: {str(each['not_here'])[:160]}" for each in absent]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.mechanism", description=__doc__)
    parser.add_argument("types", nargs="*", help="types to examine; all that have no result yet by default")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--failed", action="store_true", help="examine again what failed")
    options = parser.parse_args(arguments)
    transformers.logging.set_verbosity(50)
    known, all_types = load(options.results), types()
    chosen = options.types or [name for name in all_types if name not in known]
    if options.failed:
        chosen = [name for name, found in known.items() if any("failed" in str(found[part]) for part in ANALYSES)]
    for number, name in enumerate(chosen):
        found = asdict(examine(name, all_types[name]))
        known[name] = found
        save(known, options.results)
        states = " ".join("yes" if found[part] == "yes" else found[part][:90] or "-" for part in ANALYSES)
        sys.stdout.write(f"{number + 1}/{len(chosen)} {name}: {states} {found['not_here'][:120]}\n")
        sys.stdout.flush()
    if options.results == RESULTS:
        PAGE.write_text(page(known.values()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
