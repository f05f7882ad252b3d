"""Gradient importance: how much the loss would feel a head fade (Michel et al. 2019, equation 2).

``I_h = E_x |Att_h(x)ᵀ ∂L(x)/∂Att_h(x)|``: the loss's derivative along the head's own output. That is the derivative by
a factor on the head's output, taken at one; so a factor of one is put there, which changes no bit, and its gradient is
asked for. Nothing else gets a gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

from attention_analyzer.errors import Option, UnsupportedModelError
from attention_analyzer.heads.eval_batches import Trial
from attention_analyzer.interventions.apply import seeing
from attention_analyzer.interventions.call_index import same_draws
from attention_analyzer.models.loaded import LoadedModel
from attention_analyzer.models.quantized import gradients_needed
from attention_analyzer.progress import OnProgress, ProgressCounter
from attention_analyzer.site import Site


def gradients(loaded: LoadedModel, trials: list[Trial], progress: OnProgress | None = None) -> Tensor:
    """``[text, head of all sites]``, float64: the loss's derivative by a factor on each head's output.

    Raises:
        UnsupportedModelError: the model predicts nothing that has a loss, or is quantized and passes no gradients on.
    """
    if trials[0].task == "representation":
        raise UnsupportedModelError(
            f"{type(loaded.model).__name__} has no prediction and so no loss to differentiate",
            [Option("method", "'ablation'", "use {}"), "load it with its head"],
        )
    parts = []
    steps = ProgressCounter(len(trials), progress)
    for trial in trials:
        parts.append(_gradients(loaded, trial))
        steps.advance()
    return torch.cat(parts)


def _gradients(loaded: LoadedModel, trial: Trial) -> Tensor:
    factors: list[tuple[Site, Tensor]] = []

    def see(site: Site, output: Tensor) -> Tensor:
        # A tower that attends in windows has several rows a text.
        factor = torch.ones(trial.texts, output.shape[2], dtype=output.dtype, device=output.device, requires_grad=True)
        factors.append((site, factor))
        return output * factor.repeat_interleave(output.shape[0] // trial.texts, 0)[:, None, :, None]

    with seeing(loaded, trial.order, see) as model, torch.enable_grad(), gradients_needed(model):
        measured = trial.measure(same_draws(model, trial.inputs))
        found = torch.autograd.grad(measured.sum(), [factor for _, factor in factors], allow_unused=True)
    by_site = {site.name: torch.zeros(trial.texts, site.heads, dtype=torch.float64) for site in trial.order.sites}
    for (site, _), gradient in zip(factors, found, strict=True):
        if gradient is not None:
            by_site[site.name] += gradient.detach().double().cpu()
    return torch.cat([by_site[site.name] for site in trial.order.sites], dim=1)
