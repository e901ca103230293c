/** A real directory laid out as the recorded allocation, a real server around the handlers, and a raw client. */
import { chmod, mkdir, mkdtemp, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import type { FilesOf } from "../../../src/agent/files/content.ts";
import { createFileHandlers, type FileHandlers } from "../../../src/agent/files/handlers.ts";
import type { AgentTask } from "../../../src/agent/ports.ts";
import { writeError } from "../../../src/answer.ts";
import { GatewayError, toGatewayError } from "../../../src/errors.ts";
import {
  logsParameters,
  lsParameters,
  parseQuery,
  pathParameters,
  readAtParameters,
  streamParameters,
} from "../../../src/parameters.ts";

export interface Allocation extends FilesOf, AsyncDisposable {
  readonly directory: string;
  collected: boolean;
  /** Host path of a path inside. */
  at(inside: string): string;
}

const task = (directory: string, name: string, started: boolean): AgentTask => ({
  name,
  state: started ? "running" : "pending",
  started,
  pid: undefined,
  env: {},
  directory: path.join(directory, name),
});

/** An empty allocation with the tasks named; ones named `later...` were never started. */
export const temporaryAllocation = async (...names: readonly string[]): Promise<Allocation> => {
  const parent = await realpath(await mkdtemp(path.join(tmpdir(), "serai-files-")));
  const directory = path.join(parent, "307b0057-418f-b6f1-922f-691b03e2fdef");
  for (const inside of ["alloc/data", "alloc/logs", "alloc/tmp"])
    await mkdir(path.join(directory, inside), { recursive: true });
  const tasks = new Map(
    names.map((name) => [name, task(directory, name, !name.startsWith("later"))]),
  );
  return {
    id: path.basename(directory),
    directory,
    collected: false,
    task: (name) => tasks.get(name),
    at: (inside) => path.join(directory, inside),
    [Symbol.asyncDispose]: () => rm(parent, { recursive: true, force: true }),
  };
};

const recordedFiles: Readonly<Record<string, string | Buffer>> = {
  "alloc/data/hello.txt": "hello\n",
  "alloc/data/23.txt": "23 bytes of plain text\n",
  "alloc/data/empty.txt": "",
  "alloc/data/2k.txt": "d".repeat(2000),
  "alloc/data/3k.txt": "c".repeat(3000),
  "alloc/data/64k.txt": "a".repeat(65_536),
  "alloc/data/150k.txt": "b".repeat(150_000),
  "alloc/data/page.html": "<html><script>alert(1)</script></html>\n",
  "alloc/data/data.json": '{"a":1,"t":1735689600123456789}\n',
  "alloc/data/img.png": Buffer.from("iVBORw0KGgoAAAANSUhEUg==", "base64"),
  "alloc/data/utf8.txt": "café €\n",
  "alloc/data/bytes.bin": Buffer.from("//4AAXJhdw==", "base64"),
  "alloc/data/a b&c+d%.txt": "x",
  "alloc/data/grow.txt": "first\n",
  "alloc/logs/web.stdout.0": "out line 1\nout line 2\n",
  "alloc/logs/web.stderr.0": "err line 1\n",
  "alloc/logs/init.stdout.0": "init out\n",
  "alloc/logs/rot.stdout.0": "",
  "alloc/logs/rot.stderr.0": "",
  "web/secrets/s.txt": "secret\n",
  "web/private/p.txt": "private\n",
};

/** The allocation of the recorded answers (its files, links and tasks). */
export const recordedAllocation = async (): Promise<Allocation> => {
  const allocation = await temporaryAllocation("web", "init", "rot", "quiet", "later");
  for (const inside of ["alloc/data/sub/deep", "web/secrets", "web/private", "web/local"])
    await mkdir(allocation.at(inside), { recursive: true });
  for (const [inside, content] of Object.entries(recordedFiles)) {
    await writeFile(allocation.at(inside), content);
    await chmod(allocation.at(inside), 0o644);
  }
  await chmod(allocation.at("alloc/data"), 0o777);
  await chmod(allocation.at("alloc/data/sub"), 0o755);
  await symlink("hello.txt", allocation.at("alloc/data/link.txt"));
  await symlink("nowhere", allocation.at("alloc/data/broken.txt"));
  await symlink("/etc/hostname", allocation.at("alloc/data/escape.txt"));
  return allocation;
};

type Call = (response: ServerResponse, signal: AbortSignal) => Promise<void>;

const callOf = (
  handlers: FileHandlers,
  allocation: FilesOf,
  route: string,
  text: string,
): Call | undefined => {
  const raw = parseQuery(text);
  const options = { pretty: raw.has("pretty") };
  switch (route) {
    case "fs.ls":
      return (response, signal) =>
        handlers["fs.ls"](allocation, lsParameters(raw), response, signal, options);
    case "fs.stat":
      return (response, signal) =>
        handlers["fs.stat"](allocation, pathParameters(raw), response, signal, options);
    case "fs.cat":
      return (response, signal) =>
        handlers["fs.cat"](allocation, pathParameters(raw), response, signal);
    case "fs.readat":
      return (response, signal) =>
        handlers["fs.readat"](allocation, readAtParameters(raw), response, signal);
    case "fs.stream":
      return (response, signal) =>
        handlers["fs.stream"](allocation, streamParameters(raw), response, signal);
    case "fs.logs":
      return (response, signal) =>
        handlers["fs.logs"](allocation, logsParameters(raw), response, signal);
    default:
      return undefined;
  }
};

export interface FileServer extends AsyncDisposable {
  readonly port: number;
  /** Aborts every answer now going on. */
  abort(reason: unknown): void;
  /** Calls of handlers that have not resolved. */
  readonly live: number;
  /** What handlers threw. */
  readonly errors: readonly unknown[];
}

/** Serves `GET /fs.cat?path=...` for one allocation. */
export const serveFiles = async (
  allocation: FilesOf,
  handlers: FileHandlers = createFileHandlers(),
  fixedSignal?: AbortSignal,
): Promise<FileServer> => {
  let controller = new AbortController();
  let live = 0;
  const errors: unknown[] = [];
  const answer = async (incoming: IncomingMessage, response: ServerResponse): Promise<void> => {
    const [route = "", text = ""] = (incoming.url ?? "").slice(1).split("?", 2);
    live++;
    try {
      const call = callOf(handlers, allocation, route, text);
      if (call === undefined) throw new GatewayError("not_found", { text: route });
      await call(response, fixedSignal ?? controller.signal);
    } catch (error) {
      errors.push(error);
      writeError(response, toGatewayError(error));
    } finally {
      live--;
    }
  };
  const server = createServer((incoming, response) => void answer(incoming, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return {
    port: address.port,
    errors,
    get live() {
      return live;
    },
    abort: (reason) => {
      controller.abort(reason);
      controller = new AbortController();
    },
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await until(() => live === 0);
    },
  };
};

export interface Answered {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly body: Buffer;
  /** False when the body was cut. */
  readonly complete: boolean;
}

/** A whole answer. */
export const ask = (server: FileServer, target: string, method = "GET"): Promise<Answered> =>
  new Promise((resolve, reject) => {
    const outgoing = request(
      { host: "127.0.0.1", port: server.port, path: `/${target}`, method, agent: false },
      (incoming) => {
        const chunks: Buffer[] = [];
        incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
        incoming.on("error", () => {}); // shows as not complete
        incoming.on("close", () =>
          resolve({
            status: incoming.statusCode ?? 0,
            headers: incoming.headers,
            body: Buffer.concat(chunks),
            complete: incoming.complete,
          }),
        );
      },
    );
    outgoing.on("error", reject);
    outgoing.end();
  });

/** Polls until `isSo`; fails after ten seconds. */
export const until = async (isSo: () => boolean | Promise<boolean>): Promise<void> => {
  const deadline = performance.now() + 10_000;
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`waited in vain for ${isSo}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
};

export interface Frame {
  readonly Data?: string;
  readonly File?: string;
  readonly FileEvent?: string;
  readonly Offset?: number;
}

/** An answer that is read as it comes, one HTTP chunk at a time. */
export interface Listener extends AsyncDisposable {
  readonly socket: Socket;
  /** The head's text, once it came. */
  head(): Promise<string>;
  readonly chunks: readonly Buffer[];
  /** Chunks as frames, heartbeats left out. */
  frames(): readonly Frame[];
  /** All data of the frames. */
  data(): Buffer;
  /** Resolves when the connection has ended: `complete` after a final chunk. */
  ended(): Promise<{ readonly complete: boolean }>;
}

/** Takes an HTTP/1.1 chunked body apart; keeps what is not whole yet. */
class Dechunker {
  #rest: Buffer = Buffer.alloc(0);
  readonly chunks: Buffer[] = [];
  final = false;

  push(bytes: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    for (;;) {
      const line = this.#rest.indexOf("\r\n");
      if (line < 0) return;
      const size = Number.parseInt(this.#rest.toString("latin1", 0, line), 16);
      if (this.#rest.length < line + 2 + size + 2) return;
      if (size === 0) this.final = true;
      else this.chunks.push(this.#rest.subarray(line + 2, line + 2 + size));
      this.#rest = this.#rest.subarray(line + 2 + size + 2);
    }
  }
}

const isFrame = (value: unknown): value is Frame => typeof value === "object" && value !== null;

const toFrameOf = (chunk: Buffer): Frame => {
  const value: unknown = JSON.parse(chunk.toString());
  if (!isFrame(value)) throw new Error(`no frame: ${chunk}`);
  return value;
};

export const listen = async (server: FileServer, target: string): Promise<Listener> => {
  const socket = connect(server.port, "127.0.0.1");
  socket.on("error", () => {}); // a reset shows as not complete
  const dechunker = new Dechunker();
  let head: string | undefined;
  let before = Buffer.alloc(0);
  socket.on("data", (bytes: Buffer) => {
    if (head !== undefined) {
      dechunker.push(bytes);
      return;
    }
    before = Buffer.concat([before, bytes]);
    const end = before.indexOf("\r\n\r\n");
    if (end < 0) return;
    head = before.toString("latin1", 0, end);
    dechunker.push(before.subarray(end + 4));
  });
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  await new Promise<void>((resolve) => socket.once("connect", resolve));
  socket.write(`GET /${target} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n`);
  const frames = (): readonly Frame[] =>
    dechunker.chunks.filter((chunk) => chunk.toString() !== "{}").map(toFrameOf);
  return {
    socket,
    chunks: dechunker.chunks,
    head: async () => {
      await until(() => head !== undefined);
      return head ?? "";
    },
    frames,
    data: () => Buffer.concat(frames().map((frame) => Buffer.from(frame.Data ?? "", "base64"))),
    ended: async () => {
      await closed;
      return { complete: dechunker.final };
    },
    [Symbol.asyncDispose]: async () => {
      socket.destroy();
      await closed;
    },
  };
};
