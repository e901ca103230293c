/** What the gateway adds to an exec: the time to its first prompt, and to the echo of one key. */
import { type ExecClient, execClient } from "../../test/support/ws-client.ts";
import { type Bench, openBench } from "./bench-setting.ts";
import { median } from "./median.ts";

export interface Echo {
  readonly kind: "tty" | "cat";
  readonly rounds: number;
  /** Milliseconds, medians of the rounds' medians. */
  readonly prompt: { readonly direct: number; readonly gateway: number; readonly added: number };
  readonly key: { readonly direct: number; readonly gateway: number; readonly added: number };
}

interface Sample {
  readonly promptMs: number;
  readonly keyMs: number;
}

/** Starting a process takes longer than all else, and differs by as much from one to the next. */
const sessionsEach = 20;
const keysEach = 40;
const prompt = "ready";
/** A terminal echoes by itself; without one, cat does. */
const commands = {
  tty: ["/bin/sh", "-c", `echo ${prompt}; exec sleep 100`],
  cat: ["/bin/sh", "-c", `echo ${prompt}; exec cat`],
} as const;

/** Milliseconds until the echo of each key. */
const type = async (client: ExecClient): Promise<readonly number[]> => {
  const took: number[] = [];
  for (let nth = 0; nth < keysEach; nth++) {
    const key = `<${nth}>`;
    const startedMs = performance.now();
    client.stdin(key);
    await client.seen(key);
    took.push(performance.now() - startedMs);
  }
  return took;
};

const session = async (
  { token, allocation }: Bench,
  url: string,
  kind: Echo["kind"],
): Promise<Sample> => {
  const startedMs = performance.now();
  const client = execClient({
    url,
    token,
    allocation,
    task: "main",
    command: commands[kind],
    tty: kind === "tty",
  });
  await client.seen(prompt);
  const promptMs = performance.now() - startedMs;
  const keyMs = median(await type(client));
  client.socket.close();
  await client.closed;
  return { promptMs, keyMs };
};

const ways = ["direct", "gateway"] as const;
type Way = (typeof ways)[number];

const middle = (samples: readonly Sample[]): Sample => ({
  promptMs: median(samples.map(({ promptMs }) => promptMs)),
  keyMs: median(samples.map(({ keyMs }) => keyMs)),
});

/** To the agent and through the gateway in turn, each as often the first of a pair. */
const round = async (bench: Bench, kind: Echo["kind"]): Promise<Readonly<Record<Way, Sample>>> => {
  const urls = { direct: bench.agent, gateway: bench.gateway.url };
  const samples: Record<Way, Sample[]> = { direct: [], gateway: [] };
  for (let nth = 0; nth < sessionsEach; nth++)
    for (const way of nth % 2 === 0 ? ways : ways.toReversed())
      samples[way].push(await session(bench, urls[way], kind));
  return { direct: middle(samples.direct), gateway: middle(samples.gateway) };
};

const compared = (rounds: readonly Readonly<Record<Way, Sample>>[], what: keyof Sample) => ({
  direct: median(rounds.map(({ direct }) => direct[what])),
  gateway: median(rounds.map(({ gateway }) => gateway[what])),
  added: median(rounds.map(({ direct, gateway }) => gateway[what] - direct[what])),
});

/** In rounds; the first warms up. */
export const echoes = async (
  { rounds, node }: { readonly rounds: number; readonly node: readonly string[] },
  say: (words: string) => void,
): Promise<readonly Echo[]> => {
  await using bench = await openBench(node);
  const all: Echo[] = [];
  for (const kind of ["tty", "cat"] as const) {
    const measured: Readonly<Record<Way, Sample>>[] = [];
    for (let nth = 0; nth <= rounds; nth++) {
      say(nth === 0 ? `exec, ${kind}: warming up` : `exec, ${kind}: round ${nth} of ${rounds}`);
      const samples = await round(bench, kind);
      if (nth > 0) measured.push(samples);
    }
    all.push({
      kind,
      rounds,
      prompt: compared(measured, "promptMs"),
      key: compared(measured, "keyMs"),
    });
  }
  return all;
};
