/**
 * The terminals' master descriptors of this process. The package opens them without close-on-exec, so each process that
 * is started meanwhile would hold them too, and could read and type into another's session. Descriptors belong to the
 * process as a whole, hence state of the module.
 */
import { closeSync, openSync } from "node:fs";

const masters = new Map<number, object>();

export const terminalOpened = (fd: number, owner: object): void => void masters.set(fd, owner);

/** The number may have been given to the next terminal before its first owner hears of its own end. */
export const terminalClosed = (fd: number, owner: object): void => {
  if (masters.get(fd) === owner) masters.delete(fd);
};

const firstFree = 3;

/**
 * Runs `start` with what `spawn` must get behind its three first `stdio` entries: /dev/null in place of each terminal.
 */
export const withoutTerminals = <T>(start: (more: readonly ("ignore" | number)[]) => T): T => {
  if (masters.size === 0) return start([]);
  const nothing = openSync("/dev/null", "r+");
  try {
    const count = Math.max(...masters.keys()) + 1 - firstFree;
    return start(
      Array.from({ length: count }, (_none, index) =>
        masters.has(index + firstFree) ? nothing : "ignore",
      ),
    );
  } finally {
    closeSync(nothing);
  }
};
