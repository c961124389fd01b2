"""What a change in mid-period credits and charges (RULES 8 to 10)."""

from datetime import datetime, timedelta, timezone
from fractions import Fraction as F

from exact import minor, money, number, some
from zones import ZONES, day, write


def case(rnd):
    currency, zone = rnd.choice(["USD", "JPY", "KWD"]), rnd.choice(ZONES)
    basis = rnd.choice(["day", "day", "second", "none"])
    start = datetime.fromtimestamp(rnd.randint(1_500_000_000, 1_900_000_000) // 60 * 60, timezone.utc)
    length = rnd.randint(2 * 86400, 400 * 86400)
    end, change = start + timedelta(seconds=length), start + timedelta(seconds=rnd.randint(0, length))
    full_start = start - timedelta(days=rnd.choice([0, 0, 5, 20]))

    question = {
        "currency": currency, "basis": basis, "timezone": zone, "change_at": write(change),
        "period": {"start": write(start), "end": write(end)},
    }
    if full_start != start:
        question["full_period"] = {"start": write(full_start), "end": write(end)}
    if basis == "second":
        between = lambda a, b: int((b - a).total_seconds())
    else:
        between = lambda a, b: (day(b, zone) - day(a, zone)).days
    left, whole, own = between(change, end), between(full_start, end), between(start, end)
    if basis == "none":
        left, whole, own = 0, 1, 0

    credit, charge = 0, 0
    if rnd.random() < 0.8:
        price, old = a_price(rnd)
        credited = F(0)
        if rnd.random() < 0.4:
            credited = F(rnd.randint(0, 300))
            old["already_credited"] = number(credited)
        line = minor(price * own / whole, currency)
        credit = max(0, min(minor(price * left / whole, currency), line - minor(credited, currency)))
        question["old"] = old
    if rnd.random() < 0.8:
        price, question["new"] = a_price(rnd)
        charge = minor(price * left / whole, currency)
    return question, {
        "credit": money(-credit, currency), "charge": money(charge, currency),
        "net": money(charge - credit, currency), "fraction": {"numerator": left, "denominator": whole},
    }


def a_price(rnd):
    amount, quantity = some(rnd, 0, 10000, 3), some(rnd, 0, 50, 1)
    if rnd.random() < 0.2:
        return amount, {"amount": number(amount)}
    return amount * quantity, {"amount": number(amount), "quantity": number(quantity)}
