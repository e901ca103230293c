/** TLS to nodes: the name is the region's, verification is always on, and the node's certificate decides. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:https";
import path from "node:path";
import { test } from "node:test";
import type { TLSSocket } from "node:tls";
import { WebSocket, WebSocketServer } from "ws";
import type { TlsOptions } from "../../src/reach/connector.ts";
import { eventually, front, nodeAt, pathOf } from "../carry/front.ts";
import { createCertificates } from "../support/certificates.ts";
import { get, rawRequest } from "../support/raw-client.ts";

const pem = (name: string): string =>
  readFileSync(path.join(import.meta.dirname, "tls", name), "utf8");
const cert = pem("cert.pem");

const tlsAgent = async (): Promise<{ server: Server; address: string } & AsyncDisposable> => {
  const server = createServer({ cert, key: pem("key.pem") }, (_request, response) =>
    response.end("ok"),
  );
  const sockets = new WebSocketServer({ server });
  sockets.on("connection", (socket) => socket.send('{"exited":true,"result":{"exit_code":5}}'));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const at = server.address();
  return {
    server,
    address: `127.0.0.1:${typeof at === "object" && at !== null ? at.port : 0}`,
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      for (const socket of sockets.clients) socket.terminate();
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
};

const trusted: TlsOptions = {
  ca: cert,
  cert: undefined,
  key: undefined,
  servername: "client.global.nomad",
};

for (const { name, tls, expect } of [
  { name: "the right CA and name", tls: trusted, expect: "200 ok" },
  {
    name: "another name",
    tls: { ...trusted, servername: "client.other.nomad" },
    expect: "502 node golden-3 cannot be reached: its certificate is for another name",
  },
  {
    name: "no CA that knows it",
    tls: { ...trusted, ca: undefined },
    expect: "502 node golden-3 cannot be reached: its certificate is not trusted",
  },
])
  test(`a node with TLS and ${name}: ${expect}`, async () => {
    await using agent = await tlsAgent();
    const node = nodeAt(agent.address, { tls: true });
    await using gate = await front({ route: "fs.ls", node, reach: { tls } });
    const answer = await rawRequest(gate.port, get(pathOf("fs.ls")));
    assert.equal(`${answer.status} ${answer.body.toString()}`, expect);
  });

test("a connection shows the certificate of now, and takes up no session of the one before", async (t) => {
  using certificates = createCertificates();
  certificates.make("ca", { authority: true });
  certificates.make("agent", { by: "ca", names: ["DNS:client.global.nomad"] });
  for (const name of ["before", "after"]) certificates.make(name, { by: "ca" });
  const ca = certificates.cert("ca");
  const asks = { ca, requestCert: true, ...certificates.pair("agent") };
  const server = createServer(asks, ({ socket }, response) => {
    const { subject } = (socket as TLSSocket).getPeerCertificate(); // an HTTPS server's socket is one
    response.writeHead(200, { connection: "close" }).end(String(subject.CN));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const at = server.address();
  const tls = { ca, ...certificates.pair("before"), servername: "client.global.nomad" };
  const node = nodeAt(`127.0.0.1:${typeof at === "object" && at !== null ? at.port : 0}`, {
    tls: true,
  });
  await using gate = await front({ route: "fs.ls", node, reach: { tls } });
  const shown = async (): Promise<string> =>
    (await rawRequest(gate.port, get(pathOf("fs.ls")))).body.toString();
  assert.equal(await shown(), "before");
  Object.assign(tls, certificates.pair("after"));
  assert.equal(await shown(), "after");
});

test("a node that speaks TLS although it says it does not is a 502", async () => {
  await using agent = await tlsAgent();
  await using gate = await front({ route: "fs.ls", node: nodeAt(agent.address) });
  const plain = await rawRequest(gate.port, get(pathOf("fs.ls")));
  assert.equal(plain.status, 502);
});

test("exec goes over TLS too", async () => {
  await using agent = await tlsAgent();
  const node = nodeAt(agent.address, { tls: true });
  await using gate = await front({ route: "alloc.exec", node, reach: { tls: trusted } });
  const socket = new WebSocket(`ws://127.0.0.1:${gate.port}${pathOf("alloc.exec")}`);
  socket.on("error", () => undefined);
  const [code] = await once(socket, "close");
  assert.equal(code, 1000);
  assert.equal((await gate.ended()).tally.exitCode, 5);
  await eventually(() => gate.reach.stats.sockets, 0);
});
