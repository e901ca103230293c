/** A server with plain requests read by the front, and its twin where node:http reads all: what both do with the same bytes. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { PlainRequest } from "../../../src/ingress/plain/caller.ts";
import { standBefore } from "../../../src/ingress/plain/front.ts";
import { readRequestLine } from "../../../src/ingress/plain/head.ts";
import type { HttpRequest, HttpResponse } from "../../../src/ports.ts";

export type Handle = (request: HttpRequest, response: HttpResponse) => void;

export interface Twin extends AsyncDisposable {
  readonly port: number;
  readonly server: Server;
  /** Targets of the requests that were begun as plain ones. */
  readonly plain: string[];
  readonly closeIdle: () => void;
}

export interface TwinOptions {
  readonly headersTimeoutMs?: number;
  readonly keepAliveTimeoutMs?: number;
  readonly maxHeaderBytes?: number;
}

const keepAlive = 5_000;

export const openTwin = async (
  kind: "front" | "node",
  handle: Handle,
  {
    headersTimeoutMs = 5_000,
    keepAliveTimeoutMs = keepAlive,
    maxHeaderBytes = 16_384,
  }: TwinOptions = {},
): Promise<Twin> => {
  const plain: string[] = [];
  const server = createServer(
    { noDelay: true, maxHeaderSize: maxHeaderBytes, keepAliveTimeout: keepAliveTimeoutMs },
    handle,
  );
  server.maxHeadersCount = 0;
  const front =
    kind === "front" &&
    standBefore(
      server,
      {
        begin: (line, fields, caller) => {
          const url = readRequestLine(line);
          if (url === undefined) return false;
          plain.push(url);
          const request = new PlainRequest(url, fields, caller.socket);
          handle(request, caller.answer(request));
          return true;
        },
        late: (socket) => void socket.end("late"),
      },
      { headersTimeoutMs, keepAliveTimeoutMs, maxHeaderBytes },
    );
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo; // a TCP server's address is one
  return {
    port,
    server,
    plain,
    closeIdle: () => {
      if (front) front.closeIdle();
    },
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
};

const sockets = new Set<Socket>();

export interface Talk extends Disposable {
  readonly socket: Socket;
  readonly text: string;
  /** Resolves with all that came, once it satisfies. */
  until(isEnough: (text: string) => boolean): Promise<string>;
  /** Resolves with all that came, when the other side has closed. */
  closed(): Promise<string>;
}

/** A connection that remembers what came on it; `localAddress` is where it comes from. */
export const talk = async (port: number, localAddress = "127.0.0.1"): Promise<Talk> => {
  const socket = connect({ port, host: "127.0.0.1", localAddress });
  sockets.add(socket);
  let text = "";
  let isClosed = false;
  socket.on("error", () => undefined);
  socket.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
  });
  socket.once("close", () => {
    isClosed = true;
    sockets.delete(socket);
  });
  await once(socket, "connect");
  const signal = AbortSignal.timeout(10_000);
  return {
    socket,
    get text() {
      return text;
    },
    async until(isEnough) {
      while (!isEnough(text)) {
        assert.ok(!isClosed, `closed after ${JSON.stringify(text)}`);
        await Promise.race([once(socket, "data", { signal }), once(socket, "close", { signal })]);
      }
      return text;
    },
    async closed() {
      if (!isClosed) await once(socket, "close", { signal });
      return text;
    },
    [Symbol.dispose]: () => void socket.destroy(),
  };
};

/** All that comes back for these pieces, each sent when the one before has been handed to the system, until the server closes. */
export const exchanged = async (port: number, pieces: readonly string[]): Promise<string> => {
  using line = await talk(port);
  for (const piece of pieces) {
    await new Promise<void>((done) => void line.socket.write(piece, "latin1", () => done()));
    await new Promise((done) => setImmediate(done));
  }
  return await line.closed();
};

/** Answers without what two moments may give differently. */
export const timeless = (text: string): string => text.replaceAll(/Date: [^\r]*/g, "Date: now");
