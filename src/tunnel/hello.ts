/** The agent's side of the hello: one dial of a gateway, and what comes of it. */
import type { IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import type { Duplex } from "node:stream";
import { errnoOf } from "../errors.ts";
import { nodeHeader, tunnelPath, tunnelProtocol } from "./protocol.ts";

/** An import would look at all that the module has, and so load node's fetch and WebSocket: 13 MB in a small process. */
const { request: httpRequest } = process.getBuiltinModule("node:http");

/** PEM texts that prove the node in the TLS handshake. */
export interface NodeCertificate {
  readonly cert: string;
  readonly key: string;
}

export interface HelloOptions {
  readonly nodeId: string;
  readonly joinToken: string | undefined;
  /** Read for each dial, so that a renewed one is taken. May throw. */
  readonly certificate?: (() => NodeCertificate) | undefined;
  /** PEM text of the authorities of the gateways' certificates. */
  readonly ca: string | undefined;
  readonly dialTimeoutMs: number;
}

/** Shorter than the pauses in which a kernel that hears nothing sends again: a line that is back is used soon. */
const helloMs = 8_000;
const maxWords = 300;
export type Hello =
  | { readonly kind: "open"; readonly socket: Duplex }
  | { readonly kind: "away"; readonly reason: string }
  /** Nobody was there to say no: the line is cut, or the gateway's machine is gone. */
  | { readonly kind: "unanswered"; readonly reason: string }
  | { readonly kind: "refused"; readonly reason: string };

const oldGateway = "404: the gateway knows no tunnels; it is too old, or something else";

const wordsOf = (text: string): string =>
  (text.split("\n", 1)[0] ?? "").replace(/[^\x20-\x7e]/g, "?").slice(0, maxWords);

/** Statuses that pass by themselves. */
const passing: ReadonlySet<number> = new Set([408, 409, 425, 429]);

const refusalOf = (status: number, text: string): Hello => {
  if (status === 404) return { kind: "refused", reason: oldGateway };
  const reason = `${status} ${wordsOf(text)}`.trim();
  return { kind: status >= 500 || passing.has(status) ? "away" : "refused", reason };
};

const unansweredCodes: ReadonlySet<string> = new Set([
  "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH", "EHOSTDOWN", "ENETDOWN", "EADDRNOTAVAIL", "EAI_AGAIN",
]); // biome-ignore format: a list

const timedOut = (): Error => Object.assign(new Error("no answer"), { code: "ETIMEDOUT" });

const failureOf = (error: Error): Hello => {
  const code = errnoOf(error);
  const kind = code !== undefined && unansweredCodes.has(code) ? "unanswered" : "away";
  return { kind, reason: code ?? error.message };
};

/** Resolves with what came of it; never rejects. */
export const hello = async (
  gateway: string,
  { certificate, ...options }: HelloOptions,
  signal: AbortSignal,
): Promise<Hello> => {
  try {
    return await ask(gateway, { ...options, ...certificate?.() }, signal);
  } catch (error) {
    return { kind: "away", reason: wordsOf(`the node's certificate: ${errorWords(error)}`) };
  }
};

const errorWords = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);

const ask = (
  gateway: string,
  {
    nodeId,
    joinToken,
    ca,
    cert,
    key,
    dialTimeoutMs,
  }: Omit<HelloOptions, "certificate"> & Partial<NodeCertificate>,
  signal: AbortSignal,
): Promise<Hello> =>
  new Promise((resolve) => {
    const url = new URL(tunnelPath, gateway);
    const request = url.protocol === "https:" ? httpsRequest : httpRequest;
    const sent = request(url, {
      agent: false,
      signal,
      headers: {
        connection: "Upgrade",
        upgrade: tunnelProtocol,
        [nodeHeader]: nodeId,
        ...(joinToken === undefined ? {} : { authorization: `Bearer ${joinToken}` }),
      },
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert, key }),
    });
    sent.setNoDelay(true);
    const giveUp = (): void => void sent.destroy(timedOut());
    const timers = [setTimeout(giveUp, dialTimeoutMs), setTimeout(giveUp, helloMs)];
    const settle = (outcome: Hello): void => {
      for (const timer of timers) clearTimeout(timer);
      resolve(outcome);
    };
    sent.once("socket", (socket) => socket.once("connect", () => clearTimeout(timers[0])));
    sent.on("error", (error) => settle(failureOf(error)));
    sent.once("upgrade", (answer: IncomingMessage, socket: Duplex, head: Buffer) => {
      socket.on("error", () => socket.destroy());
      if (answer.headers.upgrade?.toLowerCase() !== tunnelProtocol) {
        socket.destroy();
        return settle({ kind: "refused", reason: "its upgrade is no tunnel" });
      }
      if (head.length > 0) socket.unshift(head);
      settle({ kind: "open", socket });
    });
    sent.once("response", (answer) => {
      let text = "";
      answer.on("error", () => undefined);
      answer.setEncoding("latin1");
      answer.on("data", (chunk: string) => {
        text += chunk;
        if (text.length > maxWords) answer.destroy(); // its first words are all that is told
      });
      answer.once("close", () => settle(refusalOf(answer.statusCode ?? 0, text)));
    });
    sent.end();
  });
