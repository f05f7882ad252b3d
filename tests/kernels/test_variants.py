"""The libraries that wheels carry: each gives the plain pass's numbers, and the best for the processor is chosen."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from attention_analyzer.weights.cpu import compiled, fused, variants
from attention_analyzer.weights.cpu.compiled import RowPass, load_library, row_pass
from attention_analyzer.weights.cpu.variants import FLAGS, VARIANTS, Variant, prebuilt
from tests.kernels.sites import long_case
from tests.kernels.test_row_pass import assert_same, compiled_pass, plain

CAPABILITY = torch.backends.cpu.get_cpu_capability()
COMPILER = next((found for name in ("g++", "clang++") if (found := shutil.which(name))), "")
needs_compiler = pytest.mark.skipif(not COMPILER, reason="no C++ compiler is on the path")


@needs_compiler
@pytest.mark.parametrize("variant", variants.variants(), ids=lambda variant: variant.name)
def test_each_library_gives_the_same_numbers(variant: Variant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if CAPABILITY not in variant.capabilities:
        pytest.skip(f"this processor ({CAPABILITY}) cannot run {variant.name}")
    made = tmp_path / variant.path.name
    command = [COMPILER, *FLAGS, *variant.flags, "-o", str(made), str(compiled.SOURCE)]
    subprocess.run(command, check=True, capture_output=True)
    library = load_library(made)
    monkeypatch.setattr(fused, "row_pass", lambda: RowPass(library, "this variant"))
    for case in (long_case(150), long_case(97, keys=131, upper=34), long_case(70, lower=-9, upper=0)):
        assert_same(compiled_pass(case), plain(case), 2e-5)


def test_the_fastest_that_fits_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variants, "FOLDER", tmp_path)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert prebuilt("AVX512") is None
    for variant in VARIANTS["x86_64"]:
        variant.path.touch()
    assert [prebuilt(name).stem for name in ("AVX512", "AVX2", "DEFAULT")] == [  # type: ignore[union-attr]
        "row_pass-avx512", "row_pass-avx2", "row_pass-baseline",
    ]  # fmt: skip
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert prebuilt("DEFAULT") is None


@needs_compiler
def test_a_damaged_library_is_built_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "row_pass-broken.so"
    broken.write_bytes(b"\x7fELF and no more")
    monkeypatch.setattr(compiled, "prebuilt", lambda _: broken)
    monkeypatch.delenv(compiled.VARIABLE, raising=False)
    row_pass.cache_clear()
    try:
        found = row_pass()
        assert found.library is not None and "compiled pass is used" in found.reason
    finally:
        row_pass.cache_clear()
