/** Doors in front of an agent: TLS as Nomad's agents speak it, or a server of the test's own. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect, type Server, type Socket } from "node:net";
import path from "node:path";
import { createServer as createTlsServer } from "node:tls";

export interface Door extends AsyncDisposable {
  readonly address: string;
  /** Connections that were taken. */
  readonly taken: () => number;
}

export const openDoor = async (server: Server): Promise<Door> => {
  const sockets = new Set<Socket>();
  let taken = 0;
  server.on("connection", (socket: Socket) => {
    taken += 1;
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.once("close", () => sockets.delete(socket));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const at = server.address();
  assert.ok(at !== null && typeof at === "object");
  return {
    address: `127.0.0.1:${at.port}`,
    taken: () => taken,
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
};

export const pemFile = (name: string): string =>
  path.join(import.meta.dirname, "../reach/tls", name);
const pem = (name: string): string => readFileSync(pemFile(name), "utf8");

/** TLS in front of an agent, under the name `client.global.nomad`; who shows no certificate is refused. */
export const tlsDoor = (agentAddress: string): Promise<Door> => {
  const [host, port] = agentAddress.split(":");
  const cert = pem("cert.pem");
  const server = createTlsServer(
    { cert, key: pem("key.pem"), ca: cert, requestCert: true, rejectUnauthorized: true },
    (caller) => {
      const agent = connect(Number(port), host);
      agent.on("error", () => caller.destroy());
      caller.on("error", () => agent.destroy());
      caller.once("close", () => agent.destroy());
      agent.once("close", () => caller.destroy());
      caller.pipe(agent).pipe(caller);
    },
  );
  server.on("tlsClientError", () => undefined);
  return openDoor(server);
};
