/** A way to a server that hears who asks for what: bytes pass as they are, request lines are noted. Plain HTTP only. */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

export interface CountingRelay extends AsyncDisposable {
  /** `host:port`. */
  readonly address: string;
  /** `METHOD target` of every request so far. */
  readonly requests: readonly string[];
}

const requestLine = /(?:^|\n)([A-Z]{3,8} \/\S*) HTTP\/1\.1\r\n/g;
/** A request line that two reads share is found with the second. */
const keptCharacters = 4096;

const listenIn = (socket: Socket, requests: string[]): void => {
  let text = "";
  socket.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
    let seen = 0;
    for (const found of text.matchAll(requestLine)) {
      requests.push(found[1] ?? "");
      seen = found.index + found[0].length;
    }
    text = text.slice(seen).slice(-keptCharacters);
  });
};

/** `target` is `host:port`. */
export const countingRelay = async (target: string): Promise<CountingRelay> => {
  const [host = "", port = ""] = target.split(":");
  const requests: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((caller) => {
    const onward = connect(Number(port), host);
    for (const [socket, other] of [
      [caller, onward],
      [onward, caller],
    ] as const) {
      sockets.add(socket);
      socket.on("error", () => other.destroy());
      socket.on("close", () => {
        sockets.delete(socket);
        other.destroy();
      });
      socket.pipe(other);
    }
    listenIn(caller, requests);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const at = server.address();
  return {
    address: `127.0.0.1:${typeof at === "object" && at !== null ? at.port : 0}`,
    requests,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
};
