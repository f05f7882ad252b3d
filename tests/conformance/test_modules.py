"""The table of modules outside of transformers is what was found, and a few of them are found again."""

from __future__ import annotations

import pytest

from tests.conformance import modules
from tests.conformance.module_recipes import RECIPES


def test_the_page_is_what_was_found() -> None:
    findings = modules.load()
    assert modules.RESULTS.with_suffix(".md").read_text(encoding="utf-8") == modules.page(findings)
    assert not [name for name, row in findings.items() if row["state"] == "failed"]
    assert len(findings) == len(RECIPES)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ["TransformerEncoder, padded", "Transformer", "UNet2DConditionModel", "ViT"])
def test_some_are_found_again(name: str) -> None:
    recipe = next(recipe for recipe in RECIPES if recipe.name == name)
    if not modules.is_installed(recipe.package):
        pytest.skip(f"{recipe.package} is not installed")
    found = modules.examine(recipe.name, recipe.package, recipe.build)
    assert found.state == modules.load()[name]["state"]
