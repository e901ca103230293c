/**
 * The agent announces its node to the gateway, again and again: that is its heartbeat, and each answer carries the secret
 * with which the gateway pulls. A gateway that is away is tried again soon, one that refuses rarely; each change of that
 * state is one loud line.
 */
import { setTimeout as wait } from "node:timers/promises";
import { type Dispatcher, request } from "undici";
import type { NodeDocument } from "../documents.ts";
import { errnoOf } from "../errors.ts";
import { isJsonObject, type Json, parseJson, stringifyJson } from "../lib/json.ts";
import { readBounded } from "../lib/read-bounded.ts";
import type { Clock, Closer, Log } from "../ports.ts";
import type { PullSecrets } from "./api/secrets.ts";

export interface AnnouncerNeeds {
  readonly log: Log;
  readonly clock: Clock;
  readonly pullSecrets: PullSecrets;
  /** TLS to the gateway is its matter; undici's own when absent. */
  readonly dispatcher?: Dispatcher;
  /** 0 to below 1. */
  readonly random?: () => number;
}

export interface AnnouncerOptions {
  /** `https://gateway:4646`, without a path. */
  readonly gatewayAddress: string;
  readonly joinToken: string | undefined;
  readonly document: () => NodeDocument;
  /** The longest wait between two beats; a gateway may ask for them more often. */
  readonly intervalMs?: number;
  readonly refusedIntervalMs?: number;
}

export type AnnounceState =
  | { readonly state: "starting" }
  | { readonly state: "announced"; readonly atMs: number }
  | { readonly state: "away"; readonly reason: string }
  | { readonly state: "refused"; readonly status: number; readonly reason: string };

export interface Announcer extends Closer {
  readonly now: AnnounceState;
  /** Resolves at the first good answer, or when the signal aborts. */
  announced(signal: AbortSignal): Promise<void>;
  /** The way to the gateway is there again: announces at once, unless it has just done so. */
  soon(): void;
}

const defaultIntervalMs = 10_000;
const defaultRefusedIntervalMs = 60_000;
const minIntervalMs = 100;
const firstRetryMs = 250;
const maxRetryMs = 10_000;
const answerTimeoutMs = 10_000;
/** A beat so young is not begun anew. */
const freshMs = 1_000;
const maxAnswerBytes = 64 * 1024;
const minSecretLength = 16;

type Outcome =
  | { readonly kind: "accepted"; readonly pullSecret: string; readonly heartbeatMs: number }
  | { readonly kind: "away"; readonly reason: string }
  | { readonly kind: "refused"; readonly status: number; readonly reason: string };

/** Statuses that say: not now. Every other refusal stays until somebody changes something. */
const passing: ReadonlySet<number> = new Set([408, 425, 429]);

const firstLine = (text: string): string =>
  (text.split("\n", 1)[0] ?? "").replace(/[^\x20-\x7e]/g, "?").slice(0, 300);

const noGateway: Outcome = {
  kind: "away",
  reason: "its answer holds no PullSecret; is it a serai gateway?",
};
const nanosecondsPerMs = 1e6;

/** How often the gateway wants to be told; a gateway that asks for a flood gets less. */
const heartbeatMsOf = (ttl: Json | undefined): number => {
  const ms = Number(ttl) / nanosecondsPerMs;
  return typeof ttl === "number" || typeof ttl === "bigint"
    ? Math.max(ms, minIntervalMs)
    : Number.POSITIVE_INFINITY;
};

const acceptedOf = (text: string): Outcome => {
  const document = parseJson(text);
  if (!isJsonObject(document)) return noGateway;
  const { PullSecret: secret, HeartbeatTTL: ttl } = document;
  if (typeof secret !== "string" || secret.length < minSecretLength) return noGateway;
  return { kind: "accepted", pullSecret: secret, heartbeatMs: heartbeatMsOf(ttl) };
};

const outcomeOf = (status: number, text: string): Outcome => {
  if (status === 200) return acceptedOf(text);
  const reason = `${status} ${firstLine(text)}`.trim();
  if (status >= 500 || passing.has(status)) return { kind: "away", reason };
  return { kind: "refused", status, reason };
};

export const createAnnouncer = (needs: AnnouncerNeeds, options: AnnouncerOptions): Announcer => {
  const {
    gatewayAddress,
    document,
    joinToken,
    intervalMs = defaultIntervalMs,
    refusedIntervalMs = defaultRefusedIntervalMs,
  } = options;
  const { log, clock, pullSecrets, dispatcher, random = Math.random } = needs;
  const closing = new AbortController();
  const first = Promise.withResolvers<void>();
  let current: AnnounceState = { state: "starting" };
  let retryMs = firstRetryMs;
  /** A beat and the wait behind it. */
  let turn = new AbortController();
  let beganMs = 0;

  const beat = async (signal: AbortSignal): Promise<Outcome> => {
    const node = document();
    try {
      const { statusCode, body } = await request(
        `${new URL(gatewayAddress).origin}/v1/serai/node/${node.ID}`,
        {
          method: "PUT",
          headers: {
            "content-type": "application/json",
            ...(joinToken === undefined ? {} : { authorization: `Bearer ${joinToken}` }),
          },
          body: stringifyJson(node),
          signal: AbortSignal.any([signal, AbortSignal.timeout(answerTimeoutMs)]),
          ...(dispatcher === undefined ? {} : { dispatcher }),
        },
      );
      return outcomeOf(statusCode, (await readBounded(body, maxAnswerBytes)).toString());
    } catch (error) {
      return { kind: "away", reason: errnoOf(error) ?? String(error) };
    }
  };

  const tell = (outcome: Outcome): void => {
    const about = { gateway: gatewayAddress, node: document().ID };
    switch (outcome.kind) {
      case "accepted":
        if (current.state !== "announced") log.info(about, "announced to the gateway");
        return;
      case "away":
        if (current.state !== "away")
          log.warn({ ...about, reason: outcome.reason }, "the gateway is away; trying again");
        return;
      case "refused":
        if (current.state !== "refused" || current.reason !== outcome.reason)
          log.error(
            { ...about, status: outcome.status, reason: outcome.reason },
            "THE GATEWAY REFUSES THIS AGENT: check gateway.join_token or gateway.cert_file, and gateway.address",
          );
    }
  };

  /** Up to a fifth less, so that a fleet does not beat in step. */
  const jittered = (ms: number): number => ms * (1 - random() / 5);

  const pauseAfter = (outcome: Outcome): number => {
    if (outcome.kind === "refused") return jittered(refusedIntervalMs);
    if (outcome.kind === "accepted") {
      retryMs = firstRetryMs;
      return jittered(Math.min(intervalMs, outcome.heartbeatMs));
    }
    const pause = retryMs / 2 + (random() * retryMs) / 2;
    retryMs = Math.min(retryMs * 2, maxRetryMs);
    return pause;
  };

  const apply = (outcome: Outcome): void => {
    tell(outcome);
    switch (outcome.kind) {
      case "accepted":
        pullSecrets.add(outcome.pullSecret);
        current = { state: "announced", atMs: clock.now() };
        first.resolve();
        return;
      case "away":
        current = { state: "away", reason: outcome.reason };
        return;
      case "refused":
        current = { state: "refused", status: outcome.status, reason: outcome.reason };
    }
  };

  const run = async (): Promise<void> => {
    while (!closing.signal.aborted) {
      turn = new AbortController();
      beganMs = clock.monotonic();
      const signal = AbortSignal.any([closing.signal, turn.signal]);
      const outcome = await beat(signal);
      if (signal.aborted) continue;
      if (outcome.kind !== "accepted") beganMs = Number.NEGATIVE_INFINITY; // what failed may be begun anew
      apply(outcome);
      await wait(pauseAfter(outcome), undefined, { signal }).catch(() => undefined);
    }
  };

  const running = run();
  return {
    get now() {
      return current;
    },
    announced: (signal) =>
      new Promise((resolve) => {
        void first.promise.then(resolve);
        if (signal.aborted) resolve();
        else signal.addEventListener("abort", () => resolve(), { once: true });
      }),
    soon() {
      if (clock.monotonic() - beganMs < freshMs) return;
      retryMs = firstRetryMs;
      turn.abort();
    },
    async close() {
      closing.abort();
      await running;
    },
  };
};
