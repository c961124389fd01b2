"""What the running service has to bill for random events, from the rules.

    python3 tests/oracle/service.py --seed 1 --events 1000

prints what to do, one JSON object a line, and then what has to come out: metrics, a plan and customers to make; events to
send, some of them again, some again with another body, some long after their period was billed; events to void and to
amend; how far to move the clock. At the end, each customer's quantity of each metric in each month, and what all lines of
all invoices together bill for each price and month. `tests/it/oracle.rs` does it and compares.

Like the rest of this folder it was written from the rules, not from the Rust code.
"""

import argparse
import json
import random
import sys
from datetime import date, datetime, timedelta, timezone
from fractions import Fraction as F

import amount
from exact import minor, money, number, some
from usage import Days, aggregate, rounded, those_that_count
from zones import write

CUSTOMERS = 8
AT_ONCE = 500
MODELS = ["per_unit", "graduated", "volume", "package", "graduated_packages", "volume_packages"]
OF_MONEY = ["graduated_percentage", "dynamic"]
# When events are sent, after the clock was moved there, and from when they are.
PHASES = [("2026-02-28T12:00:00Z", "2026-01-26T00:00:00Z"), ("2026-03-20T00:00:00Z", "2026-02-01T00:00:00Z"),
          ("2026-04-10T00:00:00Z", "2026-02-01T00:00:00Z")]
MONTHS = [date(2026, month, 1) for month in range(2, 7)]
EVENTS_IN = [F(5, 10), F(35, 100), F(15, 100)]


def say(**what):
    sys.stdout.write(json.dumps(what, ensure_ascii=False) + "\n")


def read(text):
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)


class Metric:
    """A metric with the price that is asked for it."""

    def __init__(self, rnd, kind, i, currency):
        self.kind, self.code = kind, f"m{i}-{kind}"
        recurring = kind in ("sum", "unique_count", "weighted_sum", "latest") and rnd.random() < 0.4
        self.spec = {"aggregation": kind, "recurring": recurring}
        if kind != "count":
            self.spec["property"] = "v"
        if rnd.random() < 0.4:
            self.spec["filters"] = [{"property": "tier", "values": ["gold", "1"]}]
        self.rounding = None
        by_event = kind == "sum" and not recurring and rnd.random() < 0.5
        if not by_event and rnd.random() < 0.4:
            self.rounding = (rnd.choice(["round", "ceil", "floor"]), rnd.randint(-1, 3))
            self.spec["rounding"] = {"mode": self.rounding[0], "precision": self.rounding[1]}
        self.convert = lambda x: x
        if not by_event:
            self.convert, _ = amount.a_conversion(rnd, self.spec)
        models = MODELS if kind in ("count", "unique_count") else MODELS + OF_MONEY
        self.model = amount.a_model(rnd, "percentage" if by_event else rnd.choice(models), currency)
        self.group_by = "region" if not by_event and not recurring and rnd.random() < 0.4 else None
        self.currency = currency

    def metric(self):
        return {"code": self.code, "name": self.code, "event_name": self.code, **self.spec}

    def price(self):
        price = {"code": self.code, "name": self.code, "kind": "usage", "metric": self.code, "model": self.model}
        return {**price, "group_by": [self.group_by]} if self.group_by else price

    def quantity(self, events, days):
        return rounded(aggregate(self.kind, False, events, F(0), days), self.rounding)

    def billed(self, events, days):
        """Minor units: each bucket is rounded by itself."""
        if self.model["type"] == "percentage":
            return self.amount(events=[F(event["p"]["v"]) for event in events])
        groups = {} if self.group_by else {None: events}
        for event in events if self.group_by else []:
            groups.setdefault(event["p"].get(self.group_by), []).append(event)
        return sum(self.amount(units=self.convert(self.quantity(group, days))) for group in groups.values())

    def amount(self, **measured):
        tiers = amount.price(self.model, **measured)
        return minor(max(F(0), sum((tier["amount"] for tier in tiers), F(0))), self.currency)


def metadata(rnd, kind):
    found = {}
    if rnd.random() < 0.95:
        found["v"] = rnd.choice("abcdef") if kind == "unique_count" else number(some(rnd, -100, 300, 3))
    for name, chance, values in [
        ("operation", 0.4, ["remove", "add"]), ("region", 0.8, ["eu", "us"]), ("tier", 0.7, ["gold", "1", "iron"]),
    ]:
        if rnd.random() < chance:
            found[name] = rnd.choice(values)
    return found


def instant(rnd, since, until):
    return since + timedelta(seconds=rnd.randint(0, int((until - since).total_seconds())))


class World:
    def __init__(self, rnd, currency):
        self.rnd, self.currency = rnd, currency
        kinds = ["count", "sum", "sum", "max", "min", "average", "latest", "unique_count", "unique_count", "weighted_sum"]
        self.metrics = [Metric(rnd, kind, i, currency) for i, kind in enumerate(kinds)]
        self.events, self.bodies = [], []

    def make(self):
        # Large enough that every credit finds an invoice that is larger.
        base = {"code": "base", "name": "Base", "kind": "fixed", "model": {"type": "flat", "amount": "1000000000000"}}
        plan = {"code": "plan", "name": "Plan", "currency": self.currency, "interval": {"unit": "month", "count": 1},
                "prices": [base, *(metric.price() for metric in self.metrics)]}
        customers = [f"customer-{i}" for i in range(CUSTOMERS)]
        say(make={"metrics": [metric.metric() for metric in self.metrics], "plan": plan, "customers": customers})

    def new(self, since, until):
        """An event as it is sent, and as it counts."""
        n, metric = len(self.events), self.rnd.choice(self.metrics)
        at = instant(self.rnd, since, until)
        event = {"id": f"e{n}", "n": n, "at": at, "p": metadata(self.rnd, metric.kind), "metric": metric.code,
                 "customer": f"customer-{self.rnd.randrange(CUSTOMERS)}", "voided": False}
        body = {"event_id": event["id"], "customer_id": event["customer"], "event_name": metric.code,
                "timestamp": write(at), "metadata": dict(event["p"])}
        self.events.append(event)
        self.bodies.append(body)
        return body

    def send(self, count, since, until):
        """New events in batches, between them some that were sent before."""
        while count > 0:
            batch, accepted, duplicates, conflicts = [], 0, 0, 0
            for _ in range(min(count, AT_ONCE)):
                chance = self.rnd.random()
                if self.bodies and chance < 0.05:
                    again = dict(self.rnd.choice(self.bodies))
                    if chance < 0.01:
                        again["metadata"] = {**again["metadata"], "other": "body"}
                        conflicts += 1
                    else:
                        duplicates += 1
                    batch.append(again)
                batch.append(self.new(since, until))
                accepted += 1
                count -= 1
            say(send=batch, accepted=accepted, duplicates=duplicates, conflicts=conflicts)

    def correct(self, until):
        for event in self.rnd.sample(self.events, len(self.events) // 60):
            if event["voided"]:
                continue
            if self.rnd.random() < 0.5:
                event["voided"] = True
                say(void=event["id"])
                continue
            body = {}
            if self.rnd.random() < 0.7:
                event["at"] = instant(self.rnd, read(PHASES[0][1]), until)
                body["timestamp"] = write(event["at"])
            if not body or self.rnd.random() < 0.5:
                kind = next(metric.kind for metric in self.metrics if metric.code == event["metric"])
                event["p"] = metadata(self.rnd, kind)
                body["metadata"] = event["p"]
            say(amend=event["id"], body=body)

    def expect(self):
        held = {}
        for event in self.events:
            if not event["voided"]:
                held.setdefault((event["customer"], event["metric"]), []).append(event)
        for first, after in zip(MONTHS, MONTHS[1:]):
            days = Days("UTC", first, after, first)
            for metric in self.metrics:
                for i in range(CUSTOMERS):
                    customer = f"customer-{i}"
                    events = those_that_count(held.get((customer, metric.code), []), metric.spec, days)
                    say(customer=customer, metric=metric.code, start=write(days.start), end=write(days.end),
                        quantity=number(metric.quantity(events, days)),
                        billed=money(metric.billed(events, days), self.currency))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--events", type=int, default=1000)
    arguments = parser.parse_args()
    rnd = random.Random(arguments.seed)
    world = World(rnd, rnd.choice(["USD", "JPY", "KWD"]))
    world.make()
    for (now, since), share in zip(PHASES, EVENTS_IN):
        say(advance=now)
        world.send(int(arguments.events * share), read(since), read(now))
        world.correct(read(now))
    say(advance="2026-06-02T00:00:00Z")
    world.expect()


if __name__ == "__main__":
    main()
