"""The choice between the packed and the padded forward pass."""

from evalkit.boundary.errors import EvalkitError

PATHS = ("auto", "packed", "padded")


def check_path(requested: str) -> None:
    """Check the name of a forward path.

    Args:
        requested: The value of `reranker.path`.

    Raises:
        EvalkitError: there is no such path.
    """
    if requested not in PATHS:
        raise EvalkitError(f"reranker.path={requested}: there is {', '.join(PATHS)}")


def choose_path(requested: str, not_packable: str | None, compiled: bool, model: str) -> str:
    """Return ``packed`` or ``padded``.

    Args:
        requested: ``packed``, ``padded``, or ``auto`` for packed if the model supports it.
        not_packable: Why the model does not support the packed path; None if it does.
        compiled: Whether torch.compile is requested, which the padded path does not support.
        model: The model's name, for messages.

    Raises:
        EvalkitError: there is no such path, or this model does not support it.
    """
    check_path(requested)
    if requested == "packed" and not_packable:
        raise EvalkitError(
            f"reranker.path=packed: {model} cannot be packed, for {not_packable}; use reranker.path=padded"
        )
    path = "padded" if requested == "padded" or not_packable else "packed"
    if compiled and path == "padded":
        raise EvalkitError("reranker.compile=true: only the packed path is compiled; use reranker.compile=false")
    return path
