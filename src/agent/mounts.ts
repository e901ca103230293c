/** What is mounted where, as /proc tells it. */
import { readFileSync, realpathSync } from "node:fs";

export interface Mount {
  readonly device: string;
  readonly mountpoint: string;
}

const unescapeMount = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_all, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );

/** In the order in which they were mounted; none where there is no /proc. */
export const mounts = (): readonly Mount[] => {
  try {
    const lines = readFileSync("/proc/self/mounts", "utf8").trimEnd().split("\n");
    return lines.map((line) => {
      const [device = "", mountpoint = ""] = line.split(" ");
      return { device: unescapeMount(device), mountpoint: unescapeMount(mountpoint) };
    });
  } catch {
    return [];
  }
};

/** The device that a folder lies on, as `df` names it; "" when that is not known. */
export const deviceOf = (folder: string): string => {
  const within = `${realpathSync(folder)}/`;
  const depthOf = ({ mountpoint }: Mount): number =>
    within.startsWith(mountpoint.endsWith("/") ? mountpoint : `${mountpoint}/`)
      ? mountpoint.length
      : 0;
  // of two on one place the later one is seen
  const [deepest] = mounts()
    .toReversed()
    .toSorted((one, other) => depthOf(other) - depthOf(one));
  return deepest === undefined || depthOf(deepest) === 0 ? "" : deepest.device;
};
