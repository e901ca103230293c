/**
 * Many agents in a process of their own: each dials out and beats as `serai agent` does; behind each is as little of an agent
 * as the gateway asks for. Tells its parent each tunnel that opens. Ends with its parent.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { setTimeout as wait } from "node:timers/promises";
import { Agent as HttpAgent } from "undici";
import { z } from "zod";
import { createAnnouncer } from "../../src/agent/announce.ts";
import { createPullSecrets } from "../../src/agent/api/secrets.ts";
import { systemClock } from "../../src/lib/clock.ts";
import type { Log } from "../../src/ports.ts";
import { checkNode } from "../../src/registry/node-document.ts";
import { createDialler } from "../../src/tunnel/dialler.ts";
import { tunnelAddress } from "../../src/tunnel/protocol.ts";
import { nodeBody } from "../registry/documents.ts";

const order = z.object({
  gateway: z.string(),
  joinToken: z.string(),
  nodes: z.array(z.string()),
  spreadMs: z.number(),
});

const { gateway, joinToken, nodes, spreadMs } = order.parse(JSON.parse(process.argv[2] ?? ""));

/** The node that a connection was opened for. */
const owners = new WeakMap<Duplex, string>();

const answer = (request: IncomingMessage, response: ServerResponse): void => {
  const { pathname, searchParams } = new URL(request.url ?? "/", "http://agent");
  if (pathname === "/v1/client/metadata")
    return void response.end('{"Meta":{},"Dynamic":{},"Static":{}}');
  if (!pathname.startsWith("/v1/node/"))
    return void response.end(JSON.stringify({ NodeID: owners.get(request.socket) }));
  response.setHeader("X-Nomad-Index", "7");
  if (searchParams.get("index") === "0") response.end("[]");
  // else nothing changes: the query waits
};

const server = createServer({ requestTimeout: 0 }, answer);

const log = (nodeId: string): Log => ({
  debug: () => undefined,
  info: (_fields, message) => {
    if (message === "tunnel open") process.send?.({ nodeId, atMs: Date.now() });
  },
  warn: () => undefined,
  error: (fields, message) =>
    process.send?.({ nodeId, fault: `${message} ${JSON.stringify(fields)}` }),
});

const dispatcher = new HttpAgent({ connections: 16 });

const start = (nodeId: string): void => {
  const checked = checkNode(nodeBody(nodeId, tunnelAddress(nodeId)), nodeId);
  if (!checked.ok) throw new Error(checked.fault);
  const document = checked.value;
  createDialler(
    {
      log: log(nodeId),
      accept: (incoming) => {
        const connection = incoming.take();
        owners.set(connection, nodeId);
        server.emit("connection", connection);
      },
    },
    { gateways: [gateway], nodeId, joinToken, ca: undefined },
  );
  createAnnouncer(
    { log: log(nodeId), clock: systemClock, pullSecrets: createPullSecrets(), dispatcher },
    { gatewayAddress: gateway, joinToken, document: () => document },
  );
};

process.on("disconnect", () => process.exit(0));
for (const nodeId of nodes) {
  start(nodeId);
  await wait(spreadMs / nodes.length);
}
