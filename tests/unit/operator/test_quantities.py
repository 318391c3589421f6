import pytest

from customizer_operator.objects.quantities import count_bytes

AMOUNTS = {
    "80Gi": 80 * 2**30,
    "80G": 80 * 10**9,
    "1.5Ki": 1536,
    "8e10": 8 * 10**10,
    "8E3": 8000,
    "2E": 2 * 10**18,
    "2Ei": 2 * 2**60,
    "12": 12,
    "1500m": 2,
    "3n": 1,
}


@pytest.mark.parametrize(("quantity", "count"), AMOUNTS.items(), ids=AMOUNTS.keys())
def test_a_quantity_is_a_number_of_bytes(quantity: str, count: int) -> None:
    assert count_bytes(quantity) == count


def test_what_is_no_quantity_is_refused() -> None:
    with pytest.raises(ValueError, match="much is no quantity"):
        count_bytes("much")
