"""Linear layers by oneDNN, which multiplies fp32 matrices faster than the library that torch itself calls on a CPU.

torch calls MKL. On processors of AMD that is a sixth slower than oneDNN, which torch has as well and uses for bf16
(`benchmarks/linear.py` measures both).
"""

import platform
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

NAME = "oneDNN"

Linear = Callable[..., torch.Tensor]
"""(x, weight, bias) -> x weight^T + bias."""


def is_faster(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether oneDNN is used: for fp32 on an x86 CPU, if this torch has it.

    Args:
        device: Where the model is.
        dtype: Of its weights.
    """
    return (
        device.type == "cpu"
        and dtype == torch.float32
        and platform.machine() in ("x86_64", "AMD64")
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def name_for(device: torch.device, dtype: torch.dtype) -> str:
    """Return the name of the faster product, as results record it: ``oneDNN``, or ``torch`` for its own.

    Args:
        device: Where the model is.
        dtype: Of its weights.
    """
    return NAME if is_faster(device, dtype) else "torch"


def product_for(device: torch.device, dtype: torch.dtype) -> Linear:
    """Return the faster product: `linear`, or torch's own.

    Args:
        device: Where the model is.
        dtype: Of its weights.
    """
    return linear if is_faster(device, dtype) else functional.linear


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Return x weight^T + bias, (..., out).

    Args:
        x: (..., in), fp32 on a CPU.
        weight: (out, in), as torch has it: in oneDNN's own order it would be some 4 % faster, and in memory twice.
        bias: (out,); None for none.
    """
    product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


class _Linear(torch.nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self.weight, self.bias)


def use_in(model: Any) -> None:
    """Have the linear layers of a model computed by the faster product.

    Args:
        model: A model of transformers; its weights stay as they are.
    """
    if not is_faster(model.device, model.dtype):
        return
    for module in model.modules():
        if type(module) is torch.nn.Linear:
            module.__class__ = _Linear
