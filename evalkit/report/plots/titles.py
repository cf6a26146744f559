"""Titles and captions of a trial's pictures, shared by the pictures, Markdown and HTML."""

from evalkit.results.schema import Result

NOTES = {
    "before_after": "Above, means over the queries; below, the changes on a scale of their own. An interval (Student's "
    "t) is cut where the measure would pass 0 or its ceiling; the table has the uncut ends.",
    "changes": "Each query is one step, the largest gain on the left and the largest loss on the right.",
    "depths": "The ceiling is that of the largest depth, the trial's own.",
    "blend": "The best weight of the curve was chosen on the queries that it is measured on; the figure at weights "
    "chosen on other queries was not.",
    "scores": "The share of each grade's pairs over the reranker's logit, with its median.",
    "reliability": "On the dashed line the sigmoid of a logit would be the probability that the passage is relevant; "
    "below, how many judged pairs each bin has.",
    "latency": "Each dot is one timed query; its height has no meaning. Below, the percentiles of these samples. "
    "Outliers are drawn at the edge, with their value above.",
    "latency_grid": "Points are medians, bars go from the fastest to the slowest sample.",
    "load": "Each load is two points, one above the other. Where the line turns upwards the reranker is saturated: "
    "more load makes queries wait, and answers no more of them. A load whose p99 is not known is left out.",
}
"""name of a picture -> its caption."""


def title(name: str, result: Result) -> str:
    """Return what a picture of a trial shows, with the unit of what it shows.

    Args:
        name: name of the picture; an unknown name is its own title.
        result: a finished trial.
    """
    main = next(iter(result.effectiveness.delta), "")
    return {
        "before_after": "Quality before and after reranking",
        "changes": f"Change of {main}, query by query",
        "depths": f"{main} by the number of candidates reranked",
        "blend": f"{main} by the weight of the reranker in a blend",
        "scores": "Logits by grade",
        "reliability": "Relevant share by the sigmoid of the logit",
        "latency": "Latency of single queries, ms",
        "latency_grid": "Latency by passages and by length, ms",
        "load": "Latency under load, ms",
    }.get(name, name)
