"""From what people have in their hands to the model inside it, with its tokenizer.

A pipeline, a sentence encoder, an adapter, a data-parallel or compiled model: each holds the module whose attention is
meant. One table says how each kind is taken off; :func:`unwrap` applies it until nothing is left to take off. Nothing
is imported to recognize a wrapper: its class says where it comes from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from attention_analyzer.errors import InputError, UnsupportedModelError

#: PEFT's kinds of learned prompts that stand before the text, as keys and values or as embeddings.
_BEFORE_TEXT = ("PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING")


@dataclass(frozen=True)
class Inside:
    """What a wrapper holds.

    Attributes:
        model: the wrapped object: a module, or another wrapper.
        text_side: the tokenizer or processor that the wrapper holds, or None.
    """

    model: Any
    text_side: Any = None


@dataclass(frozen=True)
class Unwrapped:
    """A bare module.

    Attributes:
        model: the module inside all wrappers.
        text_side: the tokenizer or processor of the outermost wrapper that holds one, or None.
        wrappers: class names of what was taken off, outermost first.
    """

    model: nn.Module
    text_side: Any = None
    wrappers: tuple[str, ...] = ()


def _comes_from(given: Any, package: str, name: str | None = None) -> bool:
    """Whether a class of a package (of this name, if one is given) is among the object's classes."""
    return any(
        kind.__module__.partition(".")[0] == package and name in (None, kind.__name__) for kind in type(given).__mro__
    )


def _text_side(holder: Any) -> Any:
    tokenizer = getattr(holder, "tokenizer", None)
    return getattr(holder, "processor", None) if tokenizer is None else tokenizer


def _compiled(given: Any) -> Inside | None:
    inner = getattr(given, "_orig_mod", None)
    return Inside(inner) if isinstance(inner, nn.Module) else None


def _parallel(given: Any) -> Inside | None:
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    return Inside(given.module) if isinstance(given, wrappers) else None


def _sharded(given: Any) -> Inside | None:
    """FSDP's outermost wrapper. Where several processes share the weights, they are whole only in its own forward.

    Raises:
        UnsupportedModelError: this process has only a part of the weights.
    """
    if not _comes_from(given, "torch", "FullyShardedDataParallel"):
        return None
    if given.world_size > 1:
        raise UnsupportedModelError(
            f"{type(given).__name__} shares its weights among {given.world_size} processes, so none of them holds the "
            "model; load a checkpoint of it in one process."
        )
    return Inside(given.module)


def virtual_tokens(model: Any) -> int:
    """How many learned virtual tokens a PEFT model puts before every text (prefix, prompt and P-tuning); 0 without."""
    if not _comes_from(model, "peft", "PeftModel"):
        return 0
    settings = model.active_peft_config
    known = settings.is_prompt_learning and settings.peft_type.value in _BEFORE_TEXT
    two_stacks = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    return int(settings.num_virtual_tokens) if known and not two_stacks else 0


def _adapter(given: Any) -> Inside | None:
    """A PEFT model. Adapters lie inside the layers of the model; learned prompts belong to the wrapper itself.

    Raises:
        UnsupportedModelError: its virtual tokens have no place that is known.
    """
    if not _comes_from(given, "peft", "PeftModel"):
        return None
    settings = given.active_peft_config
    if virtual_tokens(given):
        return None  # the wrapper puts them in, so it is the model
    if settings.is_prompt_learning:
        count = getattr(settings, "num_virtual_tokens", None) or "some"
        raise UnsupportedModelError(
            f"{type(given).__name__} puts {count} learned virtual tokens ({settings.peft_type.value}) where they "
            "cannot be told from those of the text; pass model.get_base_model() to see the model without them."
        )
    return Inside(given.get_base_model())


def _value_head(given: Any) -> Inside | None:
    return Inside(given.pretrained_model) if _comes_from(given, "trl", "PreTrainedModelWrapper") else None


def _pipeline(given: Any) -> Inside | None:
    return Inside(given.model, _text_side(given)) if _comes_from(given, "transformers", "Pipeline") else None


def _trainer(given: Any) -> Inside | None:
    if not _comes_from(given, "transformers", "Trainer"):
        return None
    return Inside(given.model, getattr(given, "processing_class", None))


def _diffusion_pipeline(given: Any) -> Inside | None:
    if not _comes_from(given, "diffusers", "DiffusionPipeline"):
        return None
    inner = getattr(given, "transformer", None) or getattr(given, "unet", None)
    return None if inner is None else Inside(inner)


def _sentence_encoder(given: Any) -> Inside | None:
    """Sentence-transformers' models are chains, of which one part holds the transformer."""
    if not _comes_from(given, "sentence_transformers") or not isinstance(given, nn.Module):
        return None
    for part in (given, *given.children()):
        for name in ("auto_model", "model"):
            inner = getattr(part, name, None)
            if isinstance(inner, nn.Module):
                return Inside(inner, _text_side(part))
    return None


def _set_fit(given: Any) -> Inside | None:
    return Inside(given.model_body) if _comes_from(given, "setfit", "SetFitModel") else None


def _training_module(given: Any) -> Inside | None:
    """A training module (Lightning's, or one like it) around one model that bears all its weights, as ``.model``."""
    inner = getattr(given, "model", None) if isinstance(given, nn.Module) else None
    if not isinstance(inner, nn.Module) or hasattr(given, "config"):
        return None
    is_lightning = any(_comes_from(given, package) for package in ("lightning", "pytorch_lightning"))
    bears_all = _weights(inner) == _weights(given)
    return Inside(inner, _text_side(given)) if bears_all and (is_lightning or hasattr(inner, "config")) else None


def _weights(module: nn.Module) -> set[int]:
    return {id(tensor) for tensor in module.parameters()}


#: Each takes one kind of wrapper off, or says None.
UNWRAPPERS: tuple[Callable[[Any], Inside | None], ...] = (
    _compiled,
    _parallel,
    _sharded,
    _adapter,
    _value_head,
    _pipeline,
    _trainer,
    _diffusion_pipeline,
    _sentence_encoder,
    _set_fit,
    _training_module,
)


def unwrap(given: Any) -> Unwrapped:
    """The module inside an object, with the tokenizer or processor that was found on the way.

    Raises:
        InputError: there is no model in it.
        UnsupportedModelError: the wrapper changes what the model computes, so it cannot be taken off.
    """
    current, text_side, wrappers = given, None, list[str]()
    while True:
        inside = next((found for take_off in UNWRAPPERS if (found := take_off(current)) is not None), None)
        if inside is None:
            break
        wrappers.append(type(current).__name__)
        text_side = inside.text_side if text_side is None else text_side
        current = inside.model
    if not isinstance(current, nn.Module):
        raise InputError(_no_model(current))
    return Unwrapped(current, text_side, tuple(wrappers))


def _no_model(given: Any) -> str:
    """One sentence that says what was given instead of a model, and what to pass."""
    kind = type(given).__name__
    if isinstance(given, type):
        return f"The class {given.__name__} was given where a model is expected; pass an instance of it."
    if isinstance(given, (tuple, list)) and any(isinstance(part, nn.Module) for part in given):
        return f"A {kind} was given where a model is expected; pass its parts: AttentionAnalyzer(model, tokenizer)."
    if isinstance(given, dict) and any(isinstance(part, nn.Module) for part in given.values()):
        return f"A {kind} was given where a model is expected; pass the model in it, and tokenizer=… for its tokenizer."
    if callable(getattr(given, "convert_ids_to_tokens", None)):
        return f"A tokenizer ({kind}) was given where a model is expected; pass AttentionAnalyzer(model, tokenizer)."
    return (
        f"An object of type {kind} was given where a model is expected; pass a name, a folder, a torch.nn.Module or "
        "what holds one (a pipeline, a SentenceTransformer, a PEFT model)."
    )
