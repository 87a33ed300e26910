"""The parts of a model that can be personal, by name: the personalization architectures of Pillutla et al., ICML 2022.

    output        the last layer                          input     the first layer
    norm          all normalization layers                adapters  all adapters that `models/adapters.py` inserted
    local-model   the local one of combined predictions (`models/combined.py`)
    all           the whole model                         none      nothing

A part is a tuple of patterns (fnmatch) of parameter names. First and last are meant in the order in which the model
registers its layers. A model whose `personal_parts()` returns such patterns by part adds to these, or replaces them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from decentralized.lazy import torch

if TYPE_CHECKING:
    from torch import nn


def personal_parts(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Patterns of parameter names for each part that the model has."""
    from decentralized.models.layers.adapter import Adapter  # imports torch

    inside = [f"{name}." for name, module in model.named_modules() if isinstance(module, Adapter)]
    layers = [
        (name, module)
        for name, module in model.named_modules()
        if next(module.parameters(recurse=False), None) is not None and not name.startswith(tuple(inside))
    ]
    norms = tuple(_below(name) for name, module in layers if _normalizes(module))
    parts: dict[str, tuple[str, ...]] = {"all": ("*",), "none": ()}
    if layers:
        parts |= {"output": (_below(layers[-1][0]),), "input": (_below(layers[0][0]),)}
    if norms:
        parts["norm"] = norms
    if inside:
        parts["adapters"] = tuple(f"{name}*" for name in inside)
    own: Mapping[str, tuple[str, ...]] = getattr(model, "personal_parts", dict)()
    return {**parts, **own}


def _below(layer: str) -> str:
    return f"{layer}.*" if layer else "*"


def _normalizes(module: nn.Module) -> bool:
    kinds = torch.nn.modules.batchnorm._NormBase, torch.nn.GroupNorm, torch.nn.LayerNorm
    return isinstance(module, kinds)
