"""What a quantity costs, written once more from the rules (RULES 24 to 29)."""

import math
from fractions import Fraction as F

from exact import minor, money, number, some

MODELS = [
    "flat", "per_unit", "graduated", "volume", "package", "percentage",
    "graduated_percentage", "graduated_packages", "volume_packages", "dynamic",
]
PRORATABLE = ["flat", "per_unit", "graduated", "volume", "graduated_percentage", "dynamic"]


def case(rnd):
    currency = rnd.choice(["USD", "JPY", "KWD"])
    how = rnd.choice(["quantity", "quantity", "events", "prorated_events", "tier_quantity"])
    prorated = how in ("prorated_events", "tier_quantity")
    model = a_model(rnd, rnd.choice(PRORATABLE if prorated else MODELS), currency)
    question = {"currency": currency, "model": model}

    before = some(rnd, 0, 1000, 1) if rnd.random() < 0.4 else F(0)
    if before or rnd.random() < 0.2:
        question["already_rated_quantity"] = number(before)
    convert, exactly = a_conversion(rnd, question)

    if how == "quantity":
        new = some(rnd, -20, 2000, 3)
        question["quantity"] = number(new)
        measured = {"units": convert(before + new)}
    elif how == "events":
        values = [some(rnd, -50 if rnd.random() < 0.2 else 0, 400, 2) for _ in range(rnd.randint(0, 6))]
        question["events"] = [number(value) for value in values]
        if model["type"] == "percentage":
            first = [convert(before)] if convert(before) > 0 else []
            measured = {"events": first + [convert(value) for value in values]}
        else:
            measured = {"units": convert(before + sum(values, F(0)))}
    else:
        parts = some_parts(rnd, single=how == "tier_quantity")
        if how == "tier_quantity":
            question["tier_quantity"], question["quantity"] = number(parts[0][0]), number(parts[0][1])
        else:
            question["prorated_events"] = [{"quantity": number(q), "prorated": number(p)} for q, p in parts]
        first = [(convert(before), convert(before))] if convert(before) > 0 else []
        measured = {"parts": first + [(exactly(q), exactly(p)) for q, p in parts]}

    priced = convert(before)
    earlier = {"events": [priced] if priced > 0 else []} if "events" in measured else {"units": priced}
    return question, answer(rnd, question, model, measured, earlier if before > 0 else None)


def answer(rnd, question, model, measured, earlier):
    currency = question["currency"]
    discount, maximum, minimum = F(0), None, None
    if rnd.random() < 0.3:
        discount = some(rnd, 0, 100, 0)
        question["discount_percent"] = number(discount)
    if rnd.random() < 0.3:
        maximum = F(rnd.randint(0, 2000))
        question["maximum_amount"] = number(maximum)
    if rnd.random() < 0.3:
        minimum = F(rnd.randint(0, 2000 if maximum is None else int(maximum)))
        question["minimum_amount"] = number(minimum)

    def full(tiers):
        price = sum((tier["amount"] for tier in tiers), F(0)) * (1 - discount / 100)
        return price if maximum is None else min(price, maximum)

    now = price(model, **measured)
    then = price(model, **earlier) if earlier else []
    billed = full(then) if earlier else F(0)
    if rnd.random() < 0.3:
        billed = some(rnd, 0, 3000, 2)
        question["already_billed"] = number(billed)
    exact = full(now) - billed
    true_up = 0 if minimum is None else max(0, minor(minimum, currency) - minor(full(now), currency))
    return {
        "exact_amount": number(exact),
        "amount": money(minor(exact, currency), currency),
        "true_up": money(true_up, currency),
        "currency": currency,
        "tiers": [written(tier) for tier in on_top(now, then)],
    }


def on_top(now, then):
    """Tier by tier, what was not there before."""
    found = []
    for tier in now:
        old = next((old for old in then if old["up_to"] == tier["up_to"]), None)
        found.append(less(tier, old) if old else tier)
    for old in then:
        if all(tier["up_to"] != old["up_to"] for tier in now):
            found.append(less({**old, "quantity": F(0), "flat_fee": F(0), "amount": F(0)}, old))
    if not then:
        return found
    return [tier for tier in found if tier["quantity"] or tier["flat_fee"] or tier["amount"]]


def less(tier, old):
    changed = {field: tier[field] - old[field] for field in ("quantity", "flat_fee", "amount")}
    return {**tier, **changed}


def written(tier):
    return {field: None if value is None else number(value) for field, value in tier.items()}


def tier(up_to, quantity, unit_price, flat_fee):
    amount = quantity * unit_price + flat_fee
    return {"up_to": up_to, "quantity": quantity, "unit_price": unit_price, "flat_fee": flat_fee, "amount": amount}


def price(model, **measured):
    """The tiers of a price. A price is never negative, nor are its parts then."""
    tiers = parts_of_price(model, **measured)
    if sum((tier["amount"] for tier in tiers), F(0)) < 0:
        return [{**tier, "quantity": F(0), "flat_fee": F(0), "amount": F(0)} for tier in tiers]
    return tiers


def parts_of_price(model, units=None, events=None, parts=None):
    kind = model["type"]
    field = lambda name: F(model.get(name) or 0)
    if kind == "percentage":
        return percentage(model, [units] if events is None and units > 0 else events or [])
    if parts is None:
        parts = [(max(units, F(0)), max(units, F(0)))]
    full = max(F(0), sum((q for q, _ in parts), F(0)))
    priced = max(F(0), sum((p for _, p in parts), F(0)))
    if kind == "flat":
        return [tier(None, priced, F(0), field("amount"))]
    if kind == "per_unit":
        return [tier(None, priced, field("unit_price"), F(0))]
    if kind == "dynamic":
        return [tier(None, priced, F(model.get("multiplier", 1)), F(0))]
    if kind == "package":
        packages = max(F(0), full - field("free_units")) / field("package_size")
        count = math.floor(packages) if model.get("rounding") == "down" else math.ceil(packages)
        return [tier(None, F(count), field("package_price"), F(0))]
    if kind == "volume":
        reached = next(t for t in model["tiers"] if t["up_to"] is None or full <= F(t["up_to"]))
        return [tier(bound(reached), priced, F(reached["unit_price"]), F(reached["flat_fee"]))]
    if kind == "graduated":
        return graduated([(bound(t), F(t["unit_price"]), F(t["flat_fee"])) for t in model["tiers"]], parts)
    if kind == "graduated_percentage":
        return graduated([(bound(t), F(t["rate"]) / 100, F(t["flat_fee"])) for t in model["tiers"]], parts)
    return packages_by_tier(model, full)


def bound(t):
    return None if t["up_to"] is None else F(t["up_to"])


def graduated(steps, parts):
    """Every part lies on the line of full units; each stretch of it in a tier carries its share of the priced ones."""
    at, highest, held = F(0), F(0), [F(0)] * len(steps)
    for full, priced in parts:
        low, high = min(at, at + full), max(at, at + full)
        floor = F(0)
        for i, (up_to, _, _) in enumerate(steps):
            ceiling = high if up_to is None else up_to
            stretch = min(high, ceiling) - max(low, floor)
            if full and stretch > 0:
                held[i] += priced * stretch / abs(full)
            floor = ceiling
        if not full:
            held[next(i for i, step in enumerate(steps) if step[0] is None or at <= step[0])] += priced
        at += full
        highest = max(highest, at)
    entered = [i for i in range(len(steps)) if i == 0 or highest > steps[i - 1][0]]
    return [tier(steps[i][0], held[i], steps[i][1], steps[i][2]) for i in entered]


def packages_by_tier(model, units):
    steps, total = [], F(0)
    for t in model["tiers"]:
        start, total = total, total + F(t["package_size"]) * int(t["packages"])
        steps.append((start, total, F(t["package_size"]), F(t["package_price"])))
    last = len(steps) - 1
    up_to = lambda i: None if i == last else steps[i][1]
    if model["type"] == "volume_packages":
        i = next((i for i, step in enumerate(steps) if units <= step[1]), last)
        return [tier(up_to(i), F(math.ceil(units / steps[i][2])), steps[i][3], F(0))]
    found = []
    for i, (start, end, size, cost) in enumerate(steps):
        if i == 0 or units > start:
            inside = (units if i == last else min(units, end)) - start
            found.append(tier(up_to(i), F(math.ceil(inside / size)), cost, F(0)))
    return found


def percentage(model, events):
    rate, fee = F(model["rate"]) / 100, F(model.get("fixed_fee", 0))
    free_count, free_money = model.get("free_events") or None, F(model.get("free_amount") or 0) or None
    everything_paid = free_count is None and free_money is None
    seen, flowed, rated, amount = 0, F(0), F(0), F(0)
    for value in events:
        if value < 0:
            rated, amount = rated + value, amount + value * rate
            continue
        paid = value
        if not everything_paid:
            seen += 1
            if free_count is not None and seen > free_count:
                everything_paid = True
            elif free_money is not None and flowed + value > free_money:
                everything_paid, paid = True, flowed + value - free_money
            else:
                flowed += value
                continue
        cost = paid * rate + fee
        if "min_per_event" in model:
            cost = max(cost, F(model["min_per_event"]))
        if "max_per_event" in model:
            cost = min(cost, F(model["max_per_event"]))
        rated, amount = rated + paid, amount + cost
    return [tier(None, rated, rate, amount - rated * rate)]


def a_conversion(rnd, question):
    if rnd.random() < 0.7:
        return (lambda x: x), (lambda x: x)
    operation, factor = rnd.choice(["multiply", "divide"]), F(rnd.choice(["2", "8", "10", "1000", "3", "7", "0.3", "1024", "86400"]))
    rounding = rnd.choice(["none", "up", "down", "nearest"])
    question["conversion"] = {"operation": operation, "factor": number(factor), "rounding": rounding}
    exactly = lambda x: x * factor if operation == "multiply" else x / factor
    halves = lambda x: math.floor(x + F(1, 2)) if x >= 0 else math.ceil(x - F(1, 2))
    rounds = {"none": lambda x: x, "up": math.ceil, "down": math.floor, "nearest": halves}
    return (lambda x: F(rounds[rounding](exactly(x)))), exactly


def some_parts(rnd, single):
    """Units that come and go, never more away than there are, with a part of each."""
    parts, held = [], F(0)
    for _ in range(1 if single else rnd.randint(0, 5)):
        full = F(rnd.randint(1, 400), rnd.choice([1, 2, 4]))
        if held > 0 and rnd.random() < 0.3:
            full = -min(held, full)
        held += full
        whole = rnd.choice([F(0), F(1, 2), F(3, 4), F(1), F(7, 10)])
        parts.append((full, full * whole if rnd.random() < 0.6 else some(rnd, 0, 400, 3) * (1 if full > 0 else -1)))
    return parts


def a_model(rnd, kind, currency):
    model = {"type": kind}
    if kind == "flat":
        model["amount"] = str(rnd.randint(0, 5000))
    if kind == "per_unit":
        model["unit_price"] = number(some(rnd, 0, 10000, 5))
    if kind == "dynamic" and rnd.random() < 0.8:
        model["multiplier"] = number(some(rnd, 0, 300, 2))
    if kind in ("graduated", "volume", "graduated_percentage"):
        count, up_to, tiers = rnd.randint(1, 4), F(0), []
        for i in range(count):
            up_to += some(rnd, 1, 300, 1)
            tiers.append({"up_to": None if i == count - 1 else number(up_to), "flat_fee": number(some(rnd, 0, 500, 2))})
            tiers[-1]["rate" if kind == "graduated_percentage" else "unit_price"] = number(some(rnd, 0, 1000, 3))
        model["tiers"] = tiers
    if kind == "package":
        model["package_size"], model["package_price"] = number(some(rnd, 1, 200, 1)), number(some(rnd, 0, 1000, 2))
        model["free_units"], model["rounding"] = number(some(rnd, 0, 100, 1)), rnd.choice(["up", "down"])
    if kind in ("graduated_packages", "volume_packages"):
        model["tiers"] = [
            {
                "package_size": number(some(rnd, 1, 100, 1)),
                "packages": str(rnd.randint(1, 10)),
                "package_price": number(some(rnd, 0, 1000, 2)),
            }
            for _ in range(rnd.randint(1, 4))
        ]
    if kind == "percentage":
        model["rate"], model["fixed_fee"] = number(some(rnd, 0, 1000, 2)), number(some(rnd, 0, 200, 2))
        if rnd.random() < 0.5:
            model["free_events"] = rnd.randint(0, 4)
        if rnd.random() < 0.5:
            model["free_amount"] = number(some(rnd, 0, 500, 0))
        if rnd.random() < 0.3:
            model["min_per_event"] = number(some(rnd, 0, 200, 1))
        if rnd.random() < 0.3:
            model["max_per_event"] = number(F(model.get("min_per_event", "0")) + some(rnd, 0, 500, 1))
    return model
