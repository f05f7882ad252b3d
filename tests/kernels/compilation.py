"""Compiles the GPU kernels for cards that need not be here: ``python -m tests.kernels.compilation [dtype …]``.

Triton brings its own assembler, so that a kernel that does not compile, or does not fit a card, is seen without one.
Prints a line of JSON for each kernel: its registers, the bytes it spills and its shared memory.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

os.environ["TRITON_INTERPRET"] = "0"
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")

import torch
import triton
from triton.backends import nvidia
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from attention_analyzer.weights.gpu import arguments, columns, launch, rows
from attention_analyzer.weights.reductions import Axes, Entropy, LargestWeight, Reduction
from attention_analyzer.weights.scores import ScoreSource
from tests.kernels.sites import SiteCase, long_case
from tests.kernels.test_row_pass import ALL

_TYPES = {
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.uint8: "*u8",
    torch.int32: "*i32",
}
_TOOL = Path(nvidia.__file__).parent / "bin" / "cuobjdump"


def source_of(kernel: Any, values: tuple[Any, ...]) -> ASTSource:
    """A kernel with the types of its arguments, as a call with them would compile it."""
    signature: dict[str, Any] = {}
    constants: dict[tuple[int, ...], Any] = {}
    attributes: dict[tuple[int, ...], list[list[Any]]] = {}

    def type_of(value: Any, path: tuple[int, ...], fixed: bool) -> Any:
        if isinstance(value, torch.Tensor):
            attributes[path] = [["tt.divisibility", 16]]
            return _TYPES[value.dtype]
        if isinstance(value, tuple):
            return type(value)(*(type_of(part, (*path, at), fixed) for at, part in enumerate(value)))
        if value is None or (fixed and value == 1):
            constants[path] = value
            return "constexpr"
        if isinstance(value, float):
            return "fp32"
        if fixed and value % 16 == 0:
            attributes[path] = [["tt.divisibility", 16]]
        return "i32"

    for at, parameter in enumerate(kernel.params):
        if parameter.is_constexpr:
            constants[at,] = values[at]
            signature[parameter.name] = "constexpr"
        else:
            signature[parameter.name] = type_of(values[at], (at,), not parameter.do_not_specialize)
    return ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes)


def compiled(case: SiteCase, reductions: tuple[Reduction, ...], target: int) -> Iterator[dict[str, Any]]:
    """Each kernel that this request runs, compiled for a compute capability."""
    found: list[dict[str, Any]] = []

    class Compile:
        def __init__(self, kernel: Any) -> None:
            self.kernel = kernel

        def __getitem__(self, grid: object) -> Compile:
            return self

        def __call__(self, *values: Any, num_warps: int) -> None:
            made = triton.compile(
                source_of(self.kernel, values), target=GPUTarget("cuda", target, 32), options={"num_warps": num_warps}
            )
            with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
                file.write(made.asm["cubin"])
                file.flush()
                usage = subprocess.run(
                    [_TOOL, "-res-usage", file.name], capture_output=True, text=True, check=True
                ).stdout
            numbers = {name: int(re.findall(rf"{name}:(\d+)", usage)[-1]) for name in ("REG", "STACK")}
            found.append({"kernel": self.kernel.fn.__name__, **numbers, "shared": made.metadata.shared})

    def on_gpu(source: ScoreSource) -> arguments.Site:
        # On the CPU, where the interpreter runs, bfloat16 becomes float32; here its type must stay.
        parts = {"query": source.query, "key": source.key}
        return made_site(source)._replace(**{name: arguments._strided(part) for name, part in parts.items()})

    def basis(*values: Any) -> arguments.Basis:
        made = made_basis(*values)
        half = values[-1].dtype != torch.float32
        return made._replace(pointer=made.pointer.bfloat16()) if half else made

    made_site, made_basis = launch.site_of, launch.basis_of
    source = case.source
    axes = Axes(
        *(source.batch, source.heads, source.queries, source.keys, case.diagonal),
        valid=torch.ones(source.batch, source.queries, dtype=torch.bool),
        visible=torch.ones(1, 1, source.queries, dtype=torch.int64),
        groups=case.groups,
        labels=case.labels,
    )
    with (
        mock.patch.object(rows, "row_kernel", Compile(rows.row_kernel)),
        mock.patch.object(columns, "column_kernel", Compile(columns.column_kernel)),
        mock.patch.object(launch, "site_of", on_gpu),
        mock.patch.object(launch, "basis_of", basis),
    ):
        launch.gpu_gather(source, reductions, axes)
    yield from found


def main() -> None:
    for target in (80, 90):
        for dtype in [getattr(torch, name) for name in sys.argv[1:] or ("bfloat16", "float16", "float32")]:
            for name, reductions in (("two statistics", (Entropy(), LargestWeight())), ("all", ALL)):
                case = long_case(64, dtype=dtype, upper=0, channels=128)
                for line in compiled(case, reductions, target):
                    print(json.dumps({"target": target, "dtype": str(dtype), "request": name, **line}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
