"""What a server states of itself and its model, cut to the fields that results record."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evalkit.boundary import redaction
from evalkit.boundary.text import printable_name
from evalkit.rerankers.server.protocols import Protocol, about

if TYPE_CHECKING:
    from evalkit.rerankers.server.client import Client

_STATED = ("model_id", "model_sha", "model_dtype", "max_input_length", "max_batch_tokens", "max_client_batch_size",
           "auto_truncate", "version", "sha", "docker_label", "id", "root", "owned_by", "created",
           "max_model_len")  # fmt: skip
"""What is recorded of a server's own description."""
_SHORT = 200
"""Characters of a value of that description."""


def read_facts(client: "Client", protocol: Protocol, address: str, model: str | None) -> dict[str, Any]:
    """Return what a server states of itself, as far as it is recorded.

    Args:
        client: the connection to it.
        protocol: what it speaks.
        address: where it scores.
        model: the model whose facts are taken where it has several.
    """
    found: dict[str, Any] = {}
    for what, where in about(protocol, address).items():
        answer = client.about(where) or {}
        if what == "models":
            data = answer.get("data")
            models = [one for one in data if isinstance(one, Mapping)] if isinstance(data, list) else []
            answer = next((dict(one) for one in models if one.get("id") == model), {})
        elif what == "info":
            found |= {"model_type": kind} if (kind := _kind(answer.get("model_type"))) else {}
        found |= {name: value for name in _STATED if (value := _scalar(answer.get(name))) is not None}
    return found


def short(text: str) -> str:
    """Return a text of a server as it is recorded: one line of 200 characters at most, without secrets."""
    return printable_name(redaction.text(text)[:_SHORT])


def _scalar(value: object) -> str | int | float | None:
    """Return a value of a server's description as it is recorded: one line, and short; None for anything else."""
    if isinstance(value, str):
        return short(value)
    return value if isinstance(value, int | float) and abs(value) < 2**53 else None  # NaN is not below either


def _kind(value: object) -> str | None:
    """Return the kind of model in text-embeddings-inference's ``{"reranker": {...}}``."""
    if isinstance(value, Mapping):
        value = next(iter(value), None)
    return value.lower()[:_SHORT] if isinstance(value, str) else None
