/**
 * A Nomad server that hands `/v1/client/*` on to an agent, as real ones do over the connection that the agent holds to them;
 * everything else is the scripted server's.
 */
import { once } from "node:events";
import { request as ask, createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";

export interface Relayed {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly token: string | undefined;
}

export interface RelayServer extends AsyncDisposable {
  readonly origin: string;
  /** What was handed on to the agent. */
  readonly relayed: readonly Relayed[];
  /** By path: answered here, as if the agent had. */
  readonly answers: Map<string, (request: IncomingMessage, response: ServerResponse) => void>;
}

const isForClients = (url: string): boolean => url.startsWith("/v1/client/");

const relayedOf = ({ method = "", url = "/", headers }: IncomingMessage): Relayed => {
  const { pathname, searchParams } = new URL(url, "http://relay");
  const token = headers["x-nomad-token"];
  return {
    method,
    path: pathname,
    query: searchParams,
    token: typeof token === "string" ? token : undefined,
  };
};

const handOn = (request: IncomingMessage, response: ServerResponse, origin: string): void => {
  const { method, url: path, headers } = request;
  const asked = ask(`${origin}${path}`, { method, headers }, (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    answer.on("error", () => response.destroy());
    answer.pipe(response);
  });
  asked.on("error", () => response.destroy());
  response.once("close", () => asked.destroy());
  request.pipe(asked);
};

const handOnSocket = (request: IncomingMessage, caller: Socket, origin: string): Socket => {
  const { hostname, port } = new URL(origin);
  const agent = connect(Number(port), hostname);
  agent.on("error", () => caller.destroy());
  agent.once("close", () => caller.destroy());
  caller.once("close", () => agent.destroy());
  const lines = request.rawHeaders.map((text, at) => (at % 2 === 0 ? `${text}: ` : `${text}\r\n`));
  agent.write(`${request.method} ${request.url} HTTP/1.1\r\n${lines.join("")}\r\n`);
  caller.pipe(agent).pipe(caller);
  return agent;
};

/** `agent`: `host:port` of the one that gets what is for clients. */
export const relayServer = async (nomad: string, agent: string): Promise<RelayServer> => {
  const relayed: Relayed[] = [];
  const answers: RelayServer["answers"] = new Map();
  const sockets = new Set<Socket>();
  const keep = (socket: Socket): void => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.once("close", () => sockets.delete(socket));
  };
  const server = createServer((request, response) => {
    const { url = "/" } = request;
    if (!isForClients(url)) return handOn(request, response, nomad);
    const seen = relayedOf(request);
    relayed.push(seen);
    const answer = answers.get(seen.path);
    if (answer) return answer(request, response);
    return handOn(request, response, `http://${agent}`);
  });
  server.on("connection", keep);
  server.on("upgrade", (request: IncomingMessage, socket: Socket) => {
    relayed.push(relayedOf(request));
    keep(handOnSocket(request, socket, `http://${agent}`));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo; // a TCP server's address is one
  return {
    origin: `http://127.0.0.1:${port}`,
    relayed,
    answers,
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
};
