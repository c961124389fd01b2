"""The quantity that events make (RULES 16 to 22), event by event and day by day."""

from datetime import date, timedelta
from fractions import Fraction as F
import math

from exact import number, some
from zones import day, midnight, write

KINDS = ["count", "sum", "max", "min", "average", "latest", "unique_count", "weighted_sum"]
NOT_NUMBERS = ["x", "", "1,5", None, True, [1], "0x10", "１２"]


def case(rnd):
    zone = rnd.choice(["UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"])
    kind, recurring = rnd.choice(KINDS), rnd.random() < 0.5
    prorated = kind in ("sum", "unique_count") and rnd.random() < 0.5
    first = date(2026, rnd.randint(1, 12), rnd.randint(1, 28))
    after = first + timedelta(days=rnd.randint(5, 60))
    full_first = first - timedelta(days=rnd.choice([0, 0, 10]))
    days = Days(zone, first, after, full_first)
    initial = F(rnd.randint(0, 5)) if rnd.random() < 0.3 else F(0)

    metric = {"aggregation": kind, "recurring": recurring}
    if kind != "count" or rnd.random() < 0.3:
        metric["property"] = "v"
    if rnd.random() < 0.2:
        metric["filters"] = [{"property": "tier", "values": ["gold", "1"]}]
    rounding = None
    if rnd.random() < 0.3:
        rounding = (rnd.choice(["round", "ceil", "floor"]), rnd.randint(-2, 3))
        metric["rounding"] = {"mode": rounding[0], "precision": rounding[1]}
    events = some_events(rnd, days, kind)
    question = {
        "metric": metric, "period": {"start": write(days.start), "end": write(days.end)}, "timezone": zone,
        "events": [event["written"] for event in events], "prorated": prorated,
        "exclude": [{"city": ["x", "y"], "country": ["uk"]}, {"country": ["de"]}],
    }
    if full_first != first:
        question["full_period"] = {"start": write(days.full_start), "end": write(days.end)}
    if initial:
        question["initial_value"] = number(initial)
    if rnd.random() < 0.7:
        question["group_by"] = rnd.choice([["region"], ["region", "tier"]])

    used = [event for event in those_that_count(events, metric, days)]
    quantity = lambda some_used, carried: rounded(aggregate(kind, prorated, some_used, carried, days), rounding)
    groups = {}
    for event in used if "group_by" in question else []:
        groups.setdefault(tuple(event["p"].get(key) for key in question["group_by"]), []).append(event)
    order = lambda key: tuple((part is not None, part or "") for part in key)
    return question, {
        "quantity": number(quantity(used, initial)),
        "groups": [
            {"key": dict(zip(question["group_by"], key)), "quantity": number(quantity(groups[key], F(0)))}
            for key in sorted(groups, key=order)
        ],
    }


class Days:
    def __init__(self, zone, first, after, full_first):
        self.zone, self.first, self.after = zone, first, after
        self.start, self.end, self.full_start = (midnight(on, zone) for on in (first, after, full_first))
        self.count, self.full = (after - first).days, (after - full_first).days

    def of(self, instant):
        return max(self.first, day(instant, self.zone))


def some_events(rnd, days, kind):
    events = []
    length = int((days.end - days.start).total_seconds())
    for i in range(rnd.randint(0, 12)):
        at = days.start + timedelta(seconds=rnd.randint(-20 * 86400, length + 5 * 86400))
        properties = {}
        if rnd.random() < 0.95:
            if kind == "unique_count":
                properties["v"] = rnd.choice(["a", "b", "c"])
            elif rnd.random() < 0.1:
                properties["v"] = rnd.choice(NOT_NUMBERS)
            else:
                properties["v"] = number(some(rnd, -100, 300, 2))
        for name, chance, values in [
            ("operation", 0.4, ["remove", "add"]), ("region", 0.7, ["eu", "us"]), ("tier", 0.6, ["gold", "1", "iron"]),
            ("city", 0.3, ["x", "y", "z"]), ("country", 0.5, ["uk", "fr", "de"]),
        ]:
            if rnd.random() < chance:
                properties[name] = rnd.choice(values)
        name = str(rnd.randint(0, 14))
        written = {"id": name, "timestamp": write(at), "properties": properties}
        events.append({"id": name, "at": at, "n": i, "p": properties, "written": written})
    return events


def those_that_count(events, metric, days):
    seen, found = set(), []
    for event in events:
        p, at = event["p"], event["at"]
        again = event["id"] in seen
        seen.add(event["id"])
        if again or at >= days.end or (at < days.start and not metric["recurring"]):
            continue
        if (p.get("city") in ("x", "y") and p.get("country") == "uk") or p.get("country") == "de":
            continue
        if "filters" in metric and p.get("tier") not in ("gold", "1"):
            continue
        if metric["aggregation"] == "unique_count" and p.get("v") is None:
            continue
        if metric["aggregation"] not in ("count", "unique_count") and value(event) is None:
            continue
        found.append(event)
    return sorted(found, key=lambda event: (event["at"], event["n"]))


def value(event):
    text = event["p"].get("v")
    return None if text in NOT_NUMBERS or isinstance(text, list) else F(text)


def aggregate(kind, prorated, events, carried, days):
    if kind == "count":
        return carried + len(events)
    if kind == "unique_count":
        return unique(prorated, events, carried, days)
    values = [value(event) for event in events]
    if kind == "weighted_sum":
        return weighted(events, carried, days)
    if kind == "sum" and prorated:
        held = lambda event: (days.after - days.of(event["at"])).days
        shares = sum((v * held(event) for event, v in zip(events, values)), F(0))
        return (carried * days.count + shares) / days.full
    if kind == "sum":
        return carried + sum(values, F(0))
    if not values:
        return carried
    mean = lambda numbers: sum(numbers, F(0)) / len(numbers)
    return {"max": max, "min": min, "average": mean, "latest": lambda numbers: numbers[-1]}[kind](values)


def weighted(events, carried, days):
    """The area under the running value, stretch by stretch."""
    running, since, area = carried, days.start, F(0)
    for event in events:
        at = max(event["at"], days.start)
        area += running * int((at - since).total_seconds())
        running, since = running + value(event), at
    area += running * int((days.end - since).total_seconds())
    return area / int((days.end - days.full_start).total_seconds())


def unique(prorated, events, carried, days):
    removes = lambda event: event["p"].get("operation") == "remove"
    if not prorated:
        active = set()
        for event in events:
            (active.discard if removes(event) else active.add)(event["p"]["v"])
        return carried + len(active)
    total = carried * days.count
    for name in {event["p"]["v"] for event in events}:
        there, since = set(), None
        for event in [event for event in events if event["p"]["v"] == name]:
            if not removes(event):
                since = since or event["at"]
            elif since is not None:
                if event["at"] >= days.start:
                    there |= all_days(days.of(since), days.of(event["at"]))
                since = None
        if since is not None:
            there |= all_days(days.of(since), days.after - timedelta(days=1))
        total += len(there)
    return total / days.full


def all_days(first, last):
    return {first + timedelta(days=i) for i in range((last - first).days + 1)}


def rounded(x, rounding):
    if rounding is None:
        return x
    mode, precision = rounding
    scaled = x * F(10) ** precision
    nearest = math.floor(abs(scaled) + F(1, 2)) * (1 if scaled >= 0 else -1)
    whole = {"round": nearest, "ceil": math.ceil(scaled), "floor": math.floor(scaled)}[mode]
    return F(whole) / F(10) ** precision
