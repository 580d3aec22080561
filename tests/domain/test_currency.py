"""Amounts of a currency's smallest unit: cents, whole yen, thousandths of a dinar."""

import pytest

from shared.domain.currency import nanos_of, smallest_units_of
from shared.domain.errors import InvalidAmountError

NANOS = 10**9


@pytest.mark.parametrize(
    ("amount", "currency", "nanos"),
    [(2_500, "usd", 25 * NANOS), (2_500, "jpy", 2_500 * NANOS), (2_500, "kwd", 5 * NANOS // 2)],
)
def test_the_same_number_is_another_amount_in_another_currency(
    amount: int, currency: str, nanos: int
) -> None:
    assert nanos_of(amount, currency) == nanos_of(amount, currency.upper()) == nanos
    assert smallest_units_of(nanos, currency) == amount


def test_a_fraction_of_the_smallest_unit_is_refused() -> None:
    with pytest.raises(InvalidAmountError):
        smallest_units_of(10**7 + 1, "usd")
