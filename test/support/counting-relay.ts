/** A way to a server that hears who asks for what: bytes pass as they are, request lines are noted. Plain HTTP only. */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

export interface CountingRelay extends AsyncDisposable {
  /** `host:port`. */
  readonly address: string;
  /** `METHOD target` of every request so far whose head is there. */
  readonly requests: readonly string[];
  /** The head of the last request of each connection that is open. */
  readonly open: () => readonly string[];
  /** Cuts the connections of whose last request the head matches. */
  readonly cut: (which: RegExp) => void;
}

const requestHead = /(?:^|\n)([A-Z]{3,8} \/\S*) HTTP\/1\.1\r\n(?:[^\r]+\r\n)*\r\n/g;
/** A head that two reads share is found with the second. */
const keptCharacters = 8192;

const listenIn = (socket: Socket, heard: (request: string, head: string) => void): void => {
  let text = "";
  socket.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
    let seen = 0;
    for (const found of text.matchAll(requestHead)) {
      heard(found[1] ?? "", found[0]);
      seen = found.index + found[0].length;
    }
    text = text.slice(seen).slice(-keptCharacters);
  });
};

/** `target` is `host:port`; `at` where to listen, on a free port without it. */
export const countingRelay = async (target: string, at = "127.0.0.1:0"): Promise<CountingRelay> => {
  const [host = "", port = ""] = target.split(":");
  const requests: string[] = [];
  const sockets = new Set<Socket>();
  const last = new Map<Socket, string>();
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
        last.delete(socket);
        other.destroy();
      });
      socket.pipe(other);
    }
    listenIn(caller, (request, head) => {
      requests.push(request);
      last.set(caller, head);
    });
  });
  const [ownHost = "", ownPort = ""] = at.split(":");
  server.listen(Number(ownPort), ownHost);
  await once(server, "listening");
  const bound = server.address();
  return {
    address: `${ownHost}:${typeof bound === "object" && bound !== null ? bound.port : 0}`,
    requests,
    open: () => [...last.values()],
    cut(which) {
      for (const [socket, head] of last) if (which.test(head)) socket.destroy();
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
};
