"""The forward pass of a graph: pairs of equal length are computed together, so that nothing is padded."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from evalkit.scoring.runtime.session import Feeds, Session
from evalkit.scoring.tokenized_pairs import Batch


class GraphModel:
    """A cross-encoder as a graph in a runtime; token ids and logits are on the host, wherever the runtime computes."""

    device = torch.device("cpu")

    def __init__(self, session: Session, name: str, pair_by_pair: bool = False, batch_a_thread: bool = True) -> None:
        """Wrap a loaded graph.

        Args:
            session: The graph.
            name: The runtime and its version, as results record it.
            pair_by_pair: Whether each pair is computed alone, for a graph whose scores depend on the batch.
            batch_a_thread: Whether each thread computes a batch of its own; else the runtime shares one among them.
        """
        self.name = name
        self.batch_a_thread = batch_a_thread
        self._session = session
        self._pair_by_pair = pair_by_pair

    def inputs(self, batch: Batch) -> tuple[list[Feeds]]:
        """Return the inputs of each call: one for each run of pairs of equal length.

        Args:
            batch: The pairs.
        """
        starts = np.concatenate([[0], np.cumsum(batch.lengths)])
        edges = np.arange(1, len(batch.lengths)) if self._pair_by_pair else np.flatnonzero(np.diff(batch.lengths)) + 1
        bounds = [0, *edges.tolist(), len(batch.lengths)]
        calls = [self._feeds(batch, slice(starts[i], starts[j]), j - i) for i, j in pairwise(bounds)]
        return (calls,)

    def _feeds(self, batch: Batch, tokens: slice, pairs: int) -> Feeds:
        ids = batch.ids[tokens].astype(np.int64).reshape(pairs, -1)
        values: dict[str, npt.NDArray[np.int64]] = {"input_ids": ids}
        if "attention_mask" in self._session.inputs:
            values["attention_mask"] = np.ones_like(ids)
        if "token_type_ids" in self._session.inputs:
            values["token_type_ids"] = batch.type_ids[tokens].astype(np.int64).reshape(pairs, -1)
        return values

    def forward(self, calls: list[Feeds]) -> torch.Tensor:
        """Return the fp32 logits of a batch, (pairs,).

        Args:
            calls: As `inputs` returns them.

        Raises:
            MemoryError: memory does not suffice.
        """
        return torch.from_numpy(np.concatenate([self._session.run(feeds) for feeds in calls]))

    def computed_tokens(self, batch: Batch) -> int:
        """Return the tokens that go through the layers.

        Args:
            batch: The pairs.
        """
        return len(batch.ids)
