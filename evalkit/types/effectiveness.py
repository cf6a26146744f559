"""The values of measures, query by query."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Effectiveness:
    """Values of each measure for each query: measure name -> query_id -> value in [0, 1]."""

    per_query: Mapping[str, Mapping[str, float]]

    def mean(self) -> dict[str, float]:
        """Return measure name -> arithmetic mean over queries, which does not depend on their order."""
        return {name: fmean(values.values()) for name, values in self.per_query.items()}

    def to_frame(self) -> "pd.DataFrame":
        """Return a pandas DataFrame: a row for each query, indexed by its id, and a column for each measure."""
        import pandas as pd

        # object: pandas' own type for texts cannot hold half a character where pyarrow is installed.
        columns = {
            name: pd.Series(list(values.values()), pd.Index(list(values), dtype=object))
            for name, values in self.per_query.items()
        }
        return pd.DataFrame(columns).rename_axis("query_id")
