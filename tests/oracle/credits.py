"""What is left of credits (RULES 40), day by day: everything in a case happens at a midnight in UTC."""

from datetime import datetime, timedelta, timezone
from fractions import Fraction as F

from exact import number
from zones import write

BASE = datetime(2026, 1, 1, tzinfo=timezone.utc)
NEVER = 10**9


def on(day):
    return write(BASE + timedelta(days=day))


def case(rnd):
    grants = [a_grant(rnd, i) for i in range(rnd.randint(0, 5))]
    used = [(rnd.randint(-2, 35), F(rnd.randint(0, 600), 10)) for _ in range(rnd.randint(0, 12))]
    resets = [rnd.randint(0, 30) for _ in range(rnd.randint(0, 3))]
    at, preserve, soft = rnd.randint(0, 32), rnd.random() < 0.5, rnd.random() < 0.2
    question = {
        "start": on(0), "at": on(at), "preserve_overage": preserve, "grants": [written(g) for g in grants],
        "usage": [{"timestamp": on(d), "amount": number(amount)} for d, amount in used],
        "resets": [on(d) for d in resets],
    }
    if soft:
        question["soft_limit"] = True

    account = Account(grants, preserve)
    for today in range(at + 1):
        account.morning(today, today in resets)
        if today < at:
            for d, amount in used:
                if d == today:
                    account.use(amount)
    left = sum(account.left.values(), F(0))
    return question, {
        "balances": {name: number(balance) for name, balance in sorted(account.left.items())},
        "overage": number(account.debt), "has_access": left > 0 or soft, "usage_in_period": number(account.used),
    }


def a_grant(rnd, i):
    grant = {
        "id": f"g{i}", "amount": F(rnd.randint(0, 1000), 10), "priority": rnd.randint(0, 2), "from": rnd.randint(-5, 25),
        "until": NEVER, "void": NEVER, "every": None, "keeps": None,
    }
    if rnd.random() < 0.3:
        grant["made"] = rnd.randint(-9, 9)
    if rnd.random() < 0.4:
        grant["until"] = rnd.randint(-5, 35)
    if rnd.random() < 0.2:
        grant["void"] = rnd.randint(0, 35)
    if rnd.random() < 0.4:
        grant["every"] = (rnd.randint(1, 9), rnd.randint(-20, 30))
    if rnd.random() < 0.5:
        low = rnd.randint(0, 40)
        grant["keeps"] = (low, low + rnd.randint(0, 40))
    return grant


def written(grant):
    found = {"id": grant["id"], "amount": number(grant["amount"]), "effective_at": on(grant["from"])}
    if "made" in grant:
        found["created_at"] = on(grant["made"])
    if grant["priority"]:
        found["priority"] = grant["priority"]
    if grant["until"] != NEVER:
        found["expires_at"] = on(grant["until"])
    if grant["void"] != NEVER:
        found["voided_at"] = on(grant["void"])
    if grant["every"]:
        count, anchor = grant["every"]
        found["recurrence"] = {"interval": {"unit": "day", "count": count}, "anchor": on(anchor)}
    if grant["keeps"]:
        found["rollover"] = {"min": str(grant["keeps"][0]), "max": str(grant["keeps"][1])}
    return found


class Account:
    def __init__(self, grants, preserve):
        self.grants = sorted(grants, key=lambda g: (g["priority"], g["until"], g.get("made", g["from"]), g["id"]))
        self.preserve, self.debt, self.used = preserve, F(0), F(0)
        whole = lambda g: g["amount"] if g["from"] < 0 and alive(g, 0) else F(0)
        self.left = {g["id"]: whole(g) for g in grants}

    def morning(self, today, reset):
        """Expiries, resets, grants; usage comes after."""
        for g in self.grants:
            if not alive(g, today):
                self.left[g["id"]] = F(0)
        if reset:
            for g in self.grants:
                keeps = g["keeps"] if alive(g, today) and g["from"] < today else None
                kept = min(F(keeps[1]), max(F(keeps[0]), self.left[g["id"]])) if keeps else F(0)
                self.left[g["id"]] = kept
            self.used, self.debt = F(0), self.debt if self.preserve else F(0)
            self.debt = self.burn(self.debt)
        for g in self.grants:
            refilled = g["every"] and today > g["from"] and (today - g["every"][1]) % g["every"][0] == 0
            if alive(g, today) and (g["from"] == today or refilled):
                self.left[g["id"]] = g["amount"]
                self.debt = self.burn(self.debt)

    def use(self, amount):
        self.used += amount
        self.debt += self.burn(amount)

    def burn(self, amount):
        for g in self.grants:
            part = min(amount, self.left[g["id"]])
            self.left[g["id"]] -= part
            amount -= part
        return amount


def alive(g, today):
    return g["from"] <= today < min(g["until"], g["void"])
