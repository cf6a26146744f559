"""The values of a trial."""

from evalkit.types import Effectiveness


def test_effectiveness_is_a_data_frame_with_a_row_for_each_query() -> None:
    frame = Effectiveness({"nDCG@10": {"q2": 0.5, "q1": 1.0}, "RR@10": {"q1": 0.25, "q2": 0.0}}).to_frame()
    assert frame.index.name == "query_id"
    assert list(frame.columns) == ["nDCG@10", "RR@10"]
    assert frame.to_dict("index")["q1"] == {"nDCG@10": 1.0, "RR@10": 0.25}
    assert frame.to_dict("index")["q2"] == {"nDCG@10": 0.5, "RR@10": 0.0}
    assert frame.mean().to_dict() == {"nDCG@10": 0.75, "RR@10": 0.125}
