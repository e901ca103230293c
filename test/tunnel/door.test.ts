/** The hello over TLS, as every gateway on another machine takes it. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:https";
import { connect as connectTcp } from "node:net";
import type { Duplex } from "node:stream";
import { test } from "node:test";
import { connect } from "node:tls";
import { systemClock } from "../../src/lib/clock.ts";
import { createTunnelDoor } from "../../src/tunnel/door.ts";
import { createHub } from "../../src/tunnel/hub.ts";
import { silentObserver } from "../../src/tunnel/observer.ts";
import { nodeHeader, tunnelPath, tunnelProtocol } from "../../src/tunnel/protocol.ts";
import { eventually } from "../support/rig.ts";
import { openDoor, pemFile } from "../support/tls-door.ts";
import { behind } from "./support.ts";

const nodeId = "11111111-1111-4111-8111-111111111111";
const ignored = (): void => undefined;
const pem = (name: string): string => readFileSync(pemFile(name), "utf8");
const hello = `GET ${tunnelPath} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: ${tunnelProtocol}\r\nAuthorization: Bearer s\r\n${nodeHeader}: ${nodeId}\r\n\r\n`;

test("a tunnel opens over TLS though its 101 is still being written", async () => {
  const hub = createHub({ clock: systemClock, told: ignored });
  const door = createTunnelDoor({
    log: { debug: ignored, info: ignored, warn: ignored, error: ignored },
    hub,
    joinTokens: { claim: async () => true, holds: () => true },
    told: ignored,
    observe: silentObserver,
    addressOf: () => "127.0.0.1",
  });
  const server = createServer({ cert: pem("cert.pem"), key: pem("key.pem") });
  server.on("upgrade", (request, socket, head) => door.take(request, socket, head));
  await using open = await openDoor(server);
  const socket = connect({
    port: Number(open.address.split(":")[1]),
    host: "127.0.0.1",
    ca: pem("cert.pem"),
    servername: "client.global.nomad",
  });
  socket.on("error", () => socket.destroy());
  socket.write(hello);
  const [answer]: unknown[] = await once(socket, "data");
  assert.match(String(answer), /^HTTP\/1\.1 101 /);
  const rest = Buffer.from(String(answer), "latin1");
  const headEnd = rest.indexOf("\r\n\r\n") + 4;
  socket.pause();
  if (rest.length > headEnd) socket.unshift(rest.subarray(headEnd));
  behind(socket, (_request, response) => response.end());
  await eventually("the tunnel is there", () => hub.isOpen(nodeId) || undefined);
  const words = await new Promise<string>((resolve) => {
    hub.open(nodeId, (error, connection) => {
      connection?.destroy();
      resolve(error?.words ?? "open");
    });
  });
  assert.equal(words, "open");
  await hub.close(AbortSignal.abort());
});

for (const leaves of ["end", "resetAndDestroy"] as const)
  test(`an agent that has left before its hello is answered is not let in (${leaves})`, async () => {
    const events: string[] = [];
    const hub = createHub({ clock: systemClock, told: ({ kind }) => void events.push(kind) });
    const asked = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<boolean>();
    const door = createTunnelDoor({
      log: { debug: ignored, info: ignored, warn: ignored, error: ignored },
      hub,
      joinTokens: {
        claim: () => {
          asked.resolve();
          return answer.promise;
        },
        holds: () => true,
      },
      told: ({ kind }) => void events.push(kind),
      observe: silentObserver,
      addressOf: () => "127.0.0.1",
    });
    const server = createHttpServer();
    const taken = Promise.withResolvers<Duplex>();
    server.on("upgrade", (request, socket, head) => {
      taken.resolve(socket);
      door.take(request, socket, head);
    });
    await using open = await openDoor(server);
    const agent = connectTcp(Number(open.address.split(":")[1]), "127.0.0.1");
    agent.write(hello);
    await asked.promise;
    agent[leaves]();
    await once(agent, "close", {
      signal: AbortSignal.timeout(leaves === "end" ? 200 : 5_000),
    }).catch(
      ignored, // the gateway's end is still open
    );
    answer.resolve(true);
    const socket = await taken.promise;
    await eventually("it is given up", () => socket.destroyed || undefined);
    assert.deepEqual([hub.isOpen(nodeId), events], [false, []]);
    agent.destroy();
    await hub.close(AbortSignal.abort());
  });
