// Sends usage as CloudEvents by the public JavaScript SDK, in every mode it has.
//
// Usage: cloudevents_send.cjs URL KEY. Prints how many events of each mode were accepted.

const { CloudEvent, HTTP, Mode, emitterFor } = require("cloudevents");

const [url, key] = process.argv.slice(2);

function event(id, tokens, more = {}) {
  return new CloudEvent({
    id,
    source: "/javascript",
    type: "call",
    subject: "acme",
    time: "2025-12-31T10:00:00.000Z",
    datacontenttype: "application/json",
    traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    data: { tokens, ...more },
  });
}

async function send(mode, { headers, body }) {
  const authorization = `Bearer ${key}`;
  const answer = await fetch(`${url}/v1/usage_events`, { method: "POST", headers: { ...headers, authorization }, body });
  const told = await answer.json();
  if (!answer.ok || told.rejected.length > 0) {
    throw new Error(`${mode}: ${answer.status} ${JSON.stringify(told)}`);
  }
  console.log(mode, told.accepted);
}

// The SDK has no batches of its own: they are its structured events in an array.
function batch(...events) {
  const bodies = events.map((each) => HTTP.structured(each).body);
  return { headers: { "content-type": "application/cloudevents-batch+json" }, body: `[${bodies.join(",")}]` };
}

async function main() {
  await send("structured", HTTP.structured(event("structured", 1)));
  await send("batch", batch(event("batch-1", 2), event("batch-2", 4.5)));
  await send("binary", HTTP.binary(event("binary-1", 10, { model: "größer" })));
  const emit = emitterFor((message) => send("emitter", message), { mode: Mode.BINARY });
  await emit(event("emitter-1", 20));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
