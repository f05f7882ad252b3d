"""The bundled models, loaded once by plain transformers from their folders."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, AutoTokenizer

from demo_models.publishing import BUNDLED

# Everyday English written for these tests, so that no training text holds it.
EVERYDAY = [
    "The old man walked slowly to the window and looked out at the rain.",
    "She put the bread on the table and asked her son to wash his hands.",
    "It was a cold morning, and nobody wanted to leave the house.",
    "My sister has a little dog that sleeps under her bed every night.",
    "He opened the door, saw the letter on the floor, and began to laugh.",
    "When the children came home from school, they were tired and hungry.",
    "They sat by the fire and talked about their friends until it was dark.",
    "I do not know where he went, but I think he will come back soon.",
]


@pytest.fixture
def uncompiled() -> Iterator[None]:
    """Training steps run as written: compiling them takes longer than the few steps of a test."""
    threads = torch.get_num_threads()
    torch.compiler.set_stance("force_eager")
    yield
    torch.compiler.set_stance("default")
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def everyday() -> list[str]:
    return EVERYDAY


@pytest.fixture(scope="session")
def encoder():
    folder = BUNDLED / "demo-encoder"
    return AutoModelForMaskedLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="session")
def decoder():
    folder = BUNDLED / "demo-decoder"
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    return model.eval(), AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="session")
def translator():
    folder = BUNDLED / "demo-translator"
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, attn_implementation="eager")
    return model.eval(), AutoTokenizer.from_pretrained(folder)
