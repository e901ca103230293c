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

const sessionsEach = 5;
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

const round = async (bench: Bench, url: string, kind: Echo["kind"]): Promise<Sample> => {
  const samples: Sample[] = [];
  for (let nth = 0; nth < sessionsEach; nth++) samples.push(await session(bench, url, kind));
  return {
    promptMs: median(samples.map(({ promptMs }) => promptMs)),
    keyMs: median(samples.map(({ keyMs }) => keyMs)),
  };
};

const compared = (direct: readonly number[], gateway: readonly number[]) => ({
  direct: median(direct),
  gateway: median(gateway),
  added: median(gateway.map((ms, at) => ms - (direct[at] ?? Number.NaN))),
});

/** In rounds, to the agent and through the gateway in turn. */
export const echoes = async (
  { rounds, node }: { readonly rounds: number; readonly node: readonly string[] },
  say: (words: string) => void,
): Promise<readonly Echo[]> => {
  await using bench = await openBench(node);
  const all: Echo[] = [];
  for (const kind of ["tty", "cat"] as const) {
    const direct: Sample[] = [];
    const gateway: Sample[] = [];
    for (let nth = 0; nth <= rounds; nth++) {
      say(nth === 0 ? `exec, ${kind}: warming up` : `exec, ${kind}: round ${nth} of ${rounds}`);
      const one = await round(bench, bench.agent, kind);
      const other = await round(bench, bench.gateway.url, kind);
      if (nth === 0) continue;
      direct.push(one);
      gateway.push(other);
    }
    all.push({
      kind,
      rounds,
      prompt: compared(
        direct.map(({ promptMs }) => promptMs),
        gateway.map(({ promptMs }) => promptMs),
      ),
      key: compared(
        direct.map(({ keyMs }) => keyMs),
        gateway.map(({ keyMs }) => keyMs),
      ),
    });
  }
  return all;
};
