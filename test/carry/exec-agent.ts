/** An agent that speaks WebSocket, and a caller of a gateway in front of it. */
import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { type RawData, WebSocket, WebSocketServer } from "ws";
import type { Limits } from "../../src/carry/carriage.ts";
import { type Front, front, nodeAt, pathOf } from "./front.ts";

export interface ExecAgent extends AsyncDisposable {
  readonly address: string;
  readonly requests: readonly IncomingMessage[];
  readonly sockets: ReadonlySet<WebSocket>;
}

/** An agent that speaks proper WebSocket, which it opens after so long; `talk` is the session. */
export const execAgent = async (
  talk: (socket: WebSocket, raw: Duplex) => void,
  opensAfterMs = 0,
): Promise<ExecAgent> => {
  const requests: IncomingMessage[] = [];
  const server = createServer();
  const sockets = new WebSocketServer({ noServer: true, maxPayload: 8 * 1024 * 1024 });
  server.on("upgrade", (request, raw, head) => {
    const open = (): void =>
      sockets.handleUpgrade(request, raw, head, (socket) => {
        socket.on("error", () => undefined);
        requests.push(request);
        talk(socket, raw);
      });
    if (opensAfterMs === 0) open();
    else setTimeout(open, opensAfterMs);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const at = server.address();
  return {
    address: `127.0.0.1:${typeof at === "object" && at !== null ? at.port : 0}`,
    requests,
    sockets: sockets.clients,
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      for (const socket of sockets.clients) socket.terminate();
      server.close();
      await closed;
    },
  };
};

export const exitFrame = (code: number): string =>
  JSON.stringify({ exited: true, result: code === 0 ? {} : { exit_code: code } });
export interface Caller {
  readonly socket: WebSocket;
  readonly messages: readonly string[];
  readonly closed: Promise<{ code: number; reason: string }>;
}

/** A terminal's session. */
export const caller = (gate: Front): Caller => {
  const socket = new WebSocket(`ws://127.0.0.1:${gate.port}${pathOf("alloc.exec")}&tty=true`);
  const messages: string[] = [];
  socket.on("error", () => undefined);
  socket.on("message", (data: RawData, isBinary) =>
    messages.push(`${isBinary ? "b" : "t"}:${String(data)}`),
  );
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.once("close", (code, reason) => resolve({ code, reason: reason.toString() }));
  });
  return { socket, messages, closed };
};

export const gateTo = (address: string, limits: Partial<Limits> = {}): Promise<Front> =>
  front({ route: "alloc.exec", node: nodeAt(address), limits });
