"""Sends usage as CloudEvents by the public Python SDK, in every mode it has.

Usage: cloudevents_send.py URL KEY. Prints how many events of each mode were accepted.
"""

import json
import sys
import urllib.request
from datetime import datetime, timezone

from cloudevents.core.bindings.http import HTTPMessage, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

URL, KEY = sys.argv[1:]


def event(name, tokens, **data):
    attributes = {
        "id": name,
        "source": "/python",
        "type": "call",
        "subject": "acme",
        "time": datetime(2025, 12, 31, 10, tzinfo=timezone.utc),
        "datacontenttype": "application/json",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    }
    return CloudEvent(attributes=attributes, data={"tokens": tokens, **data})


def send(mode, message):
    headers = {**message.headers, "authorization": f"Bearer {KEY}"}
    request = urllib.request.Request(f"{URL}/v1/usage_events", data=message.body, headers=headers)
    with urllib.request.urlopen(request) as answer:
        told = json.load(answer)
    if told["rejected"]:
        sys.exit(f"{mode}: {told}")
    print(mode, told["accepted"])


def batch(*events):
    """The SDK has no batches of its own: they are its structured events in an array."""
    bodies = [to_structured(each, JSONFormat()).body for each in events]
    headers = {"content-type": "application/cloudevents-batch+json"}
    return HTTPMessage(headers=headers, body=b"[" + b",".join(bodies) + b"]")


send("structured", to_structured(event("structured", 1), JSONFormat()))
send("batch", batch(event("batch-1", 2), event("batch-2", 4.5)))
send("binary", to_binary(event("binary-ü", 10, model="größer"), JSONFormat()))
