/**
 * THE DIALLER: the agent's side. Keeps one tunnel open, going round the gateway's addresses; a gateway that drains is left
 * for another one first, and what is open through it ends by itself.
 */
import type { Duplex } from "node:stream";
import { setTimeout as wait } from "node:timers/promises";
import type { Closer, Log } from "../ports.ts";
import { type Hello, type HelloOptions, hello } from "./hello.ts";
import { type Incoming, type Served, serveTunnel } from "./serve.ts";
import type { VitalsOptions } from "./vitals.ts";

export interface DiallerNeeds {
  readonly log: Log;
  /** Takes or refuses a connection that the gateway opens. */
  readonly accept: (incoming: Incoming) => void;
  /** Told of each tunnel that opens. */
  readonly opened?: () => void;
  /** 0 to below 1. */
  readonly random?: () => number;
}

interface Tempo {
  readonly firstRetryMs: number;
  readonly maxRetryMs: number;
  /** The same while nothing answers, for `soonForMs` after a tunnel was open: what is lost on a cut line troubles nobody. */
  readonly maxUnansweredRetryMs: number;
  readonly soonForMs: number;
  readonly dialTimeoutMs: number;
  readonly refusedRetryMs: number;
  /** How long `close` lets open streams go on. */
  readonly drainMs: number;
}

export interface DiallerOptions
  extends Partial<VitalsOptions>,
    Partial<Tempo>,
    Omit<HelloOptions, "dialTimeoutMs"> {
  /** `http(s)://host:port` of the gateways, at least one. */
  readonly gateways: readonly string[];
}

export interface Dialler extends Closer {
  readonly isOpen: boolean;
  /** Streams of all tunnels. */
  readonly streams: number;
}

const defaults: Tempo = {
  firstRetryMs: 250,
  maxRetryMs: 30_000,
  maxUnansweredRetryMs: 2_000,
  soonForMs: 600_000,
  dialTimeoutMs: 2_500,
  refusedRetryMs: 60_000,
  drainMs: 10_000,
};
/** A gateway that was away is dialled again at the latest after about as long as it was away. */
const retryGrowth = 1.5;
/** A tunnel that held so long was a good one: the next is dialled soon. */
const steadyMs = 5_000;

type Dialled = "steady" | "away" | "unanswered" | "refused";

/** Told what came of each dial; true when one gateway after the other has refused, and all have. */
const refusalsOf = (gateways: number): ((dialled: Dialled) => boolean) => {
  let refusals = 0;
  return (dialled) => {
    refusals = dialled === "refused" ? refusals + 1 : 0;
    return refusals > 0 && refusals % gateways === 0;
  };
};

export const createDialler = (
  { log, accept, opened, random = Math.random }: DiallerNeeds,
  given: DiallerOptions,
): Dialler => {
  const options = { ...defaults, ...given };
  const { gateways, nodeId } = options;
  const closing = new AbortController();
  const tunnels = new Set<Served>();
  let current: Served | undefined;
  let told = "";

  const tell = (gateway: string, outcome: Exclude<Hello, { kind: "open" }>): void => {
    const words = `${outcome.kind} ${outcome.reason}`;
    if (words === told) return;
    told = words;
    const about = { gateway, node: nodeId, reason: outcome.reason };
    if (outcome.kind !== "refused") log.warn(about, "no tunnel to the gateway; trying again");
    else
      log.error(
        about,
        "THE GATEWAY REFUSES THE TUNNEL: check the join token or certificate, the node's id and the gateway's address",
      );
  };

  /** Resolves when another tunnel is wanted. */
  const run = async (gateway: string, socket: Duplex): Promise<void> => {
    told = "";
    log.info({ gateway, node: nodeId }, "tunnel open");
    const elsewhere = Promise.withResolvers<void>();
    const served = serveTunnel(socket, { accept, draining: () => elsewhere.resolve() }, options);
    tunnels.add(served);
    current = served;
    opened?.();
    void served.ended.then((reason) => {
      tunnels.delete(served);
      if (current === served) current = undefined;
      if (!closing.signal.aborted) log.warn({ gateway, node: nodeId, reason }, "tunnel ended");
      elsewhere.resolve();
    });
    await elsewhere.promise;
    if (tunnels.has(served)) served.finish();
  };

  /** Half of it at least, so that a fleet does not dial in step. */
  const jittered = (ms: number): number => ms * (0.5 + random() / 2);
  const pause = (ms: number): Promise<unknown> =>
    wait(jittered(ms), undefined, { signal: closing.signal }).catch(() => undefined);

  /** One dial and, when it is let in, the tunnel's life. */
  const dial = async (gateway: string): Promise<Dialled> => {
    const outcome = await hello(gateway, options, closing.signal);
    if (closing.signal.aborted) {
      if (outcome.kind === "open") outcome.socket.destroy();
      return "away";
    }
    if (outcome.kind !== "open") {
      tell(gateway, outcome);
      return outcome.kind;
    }
    const openedMs = performance.now();
    await run(gateway, outcome.socket);
    return performance.now() - openedMs >= steadyMs ? "steady" : "away";
  };

  const keep = async (): Promise<void> => {
    let retryMs: number = options.firstRetryMs;
    let openMs = performance.now();
    const haveAllRefused = refusalsOf(gateways.length);
    for (let turn = 0; !closing.signal.aborted; turn = (turn + 1) % gateways.length) {
      const outcome = await dial(gateways[turn] ?? "");
      if (outcome === "steady") {
        retryMs = options.firstRetryMs;
        openMs = performance.now();
      }
      const isSoon = outcome === "unanswered" && performance.now() - openMs < options.soonForMs;
      const pauseMs = isSoon ? Math.min(retryMs, options.maxUnansweredRetryMs) : retryMs;
      await pause(haveAllRefused(outcome) ? options.refusedRetryMs : pauseMs);
      retryMs = Math.min(retryMs * retryGrowth, options.maxRetryMs);
    }
  };

  const running = keep();
  return {
    get isOpen() {
      return current !== undefined;
    },
    get streams() {
      return [...tunnels].reduce((total, { streams }) => total + streams, 0);
    },
    async close(signal) {
      closing.abort();
      for (const tunnel of tunnels) tunnel.finish();
      const patience = AbortSignal.any([signal, AbortSignal.timeout(options.drainMs)]);
      const cut = (): void => {
        for (const tunnel of tunnels) tunnel.end("the agent shuts down");
      };
      if (patience.aborted) cut();
      else patience.addEventListener("abort", cut, { once: true });
      await Promise.all([...tunnels].map(({ ended }) => ended));
      await running;
    },
  };
};
