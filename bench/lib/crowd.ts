/** Thousands of idle followers, each of a log of its own: what they cost the gateway. */
import { type ChildProcess, fork } from "node:child_process";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import { openFilesLimit } from "../../src/lib/open-files.ts";
import { createHome, type GatewayProgram, until } from "../../test/support/processes.ts";
import { roomyLimits } from "./bench-setting.ts";
import { cpuMs } from "./cpu.ts";
import type { CrowdOrder } from "./crowd-agent.ts";
import type { ViewersOrder, Watched } from "./crowd-viewers.ts";
import { rssKib } from "./memory.ts";

export interface Followers extends Watched {
  readonly carrier: "direct" | "tunnel";
  readonly followers: number;
  /** From the first to the last that had its head. */
  readonly openedInMs: number;
  readonly rssKib: { readonly before: number; readonly after: number };
  readonly heapKib: { readonly before: number; readonly after: number };
  /** Of the gateway, while they were watched. */
  readonly cpuShare: number;
  readonly loopP99Ms: number;
  /** Answers that were cut. */
  readonly cut: number;
  /** Refusals, after which a viewer came again. */
  readonly refused: number;
}

export interface CrowdOptions {
  readonly carrier: "direct" | "tunnel";
  readonly followers: number;
  readonly watchMs: number;
  /** Arguments of node before the gateway's program. */
  readonly node: readonly string[];
}

/** Ten nodes for the usual number of followers. */
const logsPerNode = 900;
const warmUp = 500;
const settleMs = 5_000;
const openMs = 120_000;

/** Connections to the gateway that are not viewers': its agents announce themselves, and this process asks. */
const others = 100;
/** The gateway keeps a tenth of its descriptors for itself, and two for each caller. */
export const mostFollowers = (): number => Math.floor((openFilesLimit() ?? 0) * 0.45) - others;

const said = z.object({
  allocations: z.array(z.string()).optional(),
  open: z.number().optional(),
  lost: z.enum(["cut", "refused"]).optional(),
  watched: z
    .object({ largestGapMs: z.number(), p99GapMs: z.number(), pieces: z.number() })
    .optional(),
});
type Said = z.output<typeof said>;

interface Helper extends Disposable {
  readonly child: ChildProcess;
  readonly lost: Readonly<Record<"cut" | "refused", number>>;
  heard<Name extends keyof Said>(
    name: Name,
    withinMs: number,
  ): Promise<Exclude<Said[Name], undefined>>;
}

const start = (program: string, order: object): Helper => {
  const child = fork(path.join(import.meta.dirname, program));
  child.send(order);
  const words: Said[] = [];
  const lost = { cut: 0, refused: 0 };
  child.on("message", (message) => {
    const one = said.parse(message);
    if (one.lost === undefined) words.push(one);
    else lost[one.lost] += 1;
  });
  return {
    child,
    lost,
    heard: (name, withinMs) =>
      until(
        `${name} of ${program}`,
        () => {
          if (child.exitCode !== null) throw new Error(`${program} ended with ${child.exitCode}`);
          const at = words.findIndex((one) => one[name] !== undefined);
          // found by that very name
          return at < 0
            ? undefined
            : (words.splice(at, 1)[0]?.[name] as Exclude<Said[typeof name], undefined>);
        },
        withinMs,
      ),
    [Symbol.dispose]: () => void child.kill("SIGKILL"),
  };
};

const metric = (text: string, name: string): number =>
  Number(
    text
      .split("\n")
      .find((line) => line.startsWith(`${name} `))
      ?.slice(name.length),
  );

const scrape = async ({ adminUrl }: GatewayProgram): Promise<string> =>
  (await fetch(`${adminUrl}/metrics`)).text();

const look = async (gateway: GatewayProgram) => {
  const text = await scrape(gateway);
  return {
    rssKib: rssKib(gateway.pid),
    heapKib: metric(text, 'nodejs_memory_bytes{kind="heap_used"}') / 1_024,
    loopP99Ms: metric(text, 'serai_event_loop_delay_seconds{quantile="0.99"}') * 1_000,
  };
};

/** One gateway, agents that it dials or that dial out, and viewers, each a process of its own. */
export const followers = async (
  { carrier, followers, watchMs, node }: CrowdOptions,
  say: (words: string) => void,
): Promise<Followers> => {
  await using home = createHome();

  const gateway = await home.gateway({ limits: roomyLimits }, { node });
  const { port, pid, url } = gateway;
  const token = home.secrets.reader;
  const agent = {
    gateway: url,
    joinToken: home.secrets.join,
    nodes: Math.ceil(followers / logsPerNode),
    logsPerNode,
    dialsOut: carrier === "tunnel",
  } satisfies CrowdOrder;
  using agents = start("crowd-agent.ts", agent);
  const allocations = await agents.heard("allocations", openMs);
  await until("all allocations are known", async () => {
    const answer = await fetch(`${url}/v1/allocation/${allocations.at(-1)}`, {
      headers: { "x-nomad-token": token },
    });
    return answer.ok;
  });
  const view = (many: number) =>
    start("crowd-viewers.ts", {
      port,
      token,
      allocations: allocations.slice(0, many),
    } satisfies ViewersOrder);

  say(`${carrier}: warming up with ${warmUp}`);
  {
    using first = view(Math.min(warmUp, followers));
    await first.heard("open", openMs);
    await delay(settleMs);
  }
  await delay(settleMs);
  const before = await look(gateway);
  say(`${carrier}: ${followers} followers`);
  const openingMs = performance.now();
  using viewers = view(followers);
  await viewers.heard("open", openMs);
  const openedInMs = performance.now() - openingMs;
  await delay(settleMs);
  await look(gateway); // what the loop did until now does not count
  const [startedMs, usedMs] = [performance.now(), cpuMs(pid)];
  viewers.child.send({ watchMs });
  const watched = await viewers.heard("watched", watchMs * 2 + openMs);
  const cpuShare = (cpuMs(pid) - usedMs) / (performance.now() - startedMs);
  const after = await look(gateway);
  return {
    carrier,
    followers,
    openedInMs,
    ...watched,
    rssKib: { before: before.rssKib, after: after.rssKib },
    heapKib: { before: before.heapKib, after: after.heapKib },
    cpuShare,
    loopP99Ms: after.loopP99Ms,
    ...viewers.lost,
  };
};
