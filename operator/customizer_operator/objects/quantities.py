"""Amounts of a resource, as Kubernetes writes them."""

import re
from decimal import ROUND_CEILING, Decimal

_PARTS = re.compile(r"^(?P<number>[0-9.]+)(?P<unit>.*)$")
_UNITS = {
    "": Decimal(1),
    **{unit: Decimal(1000) ** -power for power, unit in enumerate("mun", 1)},
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", 1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)},
}


def count_bytes(quantity: str) -> int:
    """Returns 80Gi, 80G or 8e10 as a whole number of bytes, rounded up."""
    match = _PARTS.match(quantity)
    if match is None:
        raise ValueError(f"{quantity} is no quantity")
    unit = match["unit"]
    factor = _UNITS[unit] if unit in _UNITS else Decimal(f"1{unit}")
    return int((Decimal(match["number"]) * factor).to_integral_value(ROUND_CEILING))
