"""Ctrl-C at any line of an analysis: the model is afterwards what it was before."""

from __future__ import annotations

import gc
import random
import sys
from collections.abc import Callable
from contextlib import suppress
from linecache import getline
from pathlib import Path
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

import pytest
import torch
from torch import nn
from torch.nn.modules import module as torch_module
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack
from transformers import LlamaConfig

import attention_analyzer
from attention_analyzer import AttentionAnalyzer, cleanup
from attention_analyzer.hooks import dispatch_hook, dispatch_modes, flex, forward, interface_hook
from attention_analyzer.hooks.forward import capture_forward
from attention_analyzer.models import eval_mode as eval_mode_module
from attention_analyzer.models.eval_mode import eval_mode
from attention_analyzer.models.loading import from_config

PACKAGE = str(Path(attention_analyzer.__file__).parent)
TEXT = "The cat sat on the mat."
#: Lines at which each analysis is interrupted; drawn anew by a seed, so that every run of the tests tries the same.
POINTS = 3


def lines_run(action: Callable[[], Any], within: str, interrupt_at: int | None = None) -> int:
    """Runs it, counts the lines of files whose path starts with ``within``, and interrupts it at one of them."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.startswith(within):
            return None
        # Python delivers no Ctrl-C between the end of a lock's block and its release, a tracer would.
        if event == "line" and "_lock()" not in getline(frame.f_code.co_filename, frame.f_lineno):
            count += 1
            if count - 1 == interrupt_at:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return count


def places_run(
    action: Callable[[], Any], files: set[Any], interrupt_at: tuple[str, int] | None = None
) -> list[tuple[str, int]]:
    """Runs it and lists the lines of these files that are run; the first time at one of them it is interrupted."""
    places: list[tuple[str, int]] = []

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in files:
            return None
        place = (frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and "_lock()" not in getline(*place):
            places.append(place)
            if place == interrupt_at:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return places


def state_of(model: nn.Module) -> list[Any]:
    """Modes, hooks and switches of all modules."""
    return [
        (
            module.training,
            [parameter.requires_grad for parameter in module.parameters(recurse=False)],
            {name: len(value) for name, value in vars(module).items() if name.endswith("_hooks")},
        )
        for module in model.modules()
    ]


def outputs_of(analyzer: AttentionAnalyzer) -> torch.Tensor:
    """What the model gives in training mode, dropout included."""
    inputs = analyzer.loaded.tokenizer(TEXT, return_tensors="pt")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        found: torch.Tensor = analyzer.model(**inputs)[0]
    return found


def test_an_interrupt_at_any_line_of_switching_modes_leaves_every_module_in_its_own() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Linear(2, 2), nn.Dropout()), nn.Linear(2, 2)).train()
    model[2].eval()
    before = [module.training for module in model.modules()]

    def switch() -> None:
        with eval_mode(model):
            assert not any(module.training for module in model.modules())

    switch()
    lines = lines_run(switch, eval_mode_module.__file__)
    assert lines > 20
    for line in range(lines):
        with pytest.raises(KeyboardInterrupt):
            lines_run(switch, eval_mode_module.__file__, interrupt_at=line)
        assert [module.training for module in model.modules()] == before, f"interrupted at line {line} of {lines}"


def test_an_interrupt_at_any_line_of_opening_and_closing_hooks_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line of every file that opens or closes something, each once."""
    config = LlamaConfig(
        vocab_size=10,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        attn_implementation="sdpa",
    )
    model = from_config(config).model
    inputs = {"input_ids": torch.tensor([[1, 2, 3]])}

    def watched() -> Any:
        monkeypatch.setattr(forward, "_interface_only", WeakKeyDictionary())
        with torch.random.fork_rng(devices=[]):
            return capture_forward(model, inputs, valid=None).sites[0][1].full()

    def left() -> list[Any]:
        return [
            interface_hook._active_hooks.get(),
            dict(interface_hook._blocks),
            set(flex._blocks),
            _get_current_dispatch_mode_stack(),
            *(
                [*getattr(torch_module, name)]
                for name in vars(torch_module)
                if name.startswith("_global") and name.endswith(("_hooks", "_kwargs", "_called"))
            ),
            torch.is_grad_enabled(),
        ]

    expected, before = watched(), left()
    files = {module.__file__ for module in (interface_hook, dispatch_hook, dispatch_modes, flex, cleanup)}
    places = list(dict.fromkeys(places_run(watched, files)))
    assert len(places) > 100
    for place in places:
        with pytest.raises(KeyboardInterrupt):
            places_run(watched, files, interrupt_at=place)
        if left() != before:
            gc.collect()  # what the error's traceback still held
        assert left() == before, f"interrupted at {place}"
    torch.testing.assert_close(watched(), expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["record", "what_if", "token_importance", "generate"])
def test_an_interrupt_at_any_line_of_an_analysis_leaves_the_model_as_it_was(name: str) -> None:
    analyzer = AttentionAnalyzer("demo-decoder", cache=False)
    actions: dict[str, Callable[[], Any]] = {
        "record": lambda: analyzer.record(TEXT),
        "what_if": lambda: analyzer.what_if(TEXT, ablate="L0H0", knock_out="L1H1:3>0"),
        "token_importance": lambda: analyzer.token_importance(TEXT, method="gradient_attention"),
        "generate": lambda: analyzer.generate(TEXT, max_new_tokens=2),
    }
    analyzer.model.train()
    for module in list(analyzer.model.modules())[::3]:
        module.training = False
    config = analyzer.model.config.to_dict()
    state, expected = state_of(analyzer.model), outputs_of(analyzer)
    draws = torch.get_rng_state()
    actions[name]()
    lines = lines_run(actions[name], PACKAGE)
    for line in random.Random(name).sample(range(lines), POINTS):
        with suppress(KeyboardInterrupt):
            lines_run(actions[name], PACKAGE, interrupt_at=line)
        assert state_of(analyzer.model) == state, f"interrupted at line {line} of {lines}"
        assert torch.equal(torch.get_rng_state(), draws), f"interrupted at line {line} of {lines}"
    assert analyzer.model.config.to_dict() == config
    assert torch.equal(outputs_of(analyzer), expected)


@pytest.mark.parametrize(
    "analyze",
    [
        lambda analyzer: analyzer.record(TEXT),
        lambda analyzer: analyzer.token_importance(TEXT, method="gradient_attention"),
        lambda analyzer: analyzer.what_if(TEXT, ablate="L0H0"),
        lambda analyzer: analyzer.effects(TEXT),
    ],
    ids=["record", "token_importance", "what_if", "effects"],
)
def test_an_interrupt_within_torchs_own_switching_leaves_gradients_on(
    analyze: Callable[[AttentionAnalyzer], Any],
) -> None:
    analyzer = AttentionAnalyzer("demo-decoder", cache=False)
    within = torch.autograd.grad_mode.__file__
    lines = lines_run(lambda: analyze(analyzer), within)
    assert lines > 2
    for line in {*range(min(lines, 6)), *random.Random(0).sample(range(lines), min(lines, 6)), lines - 1}:
        try:
            with pytest.raises(KeyboardInterrupt):
                lines_run(lambda: analyze(analyzer), within, interrupt_at=line)
            assert torch.is_grad_enabled(), f"interrupted at line {line} of {lines}"
        finally:
            torch.set_grad_enabled(True)


def test_hooks_in_the_users_own_forward_do_not_switch_gradients_in_a_way_that_can_be_interrupted() -> None:
    """No call of the package is around its hooks there, so they have no line at which an interrupt would do harm."""
    model = from_config(
        LlamaConfig(
            vocab_size=10,
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
        )
    ).model
    ids = torch.tensor([[1, 2, 3]])
    within = torch.autograd.grad_mode.__file__
    of_the_model_alone = lines_run(lambda: model(input_ids=ids), within)
    with attention_analyzer.capture(model):
        assert lines_run(lambda: model(input_ids=ids), within) == of_the_model_alone
