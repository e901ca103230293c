/** Deadlines that share a timer: each passes when it is due and not before, in order, unless it was taken back. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Deadlines } from "../../src/lib/deadlines.ts";
import { socketPair, standStill } from "../support/stand-still.ts";

/** Resolves with how long a deadline took to pass. */
const passing = (deadlines: Deadlines, ms: number): Promise<number> =>
  new Promise((resolve) => {
    const startedMs = performance.now();
    deadlines.set({ passed: () => resolve(performance.now() - startedMs) }, ms);
  });

/** The shared timers keep no process up, and so a test waits with one that does. */
const awake = async <T>(run: () => Promise<T>): Promise<T> => {
  const held = setInterval(() => undefined, 1_000);
  try {
    return await run();
  } finally {
    clearInterval(held);
  }
};

test("each deadline passes after its own time, never before, also behind ones that were taken back", () =>
  awake(async () => {
    const deadlines = new Deadlines();
    const early = { passed: () => assert.fail("it was taken back") };
    deadlines.set(early, 30);
    const first = passing(deadlines, 30);
    deadlines.clear(early, 30);
    const other = passing(deadlines, 5);
    assert.ok((await other) >= 5);
    const second = passing(deadlines, 30); // set while the first one's timer runs
    assert.ok((await first) >= 30);
    assert.ok((await second) >= 30);
    assert.ok((await passing(deadlines, 30)) >= 30);
  }));

test("of one length the one that was set first passes first, and one may set another as it passes", () =>
  awake(async () => {
    const deadlines = new Deadlines();
    const order: number[] = [];
    await new Promise<void>((resolve) => {
      for (const nth of [1, 2, 3])
        deadlines.set(
          {
            passed() {
              order.push(nth);
              if (nth === 3) deadlines.set({ passed: resolve }, 2);
            },
          },
          2,
        );
    });
    assert.deepEqual(order, [1, 2, 3]);
  }));

test("a deadline keeps no process up, and may be taken back after it has passed", () =>
  awake(async () => {
    const timers = (): number =>
      process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length;
    const before = timers();
    const deadlines = new Deadlines();
    const due = Promise.withResolvers<void>();
    const waiting = { passed: () => due.resolve() };
    deadlines.set(waiting, 1);
    assert.equal(timers(), before);
    await due.promise;
    deadlines.clear(waiting, 1);
    deadlines.clear(waiting, 2);
  }));

test("those that set another as they pass share one timer all the same", (t) =>
  awake(async () => {
    const deadlines = new Deadlines();
    const rounds = 30;
    const start = globalThis.setTimeout;
    let running = 0;
    let most = 0;
    let started = 0;
    t.mock.method(globalThis, "setTimeout", (passed: () => void, ms: number) => {
      running += 1;
      most = Math.max(most, running);
      if (ms >= 1) started += 1; // one that comes a little early is started anew for what is left
      return start(() => {
        running -= 1;
        passed();
      }, ms);
    });
    const again = (left: number): Promise<void> =>
      new Promise((resolve) => {
        const passed = (): void => (left === 0 ? resolve() : void again(left - 1).then(resolve));
        deadlines.set({ passed }, 4);
      });
    const pause = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
    const first = again(rounds);
    for (const asked = performance.now(); performance.now() - asked < 2; ) await pause();
    await Promise.all([first, again(rounds)]);
    assert.equal(most, 1);
    // each of the two passes once a round
    assert.ok(started <= 4 * (rounds + 1) + 2, `${started} timers`);
  }));

test("one that becomes due while the next look is set is looked at as soon as may be", (t) =>
  awake(async () => {
    const deadlines = new Deadlines();
    const started = t.mock.method(globalThis, "setTimeout");
    // when it is set; when it is looked at, a little early; when the next look is set; and from then on
    const times = [0, 0, 19.9, 20.5];
    t.mock.method(performance, "now", () => times.shift() ?? 21);
    await new Promise<void>((resolve) => deadlines.set({ passed: resolve }, 20));
    const waits = started.mock.calls.map(({ arguments: [, ms] }) => ms);
    assert.deepEqual(waits, [20, 0]); // Node warns of less
  }));

test("what came while the process stood still is read first, and may take a deadline back", async () => {
  using line = await socketPair();
  const deadlines = new Deadlines();
  const passed = await new Promise<boolean>((resolve) => {
    const due = { passed: () => resolve(true) };
    line.near.once("data", () => {
      deadlines.clear(due, 20);
      resolve(false);
    });
    setImmediate(() => {
      deadlines.set(due, 20);
      line.far.write("an answer in time");
      standStill(50);
    });
  });
  assert.equal(passed, false);
});
