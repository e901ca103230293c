/** An agent that answers with exactly the bytes of a script: every way of answering wrongly, over a real socket. */
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { freePort } from "./free-port.ts";

export interface Heard {
  readonly socket: Socket;
  /** The request's head, once it is whole. */
  readonly head: string;
  /** 1 for the first request that this agent got. */
  readonly nth: number;
}

export type Script = (heard: Heard) => void;

export interface FaultyAgent extends AsyncDisposable {
  /** `host:port`. */
  readonly address: string;
  /** The heads of all requests heard. */
  readonly requests: readonly string[];
  /** Connections ever opened, and those open now. */
  readonly connections: number;
  readonly open: number;
  /** Bytes that came after the first request's head. */
  readonly extraBytes: number;
  /** Resolves when no connection is open. */
  readonly idle: () => Promise<void>;
  /** Resolves with the n-th request. */
  readonly request: (nth: number) => Promise<Heard>;
}

const headEnd = "\r\n\r\n";

export const faultyAgent = async (script: Script): Promise<FaultyAgent> => {
  const sockets = new Set<Socket>();
  const heard: Heard[] = [];
  const waiting: { nth: number; told: (heard: Heard) => void }[] = [];
  let connections = 0;
  let extraBytes = 0;

  const hear = (socket: Socket, head: string): void => {
    const one = { socket, head, nth: heard.length + 1 };
    heard.push(one);
    for (const { nth, told } of waiting) if (nth === one.nth) told(one);
    script(one);
  };
  const listen = (socket: Socket): void => {
    let text = "";
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1");
      const heads = text.split(headEnd);
      text = heads.pop() ?? "";
      for (const head of heads)
        if (/^[A-Z]+ \S+ HTTP\/1\.1\r\n/.test(head)) hear(socket, head + headEnd);
        else extraBytes += head.length + headEnd.length;
      if (!/^[A-Z]/.test(text)) {
        extraBytes += text.length; // a frame, or a body
        text = "";
      }
    });
  };
  const server = createServer((socket) => {
    connections += 1;
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.once("close", () => sockets.delete(socket));
    listen(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const at = server.address();
  const port = typeof at === "object" && at !== null ? at.port : 0;

  const idle = async (): Promise<void> => {
    for (const socket of sockets)
      await new Promise<void>((resolve) => socket.once("close", () => resolve()));
  };
  return {
    address: `127.0.0.1:${port}`,
    get requests() {
      return heard.map(({ head }) => head);
    },
    get connections() {
      return connections;
    },
    get open() {
      return sockets.size;
    },
    get extraBytes() {
      return extraBytes;
    },
    idle,
    request: (nth) =>
      new Promise((told) => {
        const known = heard[nth - 1];
        if (known) told(known);
        else waiting.push({ nth, told });
      }),
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
};

/** An address where nobody listens yet. */
export const freeAddress = async (): Promise<string> => `127.0.0.1:${await freePort()}`;

const unusedOn = async (host: string): Promise<string> => {
  const server = createServer();
  server.listen(0, host);
  await once(server, "listening");
  const at = server.address();
  server.close();
  await once(server, "close");
  return `${host}:${typeof at === "object" && at !== null ? at.port : 0}`;
};

/** An address where nobody listens: on loopback too, but where no test takes a port meanwhile. */
export const deadAddress = (): Promise<string> => unusedOn("127.77.0.1");
