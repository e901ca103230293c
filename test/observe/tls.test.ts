import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import { before, test } from "node:test";
import tls from "node:tls";
import { createTlsContext } from "../../src/ingress/tls.ts";
import { ended, quiet, scratch } from "./support.ts";

const kept = scratch();
process.on("exit", () => kept[Symbol.dispose]());

const pairNamed = (name: string): { readonly cert: string; readonly key: string } => {
  const pair = { cert: kept.file(`${name}.crt`), key: kept.file(`${name}.key`) };
  execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
    "-subj", `/CN=${name}`, "-addext", "subjectAltName=DNS:localhost", "-keyout", pair.key, "-out", pair.cert], { stdio: "ignore" }); // biome-ignore format: a command
  return pair;
};

let one: ReturnType<typeof pairNamed>;
let two: ReturnType<typeof pairNamed>;
before(() => {
  one = pairNamed("one");
  two = pairNamed("two");
});

const install = (at: ReturnType<typeof scratch>, cert: string, key: string) => {
  copyFileSync(cert, at.file("crt"));
  copyFileSync(key, at.file("key"));
  return { certFile: at.file("crt"), keyFile: at.file("key") };
};

const served = async (context: ReturnType<typeof createTlsContext>) => {
  const server = createServer(context.options, (_request, response) => response.end("ok"));
  server.on("tlsClientError", () => undefined); // a refused caller is what some tests look for
  context.attach(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no address");
  return {
    port: address.port,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
};

const connect = async (
  port: number,
  options: tls.ConnectionOptions = {},
): Promise<tls.TLSSocket> => {
  const socket = tls.connect({ port, host: "127.0.0.1", rejectUnauthorized: false, ...options });
  await once(socket, "secureConnect");
  socket.on("error", () => undefined); // the server is closed under it at the end
  return socket;
};

const nameOf = (socket: tls.TLSSocket): unknown => socket.getPeerCertificate().subject.CN;

test("new handshakes get the renewed certificate, with and without SNI, and live sessions go on", async () => {
  using at = scratch();
  const context = createTlsContext({ log: quiet }, install(at, one.cert, one.key));
  await using server = await served(context);
  const living = await connect(server.port);
  assert.equal(nameOf(living), "one");
  install(at, two.cert, two.key);
  assert.equal(context.reload(), true);
  const fresh = await connect(server.port);
  const named = await connect(server.port, { servername: "localhost" });
  assert.deepEqual([nameOf(fresh), nameOf(named)], ["two", "two"]);
  living.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  const [answer] = await once(living, "data");
  assert.match(String(answer), /^HTTP\/1\.1 200/);
  assert.equal(context.expiresAtMs, Date.parse(fresh.getPeerCertificate().valid_to));
  for (const socket of [living, fresh, named]) socket.destroy();
});

const broken: readonly (readonly [string, (at: ReturnType<typeof scratch>) => void])[] = [
  ["a key of another certificate", (at) => copyFileSync(two.key, at.file("key"))],
  [
    "half a certificate",
    (at) => writeFileSync(at.file("crt"), readFileSync(two.cert).subarray(0, 200)),
  ],
  ["an empty key", (at) => writeFileSync(at.file("key"), "")],
  ["an empty certificate", (at) => writeFileSync(at.file("crt"), "")],
];

for (const [name, spoil] of broken)
  test(`${name} is refused at reload and the old pair stays`, async () => {
    using at = scratch();
    const told: string[] = [];
    const log = { ...quiet, error: (_fields: object, message: string) => told.push(message) };
    const context = createTlsContext({ log }, install(at, one.cert, one.key));
    await using server = await served(context);
    spoil(at);
    assert.equal(context.reload(), false);
    assert.deepEqual(told, ["certificate refused, the old one stays"]);
    const socket = await connect(server.port);
    assert.equal(nameOf(socket), "one");
    socket.destroy();
  });

test("a listener does not start with a pair that does not fit", () => {
  using at = scratch();
  const files = install(at, one.cert, two.key);
  assert.throws(() => createTlsContext({ log: quiet }, files), /is not the one of the certificate/);
});

test("TLS 1.1 is refused", async () => {
  using at = scratch();
  await using server = await served(
    createTlsContext({ log: quiet }, install(at, one.cert, one.key)),
  );
  const old = {
    minVersion: "TLSv1",
    maxVersion: "TLSv1.1",
    ciphers: "DEFAULT@SECLEVEL=0",
  } as const;
  await assert.rejects(connect(server.port, old));
});

test("with client authorities, a caller without a certificate of theirs is refused", async () => {
  using at = scratch();
  const files = { ...install(at, one.cert, one.key), clientCaFile: two.cert };
  await using server = await served(createTlsContext({ log: quiet }, files));
  const ask = async (options: tls.ConnectionOptions): Promise<string> => {
    const socket = await connect(server.port, options);
    socket.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk;
    });
    await ended(socket);
    return text;
  };
  const shown = { cert: readFileSync(two.cert), key: readFileSync(two.key) };
  assert.match(await ask(shown), /^HTTP\/1\.1 200/);
  assert.equal(await ask({}), "");
  assert.equal(await ask({ cert: readFileSync(one.cert), key: readFileSync(one.key) }), "");
});
