/**
 * A gateway in a process of its own, honest agents behind a tunnel and at an address, and an agent that is let in and then
 * sends whatever bytes it likes.
 */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type RequestListener, type Server } from "node:http";
import { connect, type Socket } from "node:net";
import { setTimeout as pace } from "node:timers/promises";
import { request } from "undici";
import { stringifyJson } from "../../src/lib/json.ts";
import { createDialler } from "../../src/tunnel/dialler.ts";
import { tunnelAddress, tunnelPath, tunnelProtocol } from "../../src/tunnel/protocol.ts";
import { quiet } from "../carry/front.ts";
import { nodeBody } from "../registry/documents.ts";
import { type Frame, frameReader, headers, hpack, settings, types } from "./frames.ts";
import { createHome, type GatewayProgram, type Home, until } from "./processes.ts";

export interface Reply {
  readonly status: number;
  readonly text: string;
  readonly retryAfter: string | undefined;
  readonly ms: number;
}

export interface Attacker {
  readonly nodeId: string;
  readonly socket: Socket;
  /** Frames of the gateway, the newest thousand. */
  readonly heard: readonly Frame[];
  /** Resolves with the milliseconds since it was let in. */
  readonly cut: Promise<number>;
  readonly isCut: () => boolean;
  /** Drops what was heard so far. */
  forget(): void;
  send(...frames: readonly Buffer[]): void;
  /** The same bytes until it is cut, as many as the gateway takes, at most `maxBytes`. */
  flood(bytes: Buffer | (() => Buffer), maxBytes?: number): Promise<void>;
  /** A caller's request for its node, through the gateway. */
  ask(path?: string): Promise<Reply>;
  /** The id of the `nth` stream that the gateway has opened, from 0. */
  stream(nth?: number): Promise<number>;
  /** The id of the stream with a caller's request; every stream is taken until then. */
  asked(): Promise<number>;
}

/** Callers of the honest agents, one after the other, for as long as it lasts. */
export interface Vigil {
  /** Milliseconds of each answer so far. */
  readonly ms: readonly number[];
  /** Answers that were not 200, with their words. */
  readonly failed: readonly string[];
  end(): Promise<void>;
}

const honestPauseMs = 10;

export interface Siege extends AsyncDisposable {
  readonly home: Home;
  readonly gateway: GatewayProgram;
  /** Ids of the honest nodes. */
  readonly behind: string;
  readonly beside: string;
  ask(nodeId: string, path?: string): Promise<Reply>;
  /** Lets an agent in as a new node, whose document the gateway then has. */
  attacker(first?: Buffer): Promise<Attacker>;
  watchHonest(): Vigil;
}

export const helloOf = (nodeId: string, secret: string, more = ""): string =>
  `GET ${tunnelPath} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: ${tunnelProtocol}\r\nAuthorization: Bearer ${secret}\r\nX-Serai-Node: ${nodeId}\r\n${more}\r\n`;

/** Pulls are answered and kept waiting as an agent does; everything else is small. */
const honest: RequestListener = (asked, response) => {
  if (!asked.url?.startsWith("/v1/node/")) return void response.end("{}");
  if (asked.url.includes("index=0&")) response.writeHead(200, { "x-nomad-index": "7" }).end("[]");
};

const listen = async (): Promise<{ readonly server: Server; readonly address: string }> => {
  const server = createServer(honest);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const bound = server.address();
  assert.ok(bound !== null && typeof bound === "object");
  return { server, address: `127.0.0.1:${bound.port}` };
};

/** Kilobytes of a line of /proc/<pid>/status. */
export const statusKb = (pid: number, line: "VmRSS" | "RssAnon"): number =>
  Number(
    new RegExp(`^${line}:\\s+(\\d+)`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1],
  );

/** How far a process grows at most while something goes on, kilobytes of its own memory. */
export const growthKb = async (pid: number, during: () => Promise<unknown>): Promise<number> => {
  const before = statusKb(pid, "RssAnon");
  let most = before;
  const look = setInterval(() => {
    most = Math.max(most, statusKb(pid, "RssAnon"));
  }, 10);
  try {
    await during();
  } finally {
    clearInterval(look);
  }
  return Math.max(most, statusKb(pid, "RssAnon")) - before;
};

const metadata = (nodeId: string): string => `/v1/client/metadata?node_id=${nodeId}`;

const prefaceBytes = 24;

/** The frames that came with the 101; rejects with any other answer. */
const letIn = (socket: Socket): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    let text = "";
    const heard = (chunk: Buffer): void => {
      text += chunk.toString("latin1");
      const end = text.indexOf("\r\n\r\n");
      const isRefused = end >= 0 && !text.startsWith("HTTP/1.1 101 ");
      if (isRefused) reject(new Error(text));
      if (isRefused || end < 0 || text.length < end + 4 + prefaceBytes) return;
      socket.off("data", heard);
      resolve(Buffer.from(text.slice(end + 4 + prefaceBytes), "latin1"));
    };
    socket.on("data", heard);
    socket.once("close", () => reject(new Error(`closed: ${text}`)));
  });

/** Or closed. */
export const drained = (socket: Socket): Promise<void> =>
  new Promise((resolve) => {
    const done = (): void => {
      socket.off("drain", done).off("close", done);
      resolve();
    };
    socket.on("drain", done).on("close", done);
  });

export const besiege = async (settingsOver: object = {}): Promise<Siege> => {
  await using stack = new AsyncDisposableStack();
  const home = stack.use(createHome());
  const gateway = await home.gateway(settingsOver);
  const { join, operator } = home.secrets;

  const ask = async (nodeId: string, path = metadata(nodeId)): Promise<Reply> => {
    const beganMs = performance.now();
    const answer = await request(`${gateway.url}${path}`, {
      headers: { "x-nomad-token": operator },
      reset: true, // no connection is kept, so that those of the gateway can be counted
    });
    return {
      status: answer.statusCode,
      text: await answer.body.text(),
      retryAfter: answer.headers["retry-after"]?.toString(),
      ms: performance.now() - beganMs,
    };
  };
  const announce = async (nodeId: string, address: string): Promise<void> => {
    const { statusCode, body } = await request(`${gateway.url}/v1/serai/node/${nodeId}`, {
      method: "PUT",
      headers: { authorization: `Bearer ${join}`, "content-type": "application/json" },
      body: stringifyJson(nodeBody(nodeId, address)),
    });
    assert.equal(statusCode, 200, await body.text());
  };
  const beats = new Map<string, string>();
  const joined = async (nodeId: string, address: string): Promise<void> => {
    beats.set(nodeId, address);
    await announce(nodeId, address);
  };
  const beat = setInterval(() => {
    for (const [id, at] of beats) void announce(id, at).catch(() => undefined); // the gateway may be gone
  }, 5_000);
  stack.defer(() => clearInterval(beat));

  const direct = await listen();
  stack.defer(() => {
    direct.server.closeAllConnections();
    direct.server.close();
  });
  const inner = createServer(honest);
  const behind = randomUUID();
  const beside = randomUUID();
  const dialler = createDialler(
    { log: quiet, accept: (incoming) => void inner.emit("connection", incoming.take()) },
    { gateways: [gateway.url], nodeId: behind, joinToken: join, ca: undefined },
  );
  stack.defer(() => dialler.close(AbortSignal.abort()));
  await joined(beside, direct.address);
  await joined(behind, tunnelAddress(behind));
  for (const id of [beside, behind])
    await until("an honest node answers", async () => (await ask(id)).status === 200);

  const attacker = async (first = settings()): Promise<Attacker> => {
    const nodeId = randomUUID();
    const socket = connect(gateway.port, "127.0.0.1");
    socket.setNoDelay(true);
    socket.on("error", () => undefined);
    const heard: Frame[] = [];
    const read = frameReader((one) => {
      heard.push(one);
      if (heard.length > 1_000) heard.shift();
    });
    let beganMs = 0;
    let taken = 0;
    const cut = new Promise<number>((resolve) => {
      socket.once("close", () => resolve(performance.now() - beganMs));
    });
    socket.write(helloOf(nodeId, join));
    read(await letIn(socket));
    socket.on("data", read);
    beganMs = performance.now();
    if (first.length > 0) socket.write(first);
    await announce(nodeId, tunnelAddress(nodeId));
    return {
      nodeId,
      socket,
      heard,
      cut,
      isCut: () => socket.destroyed,
      forget: () => {
        heard.length = 0;
        taken = 0;
      },
      send: (...frames) => void socket.write(Buffer.concat(frames)),
      flood: async (bytes, maxBytes = 512 * 2 ** 20) => {
        const next = typeof bytes === "function" ? bytes : () => bytes;
        for (let sent = 0; sent < maxBytes && !socket.destroyed; ) {
          const chunk = next();
          sent += chunk.length;
          if (!socket.write(chunk)) await drained(socket);
        }
      },
      ask: (path = metadata(nodeId)) => ask(nodeId, path),
      asked: () =>
        until("a caller's request", () => {
          const opened = heard.filter(({ type }) => type === types.headers).slice(taken);
          taken += opened.length;
          for (const { stream } of opened) socket.write(headers(stream, hpack.status200));
          return heard.find(
            ({ type, payload }) => type === types.data && payload.includes("/v1/client/"),
          )?.stream;
        }),
      stream: (nth = 0) =>
        until(
          "the gateway opens a stream",
          () => heard.filter(({ type }) => type === types.headers)[nth]?.stream,
        ),
    };
  };

  const running = stack.move();
  return {
    home,
    gateway,
    behind,
    beside,
    ask,
    attacker,
    watchHonest: () => {
      const ms: number[] = [];
      const failed: string[] = [];
      let isOver = false;
      const look = async (nodeId: string): Promise<void> => {
        try {
          const reply = await ask(nodeId);
          if (reply.status === 200) ms.push(reply.ms);
          else failed.push(`${reply.status} ${reply.text}`);
        } catch (error) {
          failed.push(String(error));
        }
        await pace(honestPauseMs);
      };
      const watch = async (): Promise<void> => {
        while (!isOver) for (const nodeId of [behind, beside]) await look(nodeId);
      };
      const watching = watch();
      return {
        ms,
        failed,
        end: () => {
          isOver = true;
          return watching;
        },
      };
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
};
