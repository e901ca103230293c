/** The gateway's own requests to an agent: bounded in time and bytes, with the pull secret or the caller's token. */
import type { Dispatcher } from "undici";
import { GatewayError, toGatewayError } from "../../errors.ts";
import { readBounded } from "../../lib/read-bounded.ts";

/** Where an agent is. */
export interface AgentAddress {
  readonly name: string;
  readonly address: string;
  readonly tls: boolean;
}

export interface AgentRequest {
  readonly method: "GET" | "PUT";
  /** With its query; ids in it are checked before. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly headersTimeoutMs: number;
  readonly maxBytes: number;
}

export interface AgentAnswer {
  readonly status: number;
  readonly index: number;
  readonly body: Buffer;
}

const bodyTimeoutMs = 30_000;

const indexOf = (header: string | string[] | undefined): number => {
  if (typeof header !== "string" || !/^\d{1,16}$/.test(header)) return 0;
  const index = Number(header);
  return Number.isSafeInteger(index) ? index : 0;
};

const tooLong = (maxBytes: number): string => `its answer is larger than ${maxBytes} bytes`;

export type AskAgent = (
  agent: AgentAddress,
  request: AgentRequest,
  signal: AbortSignal,
) => Promise<AgentAnswer>;

/** Throws GatewayError; any status is an answer. The dispatcher is whoever gave it to close. */
export const createAgentClient =
  (dispatcher: () => Promise<Dispatcher>): AskAgent =>
  async (agent, { method, path, headers, headersTimeoutMs, maxBytes }, signal) => {
    try {
      const way = await dispatcher();
      const answer = await way.request({
        origin: `${agent.tls ? "https" : "http"}://${agent.address}`,
        method,
        path,
        headers: { accept: "application/json", ...headers },
        headersTimeout: headersTimeoutMs,
        bodyTimeout: bodyTimeoutMs,
        signal,
      });
      const body = await readBounded(
        answer.body,
        maxBytes,
        () => new GatewayError("upstream_invalid", { node: agent.name, reason: tooLong(maxBytes) }),
      );
      return {
        status: answer.statusCode,
        index: indexOf(answer.headers["x-nomad-index"]),
        body,
      };
    } catch (error) {
      throw toGatewayError(error, signal, agent.name);
    }
  };
