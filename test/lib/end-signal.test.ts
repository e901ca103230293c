/** EndSignal does what Node's AbortController does with the same calls. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { promisify } from "node:util";
import { EndSignal } from "../../src/lib/end-signal.ts";

type Making = () => { readonly signal: AbortSignal; abort(reason: unknown): void };

const both: readonly (readonly [name: string, make: Making])[] = [
  ["EndSignal", () => new EndSignal()],
  ["AbortController", () => new AbortController()],
];

for (const [name, make] of both) {
  test(`${name}: the first reason counts, and each listener hears of it once, in order`, () => {
    const ending = make();
    const { signal } = ending;
    const heard: string[] = [];
    const first = (): void => void heard.push("first");
    const twice = { handleEvent: (event: Event) => void heard.push(event.type) };
    signal.addEventListener("abort", first);
    signal.addEventListener("abort", twice);
    signal.addEventListener("abort", twice);
    const never = (): void => void heard.push("never");
    signal.addEventListener("abort", never, { once: true });
    signal.removeEventListener("abort", never);
    signal.onabort = () => void heard.push("property");
    assert.equal(signal.aborted, false);
    signal.throwIfAborted();
    const reason = new Error("one");
    ending.abort(reason);
    ending.abort(new Error("two"));
    signal.addEventListener("abort", never);
    assert.deepEqual(heard.slice(0, 2), ["first", "abort"]);
    assert.deepEqual(heard.toSorted(), ["abort", "first", "property"]);
    assert.equal(signal.reason, reason);
    assert.equal(signal.aborted, true);
    assert.throws(() => signal.throwIfAborted(), reason);
  });

  test(`${name}: a listener that goes while it is told of the end takes nobody along`, () => {
    const ending = make();
    const { signal } = ending;
    const heard: string[] = [];
    const other = (): void => void heard.push("other");
    const first = (): void => {
      heard.push("first");
      signal.removeEventListener("abort", first);
    };
    signal.addEventListener("abort", first);
    signal.addEventListener("abort", other);
    ending.abort(new Error("over"));
    assert.deepEqual(heard, ["first", "other"]);
  });

  test(`${name}: Node's own waits take it`, async () => {
    const ending = make();
    const { signal } = ending;
    const waits = [
      pause(60_000, undefined, { signal }),
      once(new EventEmitter(), "never", { signal }),
    ];
    ending.abort(new Error("over"));
    for (const wait of waits) await assert.rejects(wait, { name: "AbortError" });
  });
}

test("a listener that throws keeps no other from hearing, and is not passed over", async () => {
  const module = new URL("../../src/lib/end-signal.ts", import.meta.url).href;
  const program = `
    import { EndSignal } from ${JSON.stringify(module)};
    process.on("uncaughtException", ({ message }) => console.log("uncaught", message));
    const ending = new EndSignal();
    ending.addEventListener("abort", () => { throw new Error("by a listener"); });
    ending.addEventListener("abort", () => console.log("heard"));
    ending.abort(new Error("over"));`;
  const { stdout } = await promisify(execFile)(process.execPath, [
    "--input-type=module",
    "--eval",
    program,
  ]);
  assert.equal(stdout, "heard\nuncaught by a listener\n");
});
