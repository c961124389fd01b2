"""Exact numbers, and how the API writes them. Fractions while calculating, decimals only as text."""

import math
from decimal import Decimal
from fractions import Fraction

DIGITS = {"USD": 2, "EUR": 2, "JPY": 0, "KWD": 3, "CLF": 4}


def half_away(x: Fraction) -> int:
    """The nearest integer, halves away from zero."""
    return math.floor(x + Fraction(1, 2)) if x >= 0 else math.ceil(x - Fraction(1, 2))


def minor(x: Fraction, currency: str) -> int:
    """Major units, rounded to minor ones."""
    return half_away(x * 10 ** DIGITS[currency])


def major(units: int, currency: str) -> Fraction:
    return Fraction(units, 10 ** DIGITS[currency])


def money(units: int, currency: str) -> str:
    """Minor units as the API writes them: exactly the currency's digits."""
    return format(Decimal(units).scaleb(-DIGITS[currency]), "f")


def number(x: Fraction) -> str:
    """A number without superfluous zeros, with 28 significant digits at most, the last one rounded half away."""
    size = abs(x)
    if size >= 1:
        scale = 28 - len(str(math.floor(size)))
    else:
        scale = 28
        while 0 < size * 10**scale < 10**27:
            scale += 1
    digits = str(half_away(size * 10**scale)).rjust(scale + 1, "0")
    whole, part = digits[: len(digits) - scale], digits[len(digits) - scale :].rstrip("0")
    return ("-" if x < 0 else "") + whole + ("." + part if part else "")


def some(rnd, low: int, high: int, scale: int) -> Fraction:
    """A random number with at most `scale` digits after the point."""
    return Fraction(rnd.randint(low, high), 10 ** rnd.randint(0, scale))


def largest_remainder(total: int, weights: list) -> list:
    """Whole parts in proportion to the weights, that add up. What is left goes to the largest remainders."""
    whole = sum(weights)
    if whole == 0:
        return [0 for _ in weights]
    parts = [Fraction(total) * weight / whole for weight in weights]
    given = [math.floor(part) for part in parts]
    by_remainder = sorted(range(len(parts)), key=lambda i: (given[i] - parts[i], i))
    for i in by_remainder[: total - sum(given)]:
        given[i] += 1
    return given
