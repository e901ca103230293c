/** One tcp or http probe, with Nomad's words for its result. Never throws, always ends within its timeout. */
import { connect } from "node:net";
import { Agent, request } from "undici";
import { errnoOf } from "../../errors.ts";
import { authorityOf } from "../../lib/addresses.ts";

export interface ProbeResult {
  readonly ok: boolean;
  /** 0 for tcp, and for http without an answer. */
  readonly statusCode: number;
  readonly output: string;
}

export interface ProbeTarget {
  readonly address: string;
  readonly port: number;
  readonly timeoutMs: number;
  /** Ends the probe early; its result is not used then. */
  readonly signal: AbortSignal;
}

const maxOutputBytes = 3 * 1024;

const authority = ({ address, port }: ProbeTarget): string => authorityOf(address, port);

const reasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connect: connection refused",
  ECONNRESET: "connection reset by peer",
  EHOSTUNREACH: "connect: no route to host",
  ENETUNREACH: "connect: network is unreachable",
};

const dialFailure = (target: ProbeTarget, error: unknown): string => {
  const code = errnoOf(error) ?? "";
  return `dial tcp ${authority(target)}: ${reasons[code] ?? (code === "" ? "failed" : code)}`;
};

export const probeTcp = (target: ProbeTarget): Promise<ProbeResult> =>
  new Promise((resolve) => {
    const socket = connect({ host: target.address, port: target.port });
    const finish = (result: ProbeResult): void => {
      clearTimeout(timer);
      target.signal.removeEventListener("abort", leave);
      socket.destroy();
      resolve(result);
    };
    const fail = (words: string): void => finish({ ok: false, statusCode: 0, output: words });
    const leave = (): void => fail("ended");
    target.signal.addEventListener("abort", leave, { once: true });
    socket.on("error", (error) => fail(dialFailure(target, error)));
    socket.once("connect", () => finish({ ok: true, statusCode: 0, output: "nomad: tcp ok" }));
    const timer = setTimeout(
      () => fail(`dial tcp ${authority(target)}: i/o timeout`),
      target.timeoutMs,
    );
  });

/** The answer's status counts, also when its body breaks off. */
const readSome = async (body: AsyncIterable<Buffer>): Promise<string> => {
  const parts: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const part of body) {
      parts.push(part);
      bytes += part.length;
      if (bytes >= maxOutputBytes) break;
    }
  } catch {
    return "nomad: the body breaks off";
  }
  return Buffer.concat(parts).subarray(0, maxOutputBytes).toString("utf8");
};

const exchange = async (
  url: string,
  dispatcher: Agent,
  signal: AbortSignal,
): Promise<ProbeResult> => {
  const answer = await request(url, { dispatcher, signal, reset: true });
  answer.body.on("error", () => undefined); // destroyed below; what was read counts
  try {
    const { statusCode } = answer;
    const output = statusCode === 200 ? "nomad: http ok" : await readSome(answer.body);
    return { ok: statusCode < 400, statusCode, output };
  } finally {
    answer.body.destroy();
  }
};

export const probeHttp = async (target: ProbeTarget, path: string): Promise<ProbeResult> => {
  const url = `http://${authority(target)}${path.startsWith("/") ? path : `/${path}`}`;
  const ending = new AbortController();
  const timer = setTimeout(() => ending.abort(), target.timeoutMs);
  const signal = AbortSignal.any([ending.signal, target.signal]);
  const dispatcher = new Agent({ connections: 1, maxHeaderSize: 16_384 });
  try {
    return await exchange(url, dispatcher, signal);
  } catch (error) {
    const words = ending.signal.aborted ? "context deadline exceeded" : dialFailure(target, error);
    return { ok: false, statusCode: 0, output: `nomad: Get ${JSON.stringify(url)}: ${words}` };
  } finally {
    clearTimeout(timer);
    await dispatcher.destroy();
  }
};
