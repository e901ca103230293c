import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";

/** Turns the event loop until `condition` holds; fails after some seconds. `each` runs before every look. */
export const until = async (
  what: string,
  condition: () => boolean,
  each: () => void = () => {},
): Promise<void> => {
  const deadline = performance.now() + 10_000;
  for (;;) {
    each();
    if (condition()) return;
    assert.ok(performance.now() < deadline, `waited too long: ${what}`);
    await turn();
  }
};
