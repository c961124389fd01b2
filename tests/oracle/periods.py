"""Billing periods: the n-th boundary is counted from the anchor (RULES 1 to 4)."""

import calendar
from datetime import date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

from zones import ZONES, instant, write

MONTHS = {"month": 1, "quarter": 3, "year": 12}
DAYS = {"day": 1, "week": 7}


def case(rnd):
    zone, unit = rnd.choice(ZONES), rnd.choice(["day", "week", "month", "quarter", "year"])
    # Not beyond 2100, where the tables of the Rust library end.
    count = rnd.choice([1, 1, 1, 2, 3, 6] if unit == "year" else [1, 1, 1, 2, 3, 6, 13])
    alignment = rnd.choice(["anniversary", "calendar"])
    if unit in MONTHS and rnd.random() < 0.3:
        alignment = {"day_of_month": rnd.randint(1, 31)}
    anchor = an_anchor(rnd)
    start = anchor
    if rnd.random() < 0.4:
        start = anchor + timedelta(seconds=rnd.randint(-(10**8), 10**8))

    grid = Grid(anchor, unit, count, alignment, zone)
    first = grid.first_after(start)
    question = {
        "interval": {"unit": unit, "count": count}, "alignment": alignment, "anchor": write(anchor), "timezone": zone,
    }
    if start != anchor or rnd.random() < 0.2:
        question["start"] = write(start)
    points = [start] + [grid.boundary(first + i) for i in range(rnd.randint(1, 6))]
    points = [point for i, point in enumerate(points) if i == 0 or point > points[i - 1]]
    if rnd.random() < 0.3:
        inside = rnd.choice(points[:-1])
        within = next(p for p in zip(points, points[1:]) if p[0] == inside)
        asked = within[0] + timedelta(seconds=rnd.randint(0, int((within[1] - within[0]).total_seconds()) - 1))
        question["containing"], pairs = write(asked), [within]
    else:
        pairs = list(zip(points, points[1:]))
        question["count"] = len(pairs)
        if rnd.random() < 0.3:
            end = start + timedelta(seconds=rnd.randint(1, int((points[-1] - start).total_seconds())))
            question["ends_at"] = write(end)
            pairs = [(a, min(b, end)) for a, b in pairs if a < end]
    periods = [{"start": write(a), "end": write(b)} for a, b in pairs]
    return question, {"anchor_day": grid.anchor_day(), "periods": periods}


def an_anchor(rnd):
    anchor = datetime.fromtimestamp(rnd.randint(946684800, 2500000000), timezone.utc)
    if rnd.random() < 0.5:
        anchor = anchor.replace(minute=rnd.choice([0, 30]), second=0)
    if rnd.random() < 0.3:
        anchor = anchor.replace(day=calendar.monthrange(anchor.year, anchor.month)[1])
    return anchor


class Grid:
    def __init__(self, anchor, unit, count, alignment, zone):
        self.anchor, self.unit, self.count, self.alignment, self.zone = anchor, unit, count, alignment, zone
        self.local = anchor.astimezone(ZoneInfo(zone)).replace(tzinfo=None)

    def boundary(self, k):
        if k == 0 and self.alignment == "anniversary":
            return self.anchor
        on, at = self.local.date(), time(0)
        if self.alignment == "anniversary":
            at = self.local.time()
        if self.unit in DAYS:
            if self.alignment == "calendar" and self.unit == "week":
                on -= timedelta(days=on.weekday())
            on += timedelta(days=k * self.count * DAYS[self.unit])
        else:
            month = k * self.count * MONTHS[self.unit] + on.year * 12
            if self.alignment == "calendar":
                on = clamped(month, 1)
            else:
                on = clamped(month + on.month - 1, self.anchor_day())
        return instant(datetime.combine(on, at), self.zone)

    def first_after(self, start):
        length = {"day": 1, "week": 7, "month": 30.4, "quarter": 91, "year": 365}[self.unit] * self.count
        k = int((start - self.anchor).days / length) - 3
        while self.boundary(k) <= start:
            k += 1
        return k

    def anchor_day(self):
        if isinstance(self.alignment, dict):
            return self.alignment["day_of_month"]
        if self.alignment == "calendar" and self.unit in MONTHS:
            return 1
        if self.alignment == "calendar" and self.unit == "week":
            return (self.local.date() - timedelta(days=self.local.weekday())).day
        return self.local.day


def clamped(month, day):
    year, month = divmod(month, 12)
    return date(year, month + 1, min(day, calendar.monthrange(year, month + 1)[1]))
