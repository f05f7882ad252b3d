"""Hold the places of image and sound tokens against the original, on every architecture of transformers that has them:
``python -m tests.conformance.places [type …]``.

Each type's small random model runs on one image, film or sound. A stand-in processor with a known geometry makes its
inputs (the real one where a type reads a list of patches). Places are measured as for any record, and random tokens of
every axis are then tried: the original is changed there, and the token has to change most. Results go to
``docs/coverage_places.jsonl`` as they come; ``docs/coverage_places.md`` is written from them.
"""

from __future__ import annotations

import inspect
import json
import multiprocessing
import os
import resource
import sys
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tests.conformance.build import Built

DOCS = Path(__file__).parents[2] / "docs"
RESULTS, TABLE = DOCS / "coverage_places.jsonl", DOCS / "coverage_places.md"
#: Of processor time for one type, and of its memory.
SECONDS, MEMORY = 120, 8 << 30
#: Tokens tried on each axis.
TRIED = 3
#: How a model of images, films or sounds names its main input.
MAIN = ("pixel_values", "pixel_values_videos", "input_features", "input_values", "audio_values", "flattened_patches")
STATES = {
    "placed": "every token lies somewhere, is named as learned, or belongs to the text",
    "part": "some tokens are shown by number",
    "by number": "no place could be verified, and none is shown",
    "wrong": "a token lies elsewhere than shown",
    "not run": "the type needs a package, has no model of its own, or its model does not run on one row",
}


def examine(name: str) -> dict[str, Any]:
    """What is known of the places of one type, as plain data."""
    from tests.conformance import inputs as recipe_inputs

    recipe_inputs.BATCH = 1  # before recipes take it: in lists of patches nothing says which row they belong to
    from attention_analyzer.errors import AttentionAnalyzerError
    from attention_analyzer.models.loaded import LoadedModel
    from attention_analyzer.places.check import check_places
    from attention_analyzer.places.find import input_name, placed
    from attention_analyzer.recording import record_inputs
    from tests.conformance.build import CannotBuildError, NoModelError, NotHereError, build

    try:
        built = made_by_hand(name) or build(name)
    except (NotHereError, NoModelError, CannotBuildError) as error:
        return finding(name, "not run", reason=str(error)[:200])
    inputs = dict(built.inputs)
    if input_name(inputs) is None:
        inputs = with_image(built.model, inputs)
    main = input_name(inputs)
    if main is None:
        return finding(name, "not run", reason="its inputs hold no image and no sound that is one tensor")
    processed, values = stand_in(built.model, inputs, main)
    if processed is not None:
        inputs[main] = values
    loaded = LoadedModel(built.model, None, name)
    try:
        records = record_inputs(loaded, inputs, places=False)
        if len(records) != 1:
            return finding(name, "not run", reason=f"{len(records)} sequences of one row")
        (record,) = placed(loaded, records, inputs, processed)
        checks = [] if processed is None else check_places(loaded, record, inputs, processed, tried=TRIED)
    except AttentionAnalyzerError as error:
        return finding(name, "not run", reason=str(error)[:200])
    wrong, by_number = sum(check.wrong for check in checks), sum(check.by_number for check in checks)
    shown = sum(check.placed for check in checks)
    state = "wrong" if wrong else "placed" if shown and not by_number else "part" if shown else "by number"
    return finding(
        name,
        state,
        reason="" if state == "placed" or wrong else why(record, processed, shown),
        input=f"{main} {tuple(inputs[main].shape)}",
        axes=[f"{check.site}: {check.sentence}" for check in checks],
        tried=sum(check.tried for check in checks),
        wrong=wrong,
    )


def made_by_hand(name: str) -> Built | None:
    """Models whose vision part the ladder of sizes does not fit."""
    from tests.conformance.build import Built
    from tests.places.models import qwen_vl

    kind = {"qwen2_vl": "2", "qwen2_5_vl": "2.5"}.get(name)
    if kind is None:
        return None
    model, inputs = qwen_vl(kind)
    return Built(model, inputs, 0)


def finding(name: str, state: str, **more: Any) -> dict[str, Any]:
    return {"type": name, "state": state, "reason": "", "input": "", "axes": [], "tried": 0, "wrong": 0, **more}


def why(record: Any, processed: Any, shown: int) -> str:
    """Why tokens have no place, as far as it is known."""
    if processed is None:
        return "its input has a layout that the stand-in processors do not make"
    if shown:
        return "tokens that show several cells, or none (pooled, convolved or compressed by queries)"
    return "each token shows several overlapping parts of the input"


def stand_in(model: Any, inputs: Mapping[str, Any], main: str) -> tuple[Any, Any]:
    """How inputs of this shape are made of an original, and those of one original."""
    import torch

    from attention_analyzer.media.images import Image
    from attention_analyzer.media.processing import Processed
    from attention_analyzer.media.sounds import Sound

    like = inputs[main]
    generator = np.random.default_rng(7)
    if "image_grid_thw" in inputs and like.dim() == 2:
        return list_of_patches(model, inputs, main)
    if main == "input_values" and like.dim() == 2:
        samples = (0.1 * generator.standard_normal(like.shape[-1])).astype(np.float32)

        def as_is(arrays: Sequence[np.ndarray]) -> dict[str, Any]:
            return {main: torch.from_numpy(arrays[0])[None].to(like.dtype)}

        made = Processed(dict(inputs), (), (Sound(samples, 16_000),), as_is, "", len(samples))
        return made, as_is([samples])[main]
    if main in ("input_features", "input_values") and like.dim() == 3:
        return bands(inputs, main)
    if like.dim() not in (4, 5) or 3 not in like.shape[:3]:
        return None, None
    axis = 1 if like.dim() == 5 and like.shape[1] == 3 and like.shape[2] != 3 else like.dim() - 3
    if like.shape[axis] != 3:
        return None, None
    height, width = like.shape[-2:]
    count = int(np.prod(like.shape[:-2])) // 3
    images = [Image(generator.integers(0, 255, (height, width, 3), dtype=np.uint8)) for _ in range(count)]

    def pixels(arrays: Sequence[np.ndarray]) -> dict[str, Any]:
        stacked = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 127.5 - 1
        if axis == 1 and like.dim() == 5:
            stacked = stacked.transpose(0, 1)
        return {main: stacked.reshape(like.shape).to(like.dtype)}

    film = like.dim() == 5 and "input_ids" not in inputs
    made = Processed(dict(inputs), tuple(images), (), pixels, "", is_film=film)
    return made, pixels([image.pixels for image in images])[main]


def with_image(model: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a model of text and images with an image, and as many marks in the text as it asks for."""
    import torch

    from tests.conformance.inputs import find, input_ids

    token = find(model.config, "image_token_id", "image_token_index")
    parameters = inspect.signature(model.forward).parameters
    if not isinstance(token, int) or "pixel_values" not in parameters:
        return dict(inputs)
    config = getattr(model.config, "vision_config", model.config)
    size, patch = find(config, "image_size"), find(config, "patch_size")
    size = size[0] if isinstance(size, (list, tuple)) else size
    patch = patch[0] if isinstance(patch, (list, tuple)) else patch
    layouts: list[dict[str, Any]] = []
    if "image_grid_thw" in parameters and isinstance(patch, int):
        rows, columns = 4 * getattr(config, "spatial_merge_size", 1), 2 * getattr(config, "spatial_merge_size", 1)
        numbers = 3 * patch**2 * getattr(config, "temporal_patch_size", 1)
        grid = torch.tensor([[1, rows, columns]])
        layouts.append({"pixel_values": torch.randn(rows * columns, numbers), "image_grid_thw": grid})
    if isinstance(size, int):
        shapes = ((1,), (1, 1), (1, 2))
        layouts += [{"pixel_values": torch.randn(*shape, 3, size, size)} for shape in shapes]
        if "image_sizes" in parameters:
            sizes = torch.tensor([[size, size]])
            layouts += [{"pixel_values": torch.randn(*s, 3, size, size), "image_sizes": sizes} for s in shapes]
    text = input_ids(model, {}, 6)[:1]
    known = [count for side in range(1, 33) for count in (side * side, side * (side + 1), side * side + 1)]
    for layout in layouts:
        for count in sorted({*known, 2, 8, 32, 64, *(2 * each for each in known)}):
            ids = torch.cat([text[:, :2], torch.full((1, count), token), text[:, 2:]], 1)
            tried = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **layout}
            if "mm_token_type_ids" in parameters:
                tried["mm_token_type_ids"] = (ids == token).int()
            if "token_type_ids" in parameters:
                tried["token_type_ids"] = (ids == token).long()
            try:
                with torch.no_grad():
                    model(**tried)
            except Exception:  # noqa: BLE001 (how many marks there must be is only found by trying)
                continue
            return tried
    return dict(inputs)


def bands(inputs: Mapping[str, Any], main: str) -> tuple[Any, Any]:
    """A spectrogram of a kind: products of stretches of 160 samples with random directions, one per band."""
    import torch

    from attention_analyzer.media.processing import Processed
    from attention_analyzer.media.sounds import Sound

    like = inputs[main]
    hop = 160
    names = ("num_mel_bins", "feature_size", "mel")
    last = like.shape[2] in (80, 128, 64) or like.shape[2] < like.shape[1] or not names
    frames, count = (like.shape[1], like.shape[2]) if last else (like.shape[2], like.shape[1])
    generator = np.random.default_rng(7)
    directions = (generator.standard_normal((hop, count)) / hop**0.5).astype(np.float32)
    samples = generator.standard_normal(frames * hop).astype(np.float32)

    def read(arrays: Sequence[np.ndarray]) -> dict[str, Any]:
        made = torch.from_numpy(arrays[0].reshape(frames, hop) @ directions)[None]
        return {main: (made if last else made.transpose(1, 2).contiguous()).to(like.dtype)}

    made = Processed(dict(inputs), (), (Sound(samples, 16_000),), read, "", len(samples))
    return made, read([samples])[main]


def list_of_patches(model: Any, inputs: Mapping[str, Any], main: str) -> tuple[Any, Any]:
    """The real processor of models that read lists of patches, at the size that the inputs say."""
    import PIL.Image
    from transformers import Qwen2VLImageProcessorPil

    from attention_analyzer.media.images import Image
    from attention_analyzer.media.processing import Processed

    config = getattr(model.config, "vision_config", model.config)
    patch, time = config.patch_size, getattr(config, "temporal_patch_size", 1)
    reader = Qwen2VLImageProcessorPil(
        do_resize=False, patch_size=patch, temporal_patch_size=time, merge_size=getattr(config, "spatial_merge_size", 1)
    )
    generator = np.random.default_rng(7)
    images = [
        Image(generator.integers(0, 255, (rows * patch, columns * patch, 3), dtype=np.uint8))
        for _, rows, columns in inputs["image_grid_thw"].tolist()
    ]

    def read(arrays: Sequence[np.ndarray]) -> dict[str, Any]:
        return {main: reader([PIL.Image.fromarray(array) for array in arrays], return_tensors="pt")["pixel_values"]}

    values = read([image.pixels for image in images])[main]
    if values.shape != inputs[main].shape:
        return None, None
    return Processed(dict(inputs), tuple(images), (), read, ""), values


def types() -> list[str]:
    """Types whose model reads images, films or sounds."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    from tests.conformance.build import NoModelError, find_class
    from tests.conformance.recipes import RECIPES, Recipe

    found = []
    for name in CONFIG_MAPPING:
        try:
            model = find_class(CONFIG_MAPPING[name], RECIPES.get(name, Recipe("")))
            parameters = inspect.signature(model.forward).parameters
            main = model.main_input_name
        except (NoModelError, ImportError, AttributeError, KeyError):
            continue
        if set(MAIN) & {*parameters, *([main] if isinstance(main, str) else main)}:
            found.append(name)
    return found


def examined(name: str) -> dict[str, Any]:
    """One type in a process of its own, with bounds on time and memory."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(name, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        found = ours.recv() if ours.poll(10 * SECONDS) else finding(name, "not run", reason="did not end")
    except EOFError:
        process.join()
        found = finding(name, "not run", reason=f"the process ended with {process.exitcode}")
    process.kill()
    process.join()
    return found


def _child(name: str, pipe: Any) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    warnings.simplefilter("ignore")
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 (a device, no file)
        os.dup2(nowhere.fileno(), 2)
    try:
        pipe.send(examine(name))
    except Exception as error:  # noqa: BLE001 (any failure of a type is a finding)
        pipe.send(finding(name, "not run", reason=f"{type(error).__name__}: {error}"[:200]))


def load() -> dict[str, dict[str, Any]]:
    if not RESULTS.exists():
        return {}
    rows = (json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines())
    return {row["type"]: row for row in rows}


def save(found: dict[str, Any]) -> None:
    known = load() | {found["type"]: found}
    lines = (json.dumps(known[name], ensure_ascii=False) for name in sorted(known))
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_table() -> None:
    findings = load()
    counts = Counter(row["state"] for row in findings.values())
    tried, wrong = (sum(row[name] for row in findings.values()) for name in ("tried", "wrong"))
    lines = [
        "# Places of image and sound tokens",
        "",
        "Architectures of transformers that read images, films or sounds, as small random models. Places are",
        "measured as for any record; then random tokens of every axis are tried: the original is changed there, and",
        "the token has to change most. What cannot be verified has no place and is shown by its number.",
        "",
        f"{len(findings)} types were examined. Of {tried:,} tokens tried, **{wrong}** lay elsewhere than shown.",
        "",
        "| state | types | meaning |",
        "| --- | ---: | --- |",
        *(f"| {state} | {counts[state]} | {meaning} |" for state, meaning in STATES.items() if counts[state]),
        "",
        "Made by `make conformance-places`.",
        "",
        "| type | state | input | axes |",
        "| --- | --- | --- | --- |",
    ]
    for name in sorted(findings):
        row = findings[name]
        axes = "<br>".join(row["axes"][:4])
        more = f"<br>and {len(row['axes']) - 4} more" if len(row["axes"]) > 4 else ""
        said = "<br>".join(part for part in (axes + more, row["reason"]) if part)
        lines.append(f"| {name} | {row['state']} | {row['input']} | {said.replace('|', chr(92) + '|')} |")
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    from rich.console import Console

    from tests.conformance.sweep import prepare

    prepare()
    console = Console(soft_wrap=True)
    known = load()
    for name in sys.argv[1:] or [name for name in types() if name not in known]:
        found = examined(name)
        save(found)
        console.print(f"{name}: {found['state']} {found['reason']}", markup=False, highlight=False)
    write_table()


if __name__ == "__main__":
    main()
