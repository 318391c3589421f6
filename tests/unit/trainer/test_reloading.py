import pytest

from customizer_contract.errors import CustomizerError, Reason
from customizer_trainer.reloading import Reloaded, Row, judge, pick_rows


def rows(*losses: float, all_rows: bool = True) -> Reloaded:
    return Reloaded(rows=[Row(loss=loss, tokens=10) for loss in losses], all_rows=all_rows)


RIGHT: dict[str, tuple[Reloaded, float | None, bool]] = {
    "the same": (rows(1.0, 2.0), 1.5, False),
    "another data type": (rows(1.0, 2.0), 1.55, False),
    "some rows of many, by chance": (rows(1.0, 2.0, 1.4, 1.6, all_rows=False), 1.9, False),
    "one row of many, which says nothing": (rows(1.0, all_rows=False), 3.0, False),
    "beside weights that were quantized": (rows(1.0, 2.0), 1.9, True),
    "nothing that it could be compared with": (rows(1.0, 2.0), None, False),
}


@pytest.mark.parametrize(("reloaded", "expected", "quantized"), RIGHT.values(), ids=RIGHT.keys())
def test_a_result_is_right_with(reloaded: Reloaded, expected: float | None, quantized: bool) -> None:
    assert judge(reloaded, expected, quantized=quantized) > 0


WRONG: dict[str, tuple[Reloaded, float | None]] = {
    "another loss": (rows(1.0, 2.0), 1.8),
    "a better one, too": (rows(1.0, 2.0), 1.2),
    "more than chance": (rows(1.0, 1.1, 0.9, 1.0, all_rows=False), 2.0),
    "no number": (rows(float("nan")), None),
}


@pytest.mark.parametrize(("reloaded", "expected"), WRONG.values(), ids=WRONG.keys())
def test_a_result_is_refused_with(reloaded: Reloaded, expected: float | None) -> None:
    with pytest.raises(CustomizerError, match="Loaded again") as raised:
        judge(reloaded, expected, quantized=False)
    assert raised.value.reason is Reason.RESULT_MISMATCH


@pytest.mark.parametrize(("count", "picked"), [(3, [0, 1, 2]), (24, list(range(24))), (100, list(range(0, 100, 5)))])
def test_rows_are_picked_from_all_over_the_data(count: int, picked: list[int]) -> None:
    assert pick_rows(range(count)) == picked
