"""What a subscription's life has to bill and to give back, from the rules.

    python3 tests/oracle/lifecycle.py --seed 1

prints one random life of 36 months, one JSON object a line: what to make; how far to move the clock; events to send, some of
them late; verbs, some of which are refused. Each line says what it bills (the lines of each invoice) and what it gives back
(the sum for each line of an invoice). `tests/it/lifecycle_oracle.rs` does it and compares.

Like the rest of this folder it was written from the rules, not from the Rust code. It knows no turns and no states of a
machine: fees are stretches of time that were paid for, usage is stretches of time that were measured.
"""

import argparse
import json
import random
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from fractions import Fraction as F

from exact import minor, money, number
from periods import Grid
from zones import day, midnight, read, write

ZONES = ["UTC", "America/New_York", "Pacific/Apia", "Europe/Berlin"]
MONTHS = 36
ACTIVE, TRIALING, PAUSED, CANCELED = "active", "trialing", "paused", "canceled"


@dataclass
class Price:
    code: str
    kind: str
    timing: str
    unit: F
    tiers: list = field(default_factory=list)
    metric: str = ""

    def body(self):
        body = {"code": self.code, "name": self.code, "kind": self.kind, "timing": self.timing}
        if self.kind == "fixed":
            return {**body, "model": {"type": "flat", "amount": number(self.unit)}}
        if self.metric:
            body["metric"] = self.metric
        if not self.tiers:
            return {**body, "model": {"type": "per_unit", "unit_price": number(self.unit)}}
        tiers = [{"up_to": up_to and number(F(up_to)), "unit_price": number(unit)} for up_to, unit in self.tiers]
        return {**body, "model": {"type": "graduated", "tiers": tiers}}

    def of(self, quantity):
        """RULES 24: the bound belongs to its tier."""
        if not self.tiers:
            return self.unit * quantity
        cost, below = F(0), F(0)
        for up_to, unit in self.tiers:
            inside = (quantity if up_to is None else min(quantity, F(up_to))) - below
            cost += unit * max(F(0), inside)
            below = F(up_to or 0)
        return cost


@dataclass
class Plan:
    code: str
    unit: str
    count: int
    prices: list

    def body(self):
        return {"code": self.code, "name": self.code, "currency": "USD",
                "interval": {"unit": self.unit, "count": self.count}, "prices": [price.body() for price in self.prices]}

    def seats(self):
        return [price.code for price in self.prices if price.kind == "seat"]

    def fees(self, timing):
        return [price for price in self.prices if price.kind != "usage" and price.timing == timing]


@dataclass
class Fee:
    """What an invoice charged in advance for a stretch of time."""

    name: str
    start: object
    end: object
    whole: tuple
    full: F
    left: int


@dataclass
class Measured:
    """A stretch of time whose usage was billed by a price."""

    name: str
    price: Price
    start: object
    end: object
    quantity: F = F(0)
    amount: int = 0


class Refused(Exception):
    def __init__(self, status):
        super().__init__(status)
        self.status = status


class Life:
    def __init__(self, start, zone, alignment, plan, quantities, trial_end):
        self.now, self.start, self.zone, self.alignment = start, start, zone, alignment
        self.plan, self.quantities, self.trial_end = plan, quantities, trial_end
        self.anchor = trial_end or start
        # Since when usage is priced as it is, and since when fees are, measured how.
        self.usage_since = start
        self.fees_since = start
        # Up to where fees in advance are charged.
        self.charged_to = start
        self.pause = None
        self.scheduled = None
        self.cancel_at, self.asked_to_end, self.ended = None, False, False
        self.paid_for, self.measured, self.events = [], [], []
        self.invoices, self.notes, self.lines = [], {}, []
        self.period = (start, trial_end) if trial_end else self.first_period(start)
        if not trial_end:
            self.charge(start, self.end(), "day")
        self.issue()

    # Time.

    def grid(self):
        return Grid(self.anchor, self.plan.unit, self.plan.count, self.alignment, self.zone)

    def whole(self, at):
        grid = self.grid()
        k = grid.first_after(at)
        return grid.boundary(k - 1), grid.boundary(k)

    def first_period(self, at):
        return at, self.whole(at)[1]

    def end(self):
        """Of the running period, or of all if that is earlier."""
        return min(self.period[1], self.cancel_at or self.period[1])

    def in_trial(self):
        return self.trial_end is not None and self.period[0] < self.trial_end

    def status(self):
        if self.ended:
            return CANCELED
        if self.pause:
            return PAUSED
        return TRIALING if self.in_trial() else ACTIVE

    def units(self, basis, a, b):
        """RULES 6 and 8."""
        if basis == "second":
            return F(int((b - a).total_seconds()))
        return F((day(b, self.zone) - day(a, self.zone)).days)

    def part(self, basis, a, b, whole):
        return self.units(basis, a, b) / self.units(basis, *whole)

    def pass_to(self, now):
        while not self.ended:
            due = min([self.end()] + ([self.scheduled[0]] if self.scheduled else []))
            if due > now:
                break
            self.turn(due)
        self.now = now
        self.settle()

    def turn(self, at):
        """What is due at an instant: the end of all, of a period, or what was scheduled."""
        self.now = at
        if self.cancel_at == at:
            return self.stop(at)
        step = None
        if self.scheduled and self.scheduled[0] == at:
            step, self.scheduled = self.scheduled[1], None
        if at < self.period[1]:
            return step(at)
        self.close_fees(at)
        self.close_usage(at)
        if step:
            step(at)
        self.begin(at)
        self.issue()

    def begin(self, at):
        self.period = self.first_period(at)
        self.usage_since = max(self.usage_since, at)
        self.fees_since = at
        self.paid_for = []
        if not self.pause:
            self.charge(at, self.end(), "day")

    # Fees.

    def amount_of(self, price):
        return F(1) if price.kind == "fixed" else F(self.quantities.get(price.code, 1))

    def charge(self, a, b, basis):
        """In advance: what these terms cost from a to b."""
        whole = self.whole(a)
        self.charged_to = b
        for price in self.plan.fees("advance"):
            quantity = self.amount_of(price)
            full = price.unit * quantity
            amount = minor(full * self.part(basis, a, b, whole), "USD")
            self.line(price, a, b, quantity, amount)
            self.paid_for.append(Fee(self.name(price, a, b), a, b, whole, full, amount))

    def close_fees(self, at):
        """In arrears: what these terms cost until now."""
        a = self.fees_since
        if self.pause or self.in_trial() or at <= a:
            return
        whole = self.whole(self.period[0])
        for price in self.plan.fees("arrears"):
            quantity = self.amount_of(price)
            self.line(price, a, at, quantity, minor(price.unit * quantity * self.part("day", a, at, whole), "USD"))

    def give_back(self, at, basis):
        """RULES 8 and 9: of what was paid for, what lies after now."""
        for fee in self.paid_for:
            unused = fee.left
            if fee.start < at:
                unused = min(fee.left, minor(fee.full * self.part(basis, at, fee.end, fee.whole), "USD"))
            if fee.end > at and unused > 0:
                self.notes[fee.name] = self.notes.get(fee.name, 0) + unused
        self.paid_for = []

    # Usage.

    def close_usage(self, at):
        if self.pause != "ignore" and self.usage_since < at:
            for price in self.plan.prices:
                if price.kind == "usage":
                    name = self.name(price, self.usage_since, at)
                    self.measured.append(Measured(name, price, self.usage_since, at))
        self.usage_since = at

    def measure(self):
        """What was used and is on no invoice yet (RULES 16 and 18)."""
        for stretch in self.measured:
            held = [n for metric, at, n in self.events
                    if metric == stretch.price.metric and stretch.start <= at < stretch.end]
            quantity = F(len(held)) if stretch.price.metric == "count" else sum(held, F(0))
            amount = minor(stretch.price.of(quantity), "USD")
            more, missing = quantity - stretch.quantity, amount - stretch.amount
            if more or missing:
                self.lines.append(f"{stretch.name} {number(more)} {money(missing, 'USD')}")
            stretch.quantity, stretch.amount = quantity, amount

    def settle(self):
        """Nothing follows an end: late usage has an invoice of its own."""
        if self.ended:
            self.issue()

    # Invoices.

    def name(self, price, a, b):
        return f"{self.plan.code}/{price.code} {write(a)} {write(b)}"

    def line(self, price, a, b, quantity, amount):
        if amount:
            self.lines.append(f"{self.name(price, a, b)} {number(quantity)} {money(amount, 'USD')}")

    def issue(self):
        self.measure()
        if self.lines:
            self.invoices.append(sorted(self.lines))
        self.lines = []

    def told(self):
        gives = sorted(f"{name} {money(amount, 'USD')}" for name, amount in self.notes.items())
        told = {"bills": self.invoices, "gives": gives, "now": write(self.now)}
        self.invoices, self.notes = [], {}
        return told

    def stop(self, at):
        self.close_fees(at)
        self.close_usage(at)
        self.ended, self.scheduled = True, None
        if self.period[0] < at:
            self.issue()

    # Verbs.

    def schedule(self, at, step):
        if self.scheduled:
            raise Refused(409)
        if self.cancel_at and self.cancel_at <= at:
            raise Refused(422)
        self.scheduled = (at, step)
        if at <= self.now:
            self.turn(at)

    def change(self, plan, quantities, when, proration, anchor):
        plan = plan or self.plan
        kept = {code: self.quantities.get(code, 1) for code in plan.seats()}
        quantities = {**kept, **quantities}
        at = self.now if when == "now" else self.end() if when == "period_end" else read(when)
        if at < self.now and when != "period_end":
            raise Refused(422)
        if self.status() in (PAUSED, CANCELED):
            raise Refused(409)
        terms = (plan.code, tuple(sorted(quantities.items())), proration, anchor)
        is_so = plan is self.plan and quantities == self.quantities and anchor == "keep"
        if at <= self.now and is_so and not self.scheduled:
            return
        if self.scheduled and self.scheduled[0] == at and getattr(self.scheduled[1], "terms", None) == terms:
            return

        def step(at):
            self.change_now(at, plan, quantities, proration, anchor)
        step.terms = terms
        self.schedule(at, step)

    def change_now(self, at, plan, quantities, proration, anchor):
        other_interval = (plan.unit, plan.count) != (self.plan.unit, self.plan.count)
        restarts = anchor == "reset" or other_interval
        splits_usage = restarts or plan is not self.plan
        if at == self.period[1]:
            self.plan, self.quantities = plan, quantities
            if restarts:
                self.anchor = at
            return
        # Periods that are counted from now already are the same ones after a reset.
        begins = (other_interval or restarts and self.anchor != at) and not self.in_trial()
        splits_fees = (proration != "none" or begins) and not self.in_trial()
        if splits_fees:
            self.close_fees(at)
        if proration != "none":
            self.give_back(at, proration)
        if splits_usage:
            self.close_usage(at)
        self.plan, self.quantities = plan, quantities
        if begins:
            self.anchor = at
            self.begin(at)
        elif splits_fees:
            self.fees_since = at
            self.charge(at, self.end(), proration)
        self.issue()

    def pause_now(self, usage, resume_at):
        if self.status() == PAUSED:
            return
        if self.status() != ACTIVE:
            raise Refused(409)
        if resume_at and read(resume_at) <= self.now:
            raise Refused(422)

        def step(at):
            self.close_fees(at)
            self.give_back(at, "day")
            if usage == "ignore":
                self.close_usage(at)
            self.pause = usage
            if resume_at:
                self.scheduled = (read(resume_at), self.go_on)
            self.issue()
        self.schedule(self.now, step)

    def go_on(self, at):
        if self.pause == "ignore":
            self.usage_since = at
        self.pause = None
        if at < self.period[1]:
            self.fees_since = at
            self.charge(at, self.end(), "day")
            self.issue()

    def resume(self):
        if self.status() == ACTIVE:
            return
        if self.status() != PAUSED:
            raise Refused(409)
        self.scheduled = None
        self.go_on(self.now)

    def extend_trial(self, trial_end):
        until = read(trial_end)
        if until <= self.now:
            raise Refused(422)
        if self.status() != TRIALING:
            raise Refused(409)
        self.move_scheduled(until)
        self.trial_end = self.anchor = until
        self.period = (self.start, until)

    def move_scheduled(self, until):
        """What was to happen at the end of the trial happens at its end."""
        if self.scheduled and self.scheduled[0] == self.trial_end:
            self.scheduled = (until, self.scheduled[1])

    def end_trial(self):
        if self.status() == ACTIVE and self.trial_end:
            return
        if self.status() != TRIALING:
            raise Refused(409)
        self.move_scheduled(self.now)
        self.trial_end = self.anchor = self.now
        self.period = (self.start, self.now)
        self.turn(self.now)

    def cancel(self, when, unused):
        # What is unused is known of an end that is now.
        if when != "now" and unused != "none":
            raise Refused(422)
        if self.ended:
            return
        if when == "now":
            had = list(self.paid_for)
            at = self.now
            self.stop(at)
            self.paid_for = had
            if unused != "none":
                self.give_back(at, "day")
            return
        end = self.end() if when == "period_end" else read(when)
        if self.asked_to_end and (when == "period_end" or self.cancel_at <= end):
            return
        self.cancel_at, self.asked_to_end = min(end, self.cancel_at or end), True

    def undo(self):
        if self.ended or not (self.scheduled or self.asked_to_end):
            raise Refused(409)
        if not self.asked_to_end:
            self.scheduled = None
            return
        was_cut = self.charged_to < self.period[1]
        self.cancel_at, self.asked_to_end = None, False
        # Fees that were charged up to an end which does not come: the rest of the period is owed, too.
        if was_cut and not self.pause and not self.in_trial():
            self.close_fees(self.now)
            self.give_back(self.now, "day")
            self.fees_since = self.now
            self.charge(self.now, self.period[1], "day")
            self.issue()


# Random lives.


class Author:
    def __init__(self, rnd):
        self.rnd = rnd
        self.count = 0

    def price(self, kind, i, timing):
        rnd = self.rnd
        if kind == "usage":
            unit = F(rnd.randint(1, 5000), 1000)
            tiers = [] if rnd.random() < 0.6 else [(rnd.randint(1, 20), unit), (None, unit / 2)]
            return Price(f"usage{i}", kind, "arrears", unit, tiers, rnd.choice(["count", "sum"]))
        return Price(f"{kind}{i}", kind, timing(), F(rnd.randint(100, 50000), 100))

    def plans(self, arrears):
        rnd = self.rnd
        units = rnd.choice([["month"], ["month", "year"], ["month", "week", "year"], ["week", "month"], ["month", "quarter"]])
        plans = []
        for i in range(3):
            unit = units[i % len(units)]
            timing = lambda: "arrears" if arrears and rnd.random() < 0.5 else "advance"
            kinds = ["fixed"] + (["seat"] if rnd.random() < 0.6 else []) + (["usage"] if rnd.random() < 0.7 else [])
            prices = [self.price(kind, 0, timing) for kind in kinds]
            plans.append(Plan(f"plan{i}", unit, 1, prices))
        return plans

    def some_time(self, a, b):
        at = a + timedelta(seconds=self.rnd.randint(1, max(1, int((b - a).total_seconds()))))
        return at

    def event(self, life):
        rnd = self.rnd
        self.count += 1
        back = timedelta(days=rnd.choice([1, 1, 3, 10, 40]))
        at = max(life.start, life.now - back) + timedelta(seconds=rnd.randint(0, int(back.total_seconds())))
        at = min(at, life.now)
        metric, n = rnd.choice(["count", "sum"]), F(rnd.randint(1, 500), rnd.choice([1, 10, 100]))
        life.events.append((metric, at, n))
        return {"event_id": f"e{self.count}", "customer_id": "acme", "event_name": metric, "timestamp": write(at),
                "metadata": {"n": number(n)}}

    def step_of_time(self, life):
        """Mostly anywhere, sometimes to where something happens."""
        rnd, now = self.rnd, life.now
        chance = rnd.random()
        if chance < 0.15 and not life.ended and now < life.end() < now + timedelta(days=100):
            return life.end()
        if chance < 0.25:
            return midnight(day(now, life.zone) + timedelta(days=rnd.randint(1, 40)), life.zone)
        if chance < 0.4:
            return now + timedelta(seconds=rnd.randint(1, 20 * 3600))
        return now + timedelta(seconds=rnd.randint(3600, 35 * 86400))

    def verb(self, life, plans, bases):
        rnd = self.rnd
        verbs = ["change"] * 8 + ["pause"] * 3 + ["resume"] * 2 + ["undo", "cancel", "extend_trial", "end_trial"]
        verbs += {PAUSED: ["resume"] * 6, TRIALING: ["extend_trial"] * 3 + ["end_trial"]}.get(life.status(), [])
        verbs += ["undo"] * 8 if life.asked_to_end or life.scheduled else []
        verb, later = rnd.choice(verbs), write(life.now + timedelta(seconds=rnd.randint(3600, 60 * 86400)))
        if verb == "change":
            plan = rnd.choice(plans + [None])
            seats = (plan or life.plan).seats()
            quantities = {code: rnd.randint(0, 9) for code in seats if rnd.random() < 0.7}
            when = rnd.choice(["now"] * 5 + ["period_end", later, later] + [write(life.now - timedelta(days=1))] * (rnd.random() < 0.2))
            body = {"quantities": {code: number(F(n)) for code, n in quantities.items()}, "when": when,
                    "proration": rnd.choice(bases), "anchor": rnd.choice(["keep", "keep", "reset"])}
            if plan:
                body["plan"] = plan.code
            return verb, body, lambda: life.change(plan, quantities, when, body["proration"], body["anchor"])
        if verb == "pause":
            usage, resume_at = rnd.choice(["ignore", "bill"]), rnd.choice([None, later])
            body = {"usage": usage, **({"resume_at": resume_at} if resume_at else {})}
            return verb, body, lambda: life.pause_now(usage, resume_at)
        if verb == "extend_trial":
            return verb, {"trial_end": later}, lambda: life.extend_trial(later)
        if verb == "cancel":
            when = rnd.choice(["period_end", later, later] + ["now"] * (rnd.random() < 0.25))
            unused = rnd.choice(["none", "credit", "refund"])
            return verb, {"when": when, "unused": unused}, lambda: life.cancel(when, unused)
        return verb, {}, getattr(life, verb)


def say(**what):
    sys.stdout.write(json.dumps(what, ensure_ascii=False) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, required=True)
    arguments = parser.parse_args()
    rnd = random.Random(arguments.seed)
    author = Author(rnd)
    arrears = rnd.random() < 0.4
    plans, bases = author.plans(arrears), ["day"] if arrears else ["day", "day", "second", "none"]
    start = read(f"2026-{rnd.randint(1, 12):02}-01T00:00:00Z") + timedelta(days=rnd.randint(0, 30))
    start += timedelta(seconds=rnd.choice([0, rnd.randint(0, 86399)]))
    alignments = ["anniversary", "anniversary", "calendar"]
    if all(plan.unit != "week" for plan in plans):
        alignments.append({"day_of_month": rnd.choice([1, 15, 31])})
    zone, alignment, plan = rnd.choice(ZONES), rnd.choice(alignments), rnd.choice(plans)
    quantities = {code: rnd.randint(0, 9) for code in plan.seats()}
    trial_end = start + timedelta(seconds=rnd.randint(3600, 40 * 86400)) if rnd.random() < 0.4 else None
    subscription = {"customer": "acme", "plan": plan.code, "alignment": alignment, "timezone": zone,
                    "quantities": {code: number(F(n)) for code, n in quantities.items()}}
    if trial_end:
        subscription["trial_end"] = write(trial_end)
    life = Life(start, zone, alignment, plan, quantities, trial_end)
    say(make={"plans": [plan.body() for plan in plans], "subscription": subscription}, **life.told())
    last = start + timedelta(days=MONTHS * 365 // 12)
    after_end = 0
    while life.now < last and after_end < 4:
        now = author.step_of_time(life)
        life.pass_to(now)
        say(advance=write(now), **life.told())
        if rnd.random() < 0.6:
            events = [author.event(life) for _ in range(rnd.randint(1, 5))]
            say(send=events, **life.told())
        if rnd.random() < 0.5:
            verb, body, act = author.verb(life, plans, bases)
            status = 200
            try:
                act()
            except Refused as refused:
                status = refused.status
            say(verb=verb, body=body, status=status, is_now=life.status(), **life.told())
        after_end += life.ended
    if not life.ended:
        life.pass_to(life.now + timedelta(days=60))
        say(advance=write(life.now), **life.told())


if __name__ == "__main__":
    main()
