"""Local times and instants (RULES 3 and 6)."""

from datetime import date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

# Zones whose rules are settled: what legislators change next year must not change what is compared.
ZONES = [
    "UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "Asia/Tokyo",
    "America/St_Johns", "Pacific/Auckland", "Pacific/Apia",
]


def read(text):
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)


def write(instant):
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def day(instant, zone):
    return instant.astimezone(ZoneInfo(zone)).date()


def instant(wall, zone):
    """The instant of a local time: after the gap if it does not exist, the earlier if it exists twice."""
    there = ZoneInfo(zone)
    found = wall.replace(tzinfo=there).astimezone(timezone.utc)
    if found.astimezone(there).replace(tzinfo=None) == wall:
        return found
    # `found` lies after the gap, with the offset of before it. Walk back to the jump by halves.
    before, after = found - timedelta(days=2), found
    old = before.astimezone(there).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=int((after - before).total_seconds()) // 2)
        if middle.astimezone(there).utcoffset() == old:
            before = middle
        else:
            after = middle
    return after


def midnight(on: date, zone):
    return instant(datetime.combine(on, time(0)), zone)
