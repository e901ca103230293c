/** Requests that a caller pipelines over TLS while a large answer goes out: all of them are answered, and none is torn. */
import assert from "node:assert/strict";
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { connect as connectTcp, createServer } from "node:net";
import { after, test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { connect as connectTls } from "node:tls";
import { openListener } from "../../src/ingress/listener.ts";
import { createTlsContext } from "../../src/ingress/tls.ts";
import { createCertificates } from "../support/certificates.ts";

const certificates = createCertificates();
after(() => certificates[Symbol.dispose]());
certificates.make("gate", { names: ["IP:127.0.0.1"] });
const log = { debug() {}, info() {}, warn() {}, error() {} };
/** More than the system takes for one who does not read. */
const size = 32 * 2 ** 20;
const piece = size / 32;

/** `/whole`: in one write, as a list of the registry's. `/streamed`: as a download. */
const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
  request.resume();
  if (request.url === "/small") {
    response.end("ok");
    return;
  }
  response.writeHead(200, { "Content-Length": size });
  if (request.url === "/streamed")
    for (let sent = piece; sent < size; sent += piece)
      if (!response.write(Buffer.alloc(piece, "s"))) await once(response, "drain");
  response.end(Buffer.alloc(request.url === "/streamed" ? piece : size, "s"));
};

const open = () =>
  openListener(
    {
      log,
      onRequest: (request, response) => void answer(request, response),
      begin: () => false,
      onUpgrade: (_request, socket) => socket.destroy(),
    },
    {
      host: "127.0.0.1",
      port: 0,
      maxHeaderBytes: 16_384,
      headersTimeoutMs: 5_000,
      requestTimeoutMs: 5_000,
      keepAliveTimeoutMs: 5_000,
      tlsHandshakeTimeoutMs: 5_000,
      maxSocketsPerAddress: 10,
      maxSockets: 10,
      tls: createTlsContext(
        { log },
        { certFile: certificates.certFile("gate"), keyFile: certificates.keyFile("gate") },
      ),
    },
  );

/** A caller whose network can hold what was sent, and bring it in one piece. */
const openCaller = async (port: number) => {
  const wire = connectTcp(port, "127.0.0.1");
  const held: Buffer[] = [];
  let isHolding = false;
  const relay = createServer((near) => {
    near.on("error", () => wire.destroy());
    near.on("data", (bytes) => void (isHolding ? held.push(bytes) : wire.write(bytes)));
    wire.on("data", (bytes) => void near.write(bytes));
    wire.once("close", () => near.end());
  });
  wire.on("error", () => undefined);
  relay.listen(0, "127.0.0.1");
  await once(relay, "listening");
  const at = relay.address();
  assert.ok(at !== null && typeof at === "object");
  const socket = connectTls({
    port: at.port,
    host: "127.0.0.1",
    ca: certificates.cert("gate"),
  });
  socket.on("error", () => undefined);
  await once(socket, "secureConnect");
  relay.close();
  return {
    wire,
    socket,
    /** A record of its own. */
    send: (text: string) => new Promise<void>((sent) => void socket.write(text, () => sent())),
    hold: () => {
      isHolding = true;
    },
    bring: () => void wire.write(Buffer.concat(held)),
  };
};

for (const url of ["/whole", "/streamed"])
  test(`requests pipelined behind ${url} are answered in turn`, async () => {
    const listener = await open();
    const { wire, socket, send, hold, bring } = await openCaller(
      Number(listener.address.split(":")[1]),
    );
    try {
      const pieces: Buffer[] = [];
      socket.on("data", (bytes: Buffer) => void pieces.push(bytes));
      const closed = once(socket, "close");
      await send(`GET ${url} HTTP/1.1\r\nHost: a\r\n\r\n`);
      await once(socket, "data");
      wire.pause();
      hold();
      for (const last of ["", "", "", "Connection: close\r\n"])
        await send(`GET /small HTTP/1.1\r\nHost: a\r\n${last}\r\n`);
      await wait(100); // the network has them
      bring();
      await wait(100); // they are there while the answer is under way
      wire.resume();
      await closed;
      const told = Buffer.concat(pieces)
        .toString("latin1")
        .split("HTTP/1.1 ")
        .slice(1)
        .map((one) => `${one.slice(0, 3)} ${one.length - one.indexOf("\r\n\r\n") - 4}`);
      assert.deepEqual(told, [`200 ${size}`, ...Array(4).fill("200 2")]);
    } finally {
      wire.destroy();
      await listener.close(AbortSignal.timeout(1_000));
    }
  });
