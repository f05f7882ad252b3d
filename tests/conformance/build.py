"""A small model of a type, with weights that make its heads differ."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from tests.conformance.inputs import inputs_for, nested
from tests.conformance.recipes import RECIPES, Recipe
from tests.conformance.shrink import LADDER, Step, shrink

MOST_PARAMETERS = 270_000_000
#: Tables that are asked for a type's class, the plainest first.
_TABLES = (
    "MODEL_MAPPING",
    "MODEL_FOR_CAUSAL_LM_MAPPING",
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING",
    "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING",
    "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING",
    "MODEL_FOR_MULTIMODAL_LM_MAPPING",
    "MODEL_FOR_PRETRAINING_MAPPING",
    "MODEL_FOR_OBJECT_DETECTION_MAPPING",
    "MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING",
    "MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING",
    "MODEL_FOR_DEPTH_ESTIMATION_MAPPING",
    "MODEL_FOR_BACKBONE_MAPPING",
)


class NoModelError(Exception):
    """A configuration that belongs to no model of its own."""


class NotHereError(Exception):
    """The type needs a package that is not installed."""


class CannotBuildError(Exception):
    """No step of the ladder gave a model that runs."""


@dataclass
class Built:
    """A model that ran, the inputs it ran with, and the attention implementation that others are compared with."""

    model: nn.Module
    inputs: Mapping[str, Any]
    step: int
    backend: str = "eager"


def build(model_type: str) -> Built:
    """The smallest model of a type that runs on the inputs made for it.

    Raises:
        NotHereError: the type needs a package that is not installed.
        NoModelError: no class takes the type's configuration.
        CannotBuildError: nothing runs; the message is the last error, with where it arose.
    """
    recipe = RECIPES.get(model_type, Recipe(""))
    config_class = CONFIG_MAPPING[model_type]
    model_class = find_class(config_class, recipe)
    if model_class.forward is nn.Module.forward:
        raise NoModelError(f"{model_class.__name__} has no forward: its parts are run one by one")
    errors: dict[str, BaseException] = {}
    for number, step in enumerate(LADDER if recipe.steps is None else [LADDER[i] for i in recipe.steps]):
        try:
            return _at_step(config_class, model_class, recipe, step, number)
        except (MemoryError, KeyboardInterrupt):
            raise
        except ImportError as failure:
            raise NotHereError(" ".join(str(failure).split())[:160]) from failure
        except Exception as failure:  # noqa: BLE001 (any failure of any of 800 types asks for the next step)
            errors.setdefault(told(failure), failure)
    raise CannotBuildError(" · ".join(errors)) from next(iter(errors.values()))


def _at_step(config_class: type, model_class: Any, recipe: Recipe, step: Step, number: int) -> Built:
    """The model of one step of the ladder, with inputs that it ran with; any error says that the step does not fit."""
    config = shrink(recipe.config(config_class) if recipe.config else config_class(), step)
    fit(config)
    if recipe.after:
        recipe.after(config)
    with torch.device("meta"):
        size = sum(p.numel() for p in model_class._from_config(config, attn_implementation=recipe.backend).parameters())
    if size > MOST_PARAMETERS:
        raise CannotBuildError(f"{size / 1e6:.0f} million parameters")
    torch.manual_seed(1)
    model = model_class._from_config(config, attn_implementation=recipe.backend).eval()
    enliven(model)
    return Built(model, _inputs(model, recipe), number, recipe.backend)


def _inputs(model: nn.Module, recipe: Recipe) -> Mapping[str, Any]:
    """Inputs that the model runs with; of the layouts a sound may have, the first that works."""
    for sideways in (False, True):
        try:
            made = inputs_for(model, sideways)
            with torch.no_grad():
                inputs = recipe.inputs(model, made) if recipe.inputs else made
                model(**inputs)
        except Exception:
            if sideways or recipe.inputs:
                raise
        else:
            return inputs
    raise AssertionError


def fit(config: Any) -> None:
    """Bring what belongs together into agreement, in a configuration and all within it."""
    config._experts_implementation = "eager"  # the grouped product wants multiples of four, which tiny experts are not
    for part in nested(config):
        for name, value in list(vars(part).items()):
            if getattr(value, "model_type", "") == "timm_backbone":  # a package that is not needed for anything else
                setattr(part, name, small_backbone(getattr(value, "out_indices", None)))
                part.use_timm_backbone = False
        rope = getattr(part, "rope_parameters", None)
        if isinstance(rope, dict) and "rope_theta" in rope and _uses_sections(type(part)):
            heads = getattr(part, "num_attention_heads", 1)
            width = vars(part).get("head_dim") or part.hidden_size // heads
            half = int(width * (rope.get("partial_rotary_factor") or 1)) // 2
            if sum(rope.get("mrope_section") or (0,)) != half:
                rope["mrope_section"] = [half * 3 // 8, half * 3 // 8, half - 2 * (half * 3 // 8)]


def _uses_sections(config_class: type) -> bool:
    try:
        return "mrope_section" in inspect.getsource(modeling_module(config_class))
    except ModuleNotFoundError:
        return False


def small_backbone(stages: Any) -> Any:
    """A small ResNet that hands on the given stages, as detectors take it."""
    from transformers import ResNetConfig

    return ResNetConfig(
        embedding_size=16,
        hidden_sizes=[16, 32, 48, 64],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_indices=list(stages or [4]),
    )


def told(error: BaseException) -> str:
    """An error in one line: its class, its first line, and the file and line that raised it."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    place = f" ({last.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{last.tb_lineno})" if last else ""
    first_line = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first_line[:160]}{place}"


def enliven(model: nn.Module) -> None:
    """Give matrices weights large enough that attention is far from uniform, so that a wrong score shows."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not parameter.is_floating_point() or not parameter.numel():
                continue
            if parameter.dim() >= 2:
                table = "embed" in name and "time_mlp" not in name  # layers, though they embed the time
                spread = 0.5 if table else parameter[0].numel() ** -0.5
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
            elif "sink" in name or name.endswith("_gate"):  # Mllama's are closed at first
                parameter.copy_(torch.randn(parameter.shape, generator=generator))


def find_class(config_class: type, recipe: Recipe) -> Any:
    """The plainest model class for a configuration."""
    if recipe.model:
        return getattr(modeling_module(config_class), recipe.model)
    for table in _TABLES:
        mapping = getattr(modeling_auto, table)
        try:
            found = mapping[config_class]
        except (KeyError, ValueError, AttributeError):
            continue
        return found[0] if isinstance(found, tuple) else found
    try:
        module = modeling_module(config_class)
    except ModuleNotFoundError as error:
        raise NoModelError(f"{config_class.__name__} has no model code of its own in the library") from error
    own = [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, PreTrainedModel)
        and member.__module__ == module.__name__
        and getattr(member, "config_class", None) is config_class
        and not member.__name__.endswith("PreTrainedModel")
    ]
    if not own:
        raise NoModelError(f"{config_class.__name__} configures a part of another model only")
    return min(own, key=lambda member: (not member.__name__.endswith("Model"), len(member.__name__)))


def modeling_module(config_class: type) -> Any:
    """The module that holds a configuration's models."""
    return importlib.import_module(config_class.__module__.replace(".configuration_", ".modeling_"))
