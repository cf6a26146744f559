"""FLOPs and predicted memory are those of the formulas, worked out by hand."""

import pytest

from evalkit.scoring.flops import ModelShape, activation_bytes, forward_flops, predicted_peak_mb

XLMR_LARGE = ModelShape(24, 1024, 4096, 16, 567_755_777)
MINILM_L6 = ModelShape(6, 384, 1536, 12, 22_713_601)


def test_flops_of_xlmr_large_and_minilm() -> None:
    # 24 layers x 2 x (4 x 1024^2 + 2 x 1024 x 4096) = 603,979,776 a token, and 24 x 4 x 1024 = 98,304 a token squared.
    assert forward_flops(XLMR_LARGE, [10]) == 603_979_776 * 10 + 98_304 * 100
    # 6 x 2 x (4 x 384^2 + 2 x 384 x 1536) = 21,233,664, and 6 x 4 x 384 = 9,216; pairs add up.
    assert forward_flops(MINILM_L6, [3, 2]) == 21_233_664 * 5 + 9_216 * (9 + 4)
    assert forward_flops(MINILM_L6, []) == 0


def test_predicted_memory_is_weights_and_ten_hidden_states_per_token() -> None:
    assert activation_bytes(XLMR_LARGE, 2) == 20 * 1024  # 20 KiB a token at half precision
    assert predicted_peak_mb(XLMR_LARGE, 2, 16384) == pytest.approx(567_755_777 * 2 / 2**20 + 320)
