"""Settings that cannot win are dropped, and the best one hardly ever is."""

import random

import pytest

from evalkit.evaluation.racing import level, worse_than_best


def test_the_levels_of_all_looks_sum_to_less_than_alpha() -> None:
    assert [level(0.08, look) for look in (1, 2, 3)] == pytest.approx([0.04, 0.02, 0.01])
    assert sum(level(0.05, look) for look in range(1, 50)) <= 0.05


def test_a_setting_is_dropped_by_a_one_sided_paired_t_test_at_the_corrected_level() -> None:
    queries = [f"q{n}" for n in range(12)]
    good = {query_id: 0.5 + n / 100 for n, query_id in enumerate(queries)}
    bad = {query_id: value - 0.1 - (n % 2) / 50 for n, (query_id, value) in enumerate(good.items())}
    near = {query_id: value - (n % 2) / 50 for n, (query_id, value) in enumerate(good.items())}
    # Differences of 0.1 and 0.12: mean 0.11, deviation 0.010445, t(11) = 36.5; of 0 and 0.02: t(11) = 3.3166, p 0.0034.
    found = worse_than_best({"good": good, "bad": bad, "near": near}, alpha=0.05, look=1)
    assert found.keys() == {"bad", "near"}
    assert found["near"] == pytest.approx(0.00343, abs=1e-5)
    assert worse_than_best({"good": good, "bad": bad, "near": near}, alpha=0.05, look=4).keys() == {"bad"}  # 0.0016


def test_nine_queries_drop_nothing_and_equal_settings_stay() -> None:
    nine = {f"q{n}": float(n) for n in range(9)}
    assert worse_than_best({"a": nine, "b": dict.fromkeys(nine, -1.0)}, 0.05, 1) == {}
    twelve = {f"q{n}": n / 12 for n in range(12)}
    assert worse_than_best({"a": twelve, "b": dict(twelve)}, 0.05, 1) == {}


def test_over_several_looks_the_best_setting_is_dropped_in_at_most_alpha_of_the_races() -> None:
    rng, lost, dropped = random.Random(0), 0, 0
    for _ in range(200):
        true = {number: 0.6 - (0.0 if number == 0 else rng.uniform(0.0, 0.05)) for number in range(8)}
        racing = {number: {} for number in true}  # type: dict[int, dict[str, float]]
        for look, size in enumerate((25, 50, 100, 200), 1):
            for n in range(size):
                for number, of in racing.items():
                    of.setdefault(f"q{n}", true[number] + rng.gauss(0, 0.1))
            gone = worse_than_best(racing, 0.05, look)
            dropped += len(gone)
            lost += 0 in gone
            racing = {number: of for number, of in racing.items() if number not in gone}
    assert lost <= 10
    assert dropped > 200  # and it does drop
