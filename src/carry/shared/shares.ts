/** All shared follows of one gateway, by the log that they follow. */
import { createWheel } from "../../lib/wheel.ts";
import { Share } from "./share.ts";
import type { Viewer } from "./viewer.ts";

export interface SharesOptions {
  /** Bytes of a log that are kept for its viewers. */
  readonly ringBytes: number;
  /** Logs that may have a ring; viewers of others each follow by themselves. */
  readonly maxRings: number;
}

export interface Shares {
  /** The share of a viewer's log, when one is open now. */
  open(viewer: Viewer): Share | undefined;
  /** The same, made where there is none. Who is added is to be removed. */
  of(viewer: Viewer): Share;
  readonly stats: {
    /** Follows at agents that are shared. */
    readonly follows: number;
    /** Viewers that have no follow of their own. */
    readonly viewers: number;
  };
}

const defaults: SharesOptions = { ringBytes: 256 * 1024, maxRings: 256 };
const beatMs = 1_000;

/** Logs that end at different moments are different ones. */
const keyOf = ({ carrying, allocationId, parameters }: Viewer): string => {
  const { task, type, until } = parameters;
  return JSON.stringify([carrying.reach.node.id, allocationId, task, type, until ?? ""]);
};

export const createShares = (given: Partial<SharesOptions> = {}): Shares => {
  const { ringBytes, maxRings } = { ...defaults, ...given };
  const beats = createWheel(beatMs);
  const shares = new Map<string, Share>();
  let rings = 0;
  const takeRing = (): boolean => {
    if (rings >= maxRings) return false;
    rings += 1;
    return true;
  };
  return {
    open(viewer) {
      const known = shares.get(keyOf(viewer));
      return known?.isOpen ? known : undefined;
    },
    of(viewer) {
      const key = keyOf(viewer);
      const known = shares.get(key);
      if (known !== undefined) return known;
      const emptied = (hadRing: boolean): void => {
        shares.delete(key);
        if (hadRing) rings -= 1;
      };
      const share = new Share({ beats, takeRing, emptied }, { ringBytes });
      shares.set(key, share);
      return share;
    },
    get stats() {
      const all = [...shares.values()];
      return {
        follows: all.filter(({ isOpen }) => isOpen).length,
        viewers: all.reduce((sum, { members }) => sum + members, 0),
      };
    },
  };
};
