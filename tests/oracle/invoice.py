"""An invoice from its lines to what is due (RULES 29 to 32)."""

import math
from fractions import Fraction as F

from exact import half_away, largest_remainder, major, minor, money, number, some

RATES = [["20"], ["5.5"], ["20", "5.5"], [], ["9.975", "5"], ["0"], ["7.25"]]


def case(rnd):
    currency, rounding = rnd.choice(["USD", "JPY", "KWD"]), rnd.choice(["rate", "invoice", "line"])
    lines = [
        {"id": f"l{i}", "amount": number(an_amount(rnd)), "tax_rates": rnd.choice(RATES)}
        for i in range(rnd.randint(0, rnd.choice([6, 6, 40])))
    ]
    if rnd.random() < 0.2:
        for line in lines:
            line["amount"] = number(F(rnd.randint(1, 9), 100))
    question = {"currency": currency, "tax_rounding": rounding, "lines": lines}
    rows = [
        {"id": line["id"], "amount": minor(F(line["amount"]), currency), "rates": line["tax_rates"]} for line in lines
    ]
    if rnd.random() < 0.3:
        commitment = rnd.randint(0, 300000)
        question["minimum_commitment"] = money(commitment, currency)
        missing = commitment - sum(row["amount"] for row in rows)
        if missing > 0:
            rows.append({"id": "minimum_commitment", "amount": missing, "rates": []})
    for row in rows:
        row["taxable"] = row["amount"]
    question["coupons"] = [a_coupon(rnd, currency, rows, lines) for _ in range(rnd.randint(0, 3))]
    for row in rows:
        row["discount"] = row["amount"] - row["taxable"]
    if rnd.random() < 0.3:
        question["tax_inclusive"] = True
        take_taxes_out(rows, rounding)
    else:
        add_taxes(rows, rounding)
    return question, answer(rnd, question, rows, currency)


def an_amount(rnd):
    return some(rnd, -100000 if rnd.random() < 0.1 else 0, 100000, 4)


def a_coupon(rnd, currency, rows, lines):
    """Makes a coupon and takes it off what the ones before it left."""
    coupon, named = {}, None
    if lines and rnd.random() < 0.3:
        named = [line["id"] for line in rnd.sample(lines, rnd.randint(1, len(lines)))]
        coupon["lines"] = named
    meant = [row for row in rows if (named is None or row["id"] in named) and row["taxable"] > 0]
    left = sum(row["taxable"] for row in meant)
    if rnd.random() < 0.5:
        percent = some(rnd, 0, 1000, 1) % 101
        coupon |= {"type": "percent", "percent": number(percent)}
        taken = half_away(F(left) * percent / 100)
    else:
        amount = rnd.randint(0, 60000)
        coupon |= {"type": "amount", "amount": money(amount, currency)}
        taken = min(amount, left)
        if rnd.random() < 0.2:
            coupon |= {"currency": "EUR", "amount": "1.00"}
            taken = 0
    for row, part in zip(meant, largest_remainder(taken, [row["taxable"] for row in meant])):
        row["taxable"] -= part
    return coupon


def add_taxes(rows, rounding):
    exactly = lambda row: F(row["taxable"]) * sum(map(F, row["rates"])) / 100
    if rounding == "line":
        taxes = [half_away(exactly(row)) for row in rows]
    elif rounding == "invoice":
        taxes = spread(half_away(sum(map(exactly, rows), F(0))), [exactly(row) for row in rows])
    else:
        taxes = [0 for _ in rows]
        for rate in dict.fromkeys(rate for row in rows for rate in row["rates"]):
            taxed = [i for i, row in enumerate(rows) if rate in row["rates"]]
            whole = half_away(F(sum(rows[i]["taxable"] for i in taxed)) * F(rate) / 100)
            for i, part in zip(taxed, spread(whole, [rows[i]["taxable"] * F(rate) / 100 for i in taxed])):
                taxes[i] += part
    for row, tax in zip(rows, taxes):
        row["tax"] = tax


def spread(whole, parts):
    """By largest remainder. Where charges and credits meet, each part stays what it is, but for a minor unit."""
    sign = -1 if whole < 0 else 1
    if all(part * sign >= 0 for part in parts):
        return [sign * part for part in largest_remainder(abs(whole), [abs(part) for part in parts])]
    given = [math.floor(part * sign) for part in parts]
    by_remainder = sorted(range(len(parts)), key=lambda i: (given[i] - parts[i] * sign, i))
    for i in by_remainder[: abs(whole) - sum(given)]:
        given[i] += 1
    return [sign * part for part in given]


def take_taxes_out(rows, rounding):
    """Net is gross less what it contains; the largest takes the remainder, as far as it stays between 0 and its gross."""
    together = {
        "rate": lambda i: sorted(map(F, rows[i]["rates"])), "invoice": lambda i: None, "line": lambda i: i,
    }[rounding]
    groups = []
    for i in range(len(rows)):
        group = next((group for group in groups if together(group[0]) == together(i)), None)
        groups.append([i]) if group is None else group.append(i)
    for group in groups:
        exact = {i: rows[i]["taxable"] / (1 + sum(map(F, rows[i]["rates"])) / 100) for i in group}
        net = {i: half_away(F(exact[i])) for i in group}
        missing = half_away(sum(map(F, exact.values()), F(0))) - sum(net.values())
        for i in sorted(group, key=lambda i: -abs(rows[i]["taxable"])):
            if not any(map(F, rows[i]["rates"])):
                continue
            gross = rows[i]["taxable"]
            able = max(min(0, gross), min(max(0, gross), net[i] + missing))
            net[i], missing = able, net[i] + missing - able
        for i in group:
            rows[i]["tax"], rows[i]["taxable"] = rows[i]["taxable"] - net[i], net[i]


def answer(rnd, question, rows, currency):
    written = lambda units: money(units, currency)
    notes = [rnd.randint(0, 50000) for _ in range(rnd.randint(0, 2))]
    wallets = [rnd.randint(0, 50000) for _ in range(rnd.randint(0, 3))]
    question["credit_notes"] = [{"available": written(note)} for note in notes]
    if rnd.random() < 0.2:
        question["credit_notes"].append({"available": "5.00", "currency": "EUR"})
    question["wallets"] = [{"balance": written(wallet)} for wallet in wallets]
    for wallet in question["wallets"]:
        if rnd.random() < 0.5:
            wallet["priority"] = rnd.randint(0, 3)
    balance = rnd.randint(-20000, 30000) if rnd.random() < 0.5 else 0
    if balance:
        question["customer_balance"] = number(major(balance, currency))

    signed = sum(row["taxable"] + row["tax"] for row in rows)
    total, credited = max(0, signed), max(0, -signed)
    from_notes = min(sum(notes), total)
    from_balance = min(balance, total - from_notes)
    left = total - from_notes - from_balance
    left, credited = left - min(left, credited), credited - min(left, credited)
    from_wallets = min(sum(wallets), left)
    given_back = {"credited_to_balance": written(credited)} if credited else {}
    return given_back | {
        "subtotal": written(sum(row["amount"] for row in rows)),
        "discount_total": written(sum(row["discount"] for row in rows)),
        "taxable": written(sum(row["taxable"] for row in rows)),
        "tax_total": written(sum(row["tax"] for row in rows)),
        "total": written(total),
        "credit_notes_applied": written(from_notes),
        "balance_applied": written(from_balance),
        "wallets_applied": written(from_wallets),
        "amount_due": written(left - from_wallets),
        "lines": [
            {
                "id": row["id"], "amount": written(row["amount"]), "discount": written(row["discount"]),
                "taxable": written(row["taxable"]), "tax": written(row["tax"]),
            }
            for row in rows
        ],
    }
