/** What streams cost, with the aims beside it, and the table that people read. */
import { verdict } from "../index-workload.ts";
import type { Followers } from "./crowd.ts";
import type { Echo } from "./exec-echo.ts";
import type { Readers } from "./readers.ts";
import type { StartUp } from "./start-up.ts";

export interface Measured {
  readonly followers: readonly Followers[];
  readonly readers: Readers | undefined;
  readonly echoes: readonly Echo[];
  readonly starts: readonly StartUp[];
}

export interface Aim {
  readonly what: string;
  readonly is: number;
  readonly aim: number;
  readonly met: boolean;
}

const kibEach = ({ rssKib, followers }: Followers): number =>
  (rssKib.after - rssKib.before) / followers;

const atMost = (what: string, is: number, aim: number): Aim => ({ what, is, aim, met: is <= aim });

export const aimsOf = ({ followers, readers, echoes, starts }: Measured): readonly Aim[] => [
  ...followers.flatMap((one) => [
    atMost(`${one.carrier}: KiB for each follower`, kibEach(one), 40),
    atMost(`${one.carrier}: p99 of the event loop's delay, ms`, one.loopP99Ms, 50),
    atMost(`${one.carrier}: largest gap between two heartbeats, ms`, one.largestGapMs, 2_000),
    atMost(`${one.carrier}: share of a core`, one.cpuShare, 0.5),
    atMost(`${one.carrier}: followers refused or cut`, one.refused + one.cut, 0),
  ]),
  ...(readers === undefined
    ? []
    : [
        atMost("stopped readers: RSS grows by, MiB", readers.rssGrewKib / 1_024, 64),
        atMost(
          "stopped readers: p99 of the fast ones, with / without",
          readers.beside.p99Ms / readers.without.p99Ms,
          1.1,
        ),
      ]),
  ...echoes.flatMap(({ kind, prompt, key }) => [
    atMost(`exec, ${kind}: added to the first prompt, ms`, prompt.added, 5),
    atMost(`exec, ${kind}: added to the echo of a key, ms`, key.added, 0.5),
  ]),
  ...starts.flatMap(({ from, firstMs, laterMs }) => [
    atMost(`start from the ${from}: the first, ms`, firstMs, 1_000),
    atMost(`start from the ${from}: later ones, ms`, laterMs, 500),
  ]),
];

/* ---- for people ---- */

const right = (words: string | number, width: number): string => String(words).padStart(width);
const rounded = (value: number, width: number, digits = 0): string =>
  right(value.toFixed(digits), width);

const followersTable = (all: readonly Followers[]): readonly string[] => [
  "followers, each of a log of its own: a heartbeat each second, a line each ten",
  `${"".padEnd(8)}${["followers", "opened s", "KiB each", "heap KiB", "loop p99", "gap p99", "largest", "core %"].map((head) => right(head, 10)).join("")}`,
  ...all.map(
    (one) =>
      `${one.carrier.padEnd(8)}${right(one.followers, 10)}${rounded(one.openedInMs / 1_000, 10, 1)}${rounded(kibEach(one), 10, 1)}${rounded((one.heapKib.after - one.heapKib.before) / one.followers, 10, 1)}${rounded(one.loopP99Ms, 10, 1)}${rounded(one.p99GapMs, 10)}${rounded(one.largestGapMs, 10)}${rounded(one.cpuShare * 100, 10)}`,
  ),
  "",
];

const readersTable = ({ stopped, fast, rounds, without, beside }: Readers): readonly string[] => [
  `${fast} readers of small files, without and beside ${stopped} that stop in a file of 1 GiB (${rounds} rounds)`,
  `${"".padEnd(8)}${["p50 ms", "p99 ms", "RSS MiB"].map((head) => right(head, 10)).join("")}`,
  ...([["without", without], ["beside", beside]] as const).map(
    ([name, { p50Ms, p99Ms, rssKib }]) =>
      `${name.padEnd(8)}${rounded(p50Ms, 10, 1)}${rounded(p99Ms, 10, 1)}${rounded(rssKib / 1_024, 10)}`,
  ), // biome-ignore format: rows
  "",
];

const echoTable = (all: readonly Echo[]): readonly string[] => [
  "exec: milliseconds to the first prompt, and to the echo of a key",
  `${"".padEnd(8)}${["prompt:", "agent", "gateway", "added", "key:", "agent", "gateway", "added"].map((head) => right(head, 9)).join("")}`,
  ...all.map(
    ({ kind, prompt, key }) =>
      `${kind.padEnd(8)}${right("", 9)}${rounded(prompt.direct, 9, 2)}${rounded(prompt.gateway, 9, 2)}${rounded(prompt.added, 9, 2)}${right("", 9)}${rounded(key.direct, 9, 2)}${rounded(key.gateway, 9, 2)}${rounded(key.added, 9, 2)}`,
  ),
  "",
];

const startTable = (all: readonly StartUp[]): readonly string[] => [
  "from the start of `serai server` until it is ready, milliseconds",
  `${"".padEnd(9)}${["first", "later", "node -e 0"].map((head) => right(head, 11)).join("")}`,
  ...all.map(
    ({ from, firstMs, laterMs, nodeMs }) =>
      `${from.padEnd(9)}${rounded(firstMs, 11)}${rounded(laterMs, 11)}${rounded(nodeMs, 11)}`,
  ),
  "",
];

export const tableOf = (measured: Measured, aims: readonly Aim[]): string => {
  const { followers, readers, echoes, starts } = measured;
  return [
    ...(followers.length === 0 ? [] : followersTable(followers)),
    ...(readers === undefined ? [] : readersTable(readers)),
    ...(echoes.length === 0 ? [] : echoTable(echoes)),
    ...(starts.length === 0 ? [] : startTable(starts)),
    ...aims.map(
      ({ what, is, aim, met }) =>
        `${what.padEnd(60)}${right(is.toFixed(2), 9)}   aim ${aim}: ${verdict(met)}`,
    ),
  ].join("\n");
};
