/**
 * Turns at a node all of whose connections are taken: a viewer whose caller reads waits for one as long as it takes, and lets go
 * of it where others wait and it has had it for a while.
 */
import type { Viewer } from "./viewer.ts";

/**
 * Time for megabytes, and short for those who wait, who have heartbeats meanwhile: nothing that an operator could weigh better. How long
 * one waits has no bound but its caller's own: it has its head, and others come to their end or catch up.
 */
const turnMs = 1_000;

/** Who has had a connection since then lets others have it. Not in a file in which it could not find its place again. */
export const isTurnOver = ({ stand, carrying }: Viewer, sinceMs: number): boolean =>
  carrying.reach.pool.isShort &&
  performance.now() - sinceMs >= turnMs &&
  stand?.of.isUnsure === false;

/**
 * Resolves when the viewer may ask for a connection: not before its caller takes more, where there are too few or it has just let
 * others have its own. Until something else brings it its bytes, one that takes none for too long is ended.
 */
export const untilTurn = (viewer: Viewer, when: "alone" | "later"): Promise<void> =>
  new Promise((resolve, reject) => {
    const { exchange, reach } = viewer.carrying;
    const { signal } = exchange;
    const onAbort = (): void => reject(signal.reason);
    const resume = (): void => {
      signal.removeEventListener("abort", onAbort);
      resolve();
    };
    viewer.source = { resume, fail: (error) => exchange.end(error) };
    signal.addEventListener("abort", onAbort);
    if (signal.aborted) onAbort();
    else if (!viewer.isBlocked || (when === "alone" && !reach.pool.isShort)) resume();
  });
