"""Money is an int of nanos; there is one rounding, half to even, and a text that is no amount is refused."""

from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.errors import InvalidAmountError
from shared.domain.money import (
    MAX_AMOUNT_NANOS,
    NANOS_PER_DOLLAR,
    divide_half_even,
    format_dollars,
    parse_dollars,
    parse_percent,
)

amounts = st.integers(-(10**30), 10**30)
denominators = st.integers(1, 10**18)


@given(amounts, denominators)
def test_division_rounds_as_exact_fractions_do(numerator: int, denominator: int) -> None:
    assert divide_half_even(numerator, denominator) == round(Fraction(numerator, denominator))


@given(amounts, st.integers(0, 18))
def test_division_by_powers_of_ten_rounds_as_decimals_do(numerator: int, exponent: int) -> None:
    with localcontext(prec=80):
        exact = Decimal(numerator).scaleb(-exponent)
        assert divide_half_even(numerator, 10**exponent) == int(exact.quantize(Decimal(1), ROUND_HALF_EVEN))


@given(amounts, denominators)
def test_a_tie_goes_to_the_even_neighbour(whole: int, half: int) -> None:
    rounded = divide_half_even((2 * whole + 1) * half, 2 * half)
    assert rounded in (whole, whole + 1)
    assert rounded % 2 == 0


@pytest.mark.parametrize(
    ("numerator", "rounded"),
    [(-7, -4), (-5, -2), (-3, -2), (-1, 0), (0, 0), (1, 0), (3, 2), (5, 2), (7, 4)],
)
def test_halves_round_to_even(numerator: int, rounded: int) -> None:
    assert divide_half_even(numerator, 2) == rounded


@given(amounts, denominators)
def test_rounding_is_never_off_by_more_than_a_half(numerator: int, denominator: int) -> None:
    error = divide_half_even(numerator, denominator) - Fraction(numerator, denominator)
    assert abs(error) <= Fraction(1, 2)


@given(amounts, denominators)
def test_rounding_has_no_bias_towards_a_sign(numerator: int, denominator: int) -> None:
    assert divide_half_even(-numerator, denominator) == -divide_half_even(numerator, denominator)


@given(st.integers(-MAX_AMOUNT_NANOS, MAX_AMOUNT_NANOS))
def test_what_is_formatted_is_read_back_to_the_nano(nanos: int) -> None:
    assert parse_dollars(format_dollars(nanos), allow_negative=True) == nanos


@given(st.integers(-(10**25), 10**25))
def test_a_formatted_amount_is_the_exact_decimal(nanos: int) -> None:
    assert Fraction(format_dollars(nanos)) == Fraction(nanos, NANOS_PER_DOLLAR)


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (0, "0.00"),
        (1, "0.000000001"),
        (-1, "-0.000000001"),
        (10**9, "1.00"),
        (12_500_000_000, "12.50"),
        (-12_345_000_000, "-12.345"),
        (10**18, "1000000000.00"),
        (2_000, "0.000002"),
    ],
)
def test_amounts_have_two_decimals_or_as_many_as_they_need(nanos: int, text: str) -> None:
    assert format_dollars(nanos) == text


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("0", 0),
        ("12.50", 12_500_000_000),
        ("  7 ", 7 * 10**9),
        ("$5", 5 * 10**9),
        ("0.000000001", 1),
        ("0.1000000000000", 100_000_000),
        ("1000000000", MAX_AMOUNT_NANOS),
        ("0.00000000100000000000000000000000000000", 1),
    ],
)
def test_plain_decimals_are_read_exactly(text: str, nanos: int) -> None:
    assert parse_dollars(text) == nanos


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "$",
        ".",
        "-",
        "abc",
        "1,5",
        "1,000.00",
        "1 000",
        "5 dollars",
        "5$",
        "$$5",
        "0x10",
        "1.2.3",
        "--5",
    ],
)
def test_what_is_no_decimal_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidAmountError, match=r"^an amount in dollars must be a decimal number"):
        parse_dollars(text, allow_negative=True)


@pytest.mark.parametrize("text", ["NaN", "-nan", "sNaN", "inf", "-Infinity", "1e40", "1e999999999"])
def test_what_is_not_finite_or_out_of_all_bounds_is_refused(text: str) -> None:
    with pytest.raises(InvalidAmountError, match="must be a decimal number"):
        parse_dollars(text, allow_negative=True)


@pytest.mark.parametrize("text", ["1_000", "\uff11\uff12", "\u0661\u0662"])
def test_numerals_that_only_python_reads_are_refused(text: str) -> None:
    with pytest.raises(InvalidAmountError):
        parse_dollars(text)


@pytest.mark.parametrize(
    "text",
    ["0.0000000001", "1.0000000005", "-0.0000000001", "1.00000000000000000000000000001", "1e-999999999"],
)
def test_what_is_finer_than_a_nano_is_refused_not_rounded(text: str) -> None:
    with pytest.raises(InvalidAmountError, match=r"too many decimals|decimal number"):
        parse_dollars(text, allow_negative=True)


@pytest.mark.parametrize("text", ["-1", "-0.000000001", "$-5"])
def test_negative_amounts_are_refused_unless_allowed(text: str) -> None:
    with pytest.raises(InvalidAmountError, match="negative"):
        parse_dollars(text)
    assert parse_dollars(text, allow_negative=True) < 0


@pytest.mark.parametrize("text", ["1000000000.000000001", "-1000000000.01", "9" * 25])
def test_an_amount_that_could_overflow_the_books_is_refused(text: str) -> None:
    with pytest.raises(InvalidAmountError, match="more than"):
        parse_dollars(text, allow_negative=True)


@given(st.text(max_size=30) | st.text("0123456789.eE+-_$ ", max_size=30))
def test_any_text_is_read_exactly_or_refused(text: str) -> None:
    try:
        nanos = parse_dollars(text, allow_negative=True)
    except InvalidAmountError:
        return
    with localcontext(prec=80):
        assert Decimal(nanos) == Decimal(text.strip().removeprefix("$")) * NANOS_PER_DOLLAR


@pytest.mark.parametrize(
    ("text", "ppm"), [("0", 0), ("20", 200_000), ("12.5", 125_000), ("0.0001", 1), ("100", 10**6)]
)
def test_percentages_are_parts_per_million(text: str, ppm: int) -> None:
    assert parse_percent(text) == ppm


@pytest.mark.parametrize("text", ["-1", "100.0001", "1e3", "12.34567", "", "NaN", "inf", "20%", "1,5"])
def test_a_percentage_out_of_range_or_too_fine_is_refused(text: str) -> None:
    with pytest.raises(InvalidAmountError, match=r"^a percentage "):
        parse_percent(text)
