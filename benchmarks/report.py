"""Measurements as tables: docs/benchmarks.md, and the section of README.md between its markers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from benchmarks.sections import write_section

Results = dict[str, Any]
CHECKED = (
    "Before anything is timed, every metric is compared with the same statistic of the model's own full matrices "
    "(eager attention, `output_attentions`), and each peer's weights with the model's own. Largest difference, "
    "absolute or relative to values above one: {checks}."
)
MEASURED = (
    "Plain forward and toolkit run in turns in one process, the fastest run of each counts (at 32,768 tokens each runs "
    "once, in a process of its own); both start from the text and include its tokenization. *Eager + matrices* "
    "computes the same statistics from the full matrices, as one writes them by hand. Peak memory is that of a process "
    "that does nothing else."
)
COMPARED = (
    "The causal model of the table above; each tool in an environment of its own on top of this one. Time, then peak "
    "memory of a process that does nothing else, then the size of what it writes."
)
NOTHING = "–"
GPU_LENGTHS = (2048, 8192, 32768, 131072)


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def seconds(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f} s" if value < 1 else f"{value:.1f} s"


def memory(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f} GB"


def slope(points: list[tuple[int, float]]) -> str:
    """The exponent of cost in length between the two longest texts."""
    if len(points) < 2:
        return NOTHING
    (short, low), (long, high) = sorted(points)[-2:]
    return f"{math.log(high / low) / math.log(long / short):.2f}"


def engine_table(found: Results, shape: str) -> str:
    rows = []
    for tokens, cell in sorted(found["engine"][shape].items(), key=lambda item: int(item[0])):
        eager = cell.get("matrices")
        is_measured = isinstance(eager, dict)
        rows.append(
            [
                f"{int(tokens):,}",
                seconds(cell["plain"]),
                seconds(cell["toolkit"]),
                f"**{cell['toolkit'] / cell['plain']:.2f}×**",
                seconds(eager["seconds"]) if is_measured else (eager or NOTHING),
                " / ".join(memory(cell["memory"][name])[:-3] for name in ("plain", "toolkit"))
                + " / "
                + (memory(eager["memory"]) if is_measured else NOTHING),
            ]
        )
    header = [
        "tokens",
        "plain forward",
        "+ all metrics",
        "ratio",
        "eager + matrices",
        "peak GB: plain / toolkit / matrices",
    ]
    cells = found["engine"][shape]
    exponents = ", ".join(
        f"{name} {slope([(int(tokens), cell[key]) for tokens, cell in cells.items()])}"
        for name, key in (("plain forward", "plain"), ("toolkit", "toolkit"))
    )
    grown = slope([(int(tokens), cell["memory"]["toolkit"] - found["baseline"]) for tokens, cell in cells.items()])
    return (
        f"{table(header, rows)}\n\nGrowth between the two longest texts (exponent of the length): time, {exponents}; "
        f"memory of the toolkit beyond that of a loaded library, {grown}."
    )


def peer_table(found: Results) -> str:
    sizes = sorted(map(int, found["ours"]))
    rows = [
        ["this toolkit: all metrics of all heads"] + [_peer_cell(found["ours"][str(size)]) for size in sizes] + [""]
    ]
    rows += [
        ["this toolkit: record, saved as a file"] + [_peer_cell(found["records"][str(size)]) for size in sizes] + [""]
    ]
    for name, peer in found["peers"].items():
        if peer.get("reason"):
            rows.append([name] + [NOTHING] * len(sizes) + [f"skipped: {peer['reason']}"])
            continue
        rows.append([name] + [_peer_cell(peer["sizes"].get(str(size))) for size in sizes] + [peer["note"]])
    return table(["", *(f"{size:,} tokens" for size in sizes), "what it does"], rows)


def _peer_cell(cell: dict[str, float] | str | None) -> str:
    if not isinstance(cell, dict):
        return cell or NOTHING
    file = f", file {cell['file']:.1f} MB" if cell.get("file") else ""
    return f"{seconds(cell['seconds'])}, {memory(cell['memory'])}{file}"


def document(found: Results) -> str:
    about = found["about"]
    parts = [
        "# Benchmarks",
        "Written by `make bench` (`python -m benchmarks`); do not edit.",
        _about(about),
        "## Are the numbers right?",
        CHECKED.format(checks=_checks(found)),
    ]
    parts += ["## Beside the plain model", MEASURED]
    for shape, title in found["shapes"].items():
        parts += [f"**{title}**", engine_table(found, shape)]
    if "without" in found:
        rows = [
            [
                f"{int(tokens):,}",
                *(seconds(cell[name]) for name in ("plain", "toolkit")),
                f"{cell['toolkit'] / cell['plain']:.2f}×",
            ]
            for tokens, cell in sorted(found["without"].items(), key=lambda item: int(item[0]))
        ]
        parts += [
            "**Without a compiler** (plain PyTorch, BERT shape)",
            table(["tokens", "plain forward", "+ all metrics", "ratio"], rows),
        ]
    parts += [
        "## Batches of short texts",
        _short_texts(found["short"]),
        "## Beside other tools",
        COMPARED,
        peer_table(found),
    ]
    if "attribution" in found:
        parts += ["## Importance of tokens", attribution_tables(found["attribution"])]
    parts += [
        "## Start-up",
        table(
            ["", "seconds"],
            [[f"`{name}`", seconds(value)] for name, value in found["startup"].items()],
        ),
        "## GPU",
        gpu_table(found),
    ]
    return "\n\n".join(parts) + "\n"


def attribution_tables(found: Results) -> str:
    """What each method costs by length, and attention flow beside networkx."""
    sizes = sorted({int(tokens) for cells in found["methods"].values() for tokens in cells})
    rows = [
        [f"`{method}`"]
        + [
            f"{seconds(cell['seconds'])}, {memory(cell['memory'])}" if cell else NOTHING
            for cell in cells_of(cells, sizes)
        ]
        for method, cells in found["methods"].items()
    ]
    flow = found["flow"]
    about = (
        "From the text to every token's number, for the text's representation (BERT shape): seconds, then peak memory "
        "of a process that does nothing else. Attention flow, which grows with the cube of the length, and integrated "
        "gradients, which run the model and its backward fifty times, are measured on shorter texts only."
    )
    compared = (
        f"Attention flow to {flow['tokens']} tokens on the graph of a 64-token text ({flow['edges']:,} edges): igraph "
        f"{seconds(flow['igraph'])}, networkx {seconds(flow['networkx'])}, "
        f"**{flow['networkx'] / flow['igraph']:.0f} times** as long; the flows differ by at most "
        f"{flow['difference']:.0e}."
    )
    return f"{about}\n\n{table(['method', *(f'{size:,} tokens' for size in sizes)], rows)}\n\n{compared}"


def cells_of(cells: Results, sizes: list[int]) -> list[Results | None]:
    return [cells.get(str(size)) for size in sizes]


def gpu_table(found: Results) -> str:
    """Columns stay empty where no GPU was at hand."""
    measured = found.get("gpu")
    header = ["tokens", "plain forward", "+ all metrics", "ratio", "attention of a layer", "statistics", "floor", "GB"]
    about = (
        "A Llama of 8 billion parameters' attention shape (32 heads in groups of 4, 128 channels, bfloat16, random "
        "weights). *Floor* is the kernel with nothing to gather but the softmax itself: one more pass of queries over "
        "keys."
    )
    if measured is None:
        rows = [[f"{tokens:,}"] + [NOTHING] * 7 for tokens in GPU_LENGTHS]
        checked = (
            "No GPU was at hand, so the columns are empty: the kernels equal the plain pass in Triton's interpreter "
            "and compile for compute capabilities 8.0 and 9.0 (`tests/kernels`)."
        )
        return f"{about} {checked}\n\n{table(header, rows)}"
    rows = []
    for tokens, cell in measured["lengths"].items():
        plain, toolkit = cell["plain"]["seconds"], cell["toolkit"]["seconds"]
        parts = [cell[f"{name}_of_a_layer"]["seconds"] for name in ("attention", "statistics", "floor")]
        milliseconds = [f"{1000 * value:.2f} ms" for value in parts]
        peak = f"{cell['plain']['memory']:.2f} / {cell['toolkit']['memory']:.2f}"
        rows.append(
            [f"{int(tokens):,}", seconds(plain), seconds(toolkit), f"**{toolkit / plain:.2f}×**", *milliseconds, peak]
        )
    return (
        f"{about} {found['about']['cuda']}, {measured['shape']['layers']} layers; kernel and CPU differ by at most "
        f"{measured['difference']:.0e}.\n\n{table(header, rows)}"
    )


def _short_texts(short: Results) -> str:
    speed = {name: short["tokens"] / short[name] for name in ("plain", "toolkit")}
    return (
        f"{short['texts']} texts of 16 to 64 tokens in one padded batch (BERT shape): plain forward "
        f"{speed['plain']:,.0f} tokens a second, with all metrics {speed['toolkit']:,.0f}: "
        f"{speed['toolkit'] / speed['plain']:.0%}."
    )


def _about(about: Results) -> str:
    compiled = "the compiled row pass" if about["compiled"] else "plain PyTorch (no C++ compiler)"
    return (
        f"{about['processor']}, {about['cores']} cores, {about['vectors']}, {about['memory']:.0f} GB; "
        f"torch {about['torch']} with {about['threads']} threads, transformers {about['transformers']}, "
        f"Python {about['python']}; float32; "
        f"{compiled}; random weights. {about['date']}."
    )


def _checks(found: Results) -> str:
    named = [f"{name} {value:.0e}" for name, value in found["checks"].items()]
    named += [
        f"{name} {next(iter(measured)):.0e}"
        for name, peer in found["peers"].items()
        if (measured := [c["difference"] for c in peer.get("sizes", {}).values() if isinstance(c, dict)])
    ]
    return ", ".join(named)


def readme_section(found: Results) -> str:
    about = found["about"]
    return (
        f"{found['shapes']['bert']}; {about['cores']} cores, float32, all metrics of all heads:\n\n"
        f"{engine_table(found, 'bert').split(chr(10) * 2)[0]}\n\n"
        "Causal models, other tools, short texts, start-up and how it was measured: "
        "[docs/benchmarks.md](docs/benchmarks.md)."
    )


def write(found: Results, root: Path) -> None:
    """Write both; the README keeps everything outside its markers."""
    (root / "docs").mkdir(exist_ok=True)
    (root / "docs" / "benchmarks.md").write_text(document(found), encoding="utf-8")
    write_section("README.md", "bench", readme_section(found), root)
