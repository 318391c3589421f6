import pytest

from customizer_contract.errors import CustomizerError, Reason
from customizer_trainer.storage.patience import patiently


class Store:
    """Does not answer for so many seconds, of a clock that only pauses move."""

    def __init__(self, away_seconds: float, reason: Reason = Reason.STORAGE_UNAVAILABLE) -> None:
        self.now = 0.0
        self._away_seconds = away_seconds
        self._reason = reason

    def ask(self) -> float:
        if self.now < self._away_seconds:
            raise CustomizerError(self._reason, "as told")
        return self.now

    def pause(self, seconds: float) -> bool:
        self.now += seconds
        return False


@pytest.mark.parametrize("minutes", [0, 1, 2, 4])
def test_a_store_that_is_away_for_minutes_is_waited_for_and_not_half_a_minute_longer(minutes: int) -> None:
    store = Store(minutes * 60)
    assert minutes * 60 <= patiently(store.ask, "ask", store.pause) < minutes * 60 + 30


def test_a_store_that_stays_away_is_given_up() -> None:
    store = Store(3600)
    with pytest.raises(CustomizerError):
        patiently(store.ask, "ask", store.pause)
    assert 300 <= store.now < 330


def test_what_waiting_does_not_mend_is_not_waited_for() -> None:
    store = Store(60, Reason.ACCESS_DENIED)
    with pytest.raises(CustomizerError):
        patiently(store.ask, "ask", store.pause)
    assert store.now == 0


def test_one_who_has_no_time_left_gives_up_at_once() -> None:
    store = Store(60)
    with pytest.raises(CustomizerError):
        patiently(store.ask, "ask", lambda seconds: True)
