/** TLS to the servers: verified by the name that is set, kept between requests, and a certificate that does not fit is no server. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import path from "node:path";
import { test } from "node:test";
import { WebSocket, WebSocketServer } from "ws";
import { get, rawRequest } from "../../support/raw-client.ts";
import { gateTo } from "./gate.ts";

const pem = (name: string): string =>
  readFileSync(path.join(import.meta.dirname, "../../reach/tls", name), "utf8");
const cert = pem("cert.pem");
const trusted = { ca: cert, cert: undefined, key: undefined, servername: "client.global.nomad" };

const tlsServer = async (): Promise<
  { readonly origin: string; readonly connections: () => number } & AsyncDisposable
> => {
  let connections = 0;
  const server = createServer({ cert, key: pem("key.pem") }, (_request, response) =>
    response.end("ok"),
  );
  const sockets = new WebSocketServer({ server });
  sockets.on("connection", (socket) => socket.close(4000, "done"));
  server.on("secureConnection", () => connections++);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const at = server.address();
  return {
    origin: `https://127.0.0.1:${typeof at === "object" && at !== null ? at.port : 0}`,
    connections: () => connections,
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      for (const socket of sockets.clients) socket.terminate();
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
};

test("requests and sockets go over a verified connection, which requests share", async () => {
  await using server = await tlsServer();
  await using gate = await gateTo([server.origin], { tls: trusted });
  for (const nth of [1, 2])
    assert.equal((await rawRequest(gate.port, get("/v1/jobs"))).body.toString(), "ok", `${nth}`);
  assert.equal(server.connections(), 1);
  const caller = new WebSocket(`ws://127.0.0.1:${gate.port}/v1/job/a/action`);
  const [code, reason] = await once(caller, "close");
  assert.equal(`${code} ${reason}`, "4000 done");
});

const untrusted = [
  { name: "is of nobody known", tls: { ...trusted, ca: undefined }, reason: "its certificate is not trusted" },
  { name: "is for another name", tls: { ...trusted, servername: "server.global.nomad" }, reason: "its certificate is for another name" },
] as const; // biome-ignore format: a table
for (const { name, tls, reason } of untrusted)
  test(`a server whose certificate ${name} gets nothing`, async () => {
    await using server = await tlsServer();
    await using gate = await gateTo([server.origin], { tls });
    const refused = await rawRequest(gate.port, get("/v1/jobs"));
    assert.equal(refused.status, 503);
    assert.ok(refused.body.toString().endsWith(reason), refused.body.toString());
  });
