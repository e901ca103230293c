/**
 * Agents that hold thousands of followed logs, in a process of their own: they announce themselves and dial out as `serai agent`
 * does, and behind each is as little of an agent as a gateway asks for. A followed log gets a heartbeat each second in the phase
 * in which it came, and a line now and then. Its parent sends an order, is told the allocations, and takes it with it when it ends.
 */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { Agent as HttpAgent } from "undici";
import { z } from "zod";
import { createAnnouncer } from "../../src/agent/announce.ts";
import { createPullSecrets } from "../../src/agent/api/secrets.ts";
import { recordsHead, recordsWanted } from "../../src/agent/files/sinks.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { stringifyJson } from "../../src/lib/json.ts";
import { heartbeat, toFrame } from "../../src/logs/frame.ts";
import { beatRecord, enteredRecord, toldRecord } from "../../src/logs/records.ts";
import type { Log } from "../../src/ports.ts";
import { checkNode } from "../../src/registry/node-document.ts";
import { createDialler } from "../../src/tunnel/dialler.ts";
import { tunnelAddress } from "../../src/tunnel/protocol.ts";
import { allocationBody, nodeBody } from "../../test/registry/documents.ts";

const order = z.object({
  gateway: z.string(),
  joinToken: z.string(),
  nodes: z.number(),
  logsPerNode: z.number(),
  dialsOut: z.boolean(),
});
export type CrowdOrder = z.output<typeof order>;

process.once("disconnect", () => process.exit());
const [ordered] = await once(process, "message");
const { gateway, joinToken, nodes, logsPerNode, dialsOut } = order.parse(ordered);

/* ---- the beats ---- */

const beatPhases = 20;
const beatMs = 1_000;
/** A line each ten seconds in each log. */
const linePhases = 200;
const lineMs = 10_000;

const written = Buffer.from("a line of a log as they are\n");
const file = "alloc/logs/server.stdout.0";

/** One followed log, and how far it was told. */
interface Told {
  readonly response: ServerResponse;
  readonly inRecords: boolean;
  bytes: number;
}

const beat = ({ inRecords }: Told): string => (inRecords ? beatRecord : heartbeat);

const line = (told: Told): string | Buffer => {
  told.bytes += written.length;
  const piece = { file, bytes: written, end: told.bytes, event: undefined, size: told.bytes };
  return told.inRecords ? toldRecord(piece) : toFrame(piece);
};

/** Writes to each log once in `periodMs`, the logs spread over the phases. */
const wheel = (phases: number, periodMs: number, next: (told: Told) => string | Buffer) => {
  const spokes = Array.from({ length: phases }, () => new Set<Told>());
  let now = 0;
  let count = 0;
  setInterval(() => {
    now = (now + 1) % phases;
    for (const told of spokes[now] ?? [])
      if (!told.response.writableNeedDrain && !told.response.destroyed)
        told.response.write(next(told));
  }, periodMs / phases);
  return (told: Told): void => {
    const spoke = spokes[count++ % phases];
    spoke?.add(told);
    told.response.once("close", () => spoke?.delete(told));
  };
};
const beats = wheel(beatPhases, beatMs, beat);
const lines = wheel(linePhases, lineMs, line);

/* ---- the agents ---- */

const follow = (response: ServerResponse): void => {
  const inRecords = recordsWanted(response) === "records";
  const head = { "Content-Type": "application/json", "X-Accel-Buffering": "no" };
  response.writeHead(200, inRecords ? { ...head, ...recordsHead } : head);
  response.flushHeaders();
  if (inRecords)
    response.write(
      enteredRecord({ file, index: 0, inode: "1", offset: 0, size: 0, missing: undefined }),
    );
  const told = { response, inRecords, bytes: 0 };
  beats(told);
  lines(told);
};

const answering =
  (allocations: string) =>
  (request: IncomingMessage, response: ServerResponse): void => {
    const { url = "" } = request;
    if (url.startsWith("/v1/client/fs/logs/")) return void follow(response);
    if (!url.startsWith("/v1/node/"))
      return void response.end('{"Meta":{},"Dynamic":{},"Static":{}}');
    response.setHeader("X-Nomad-Index", "7");
    if (/[?&]index=0&/.test(url)) response.end(allocations);
    // else nothing changes: the query waits
  };

const loud: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: (fields, message) => console.error(message, fields),
  error: (fields, message) => console.error(message, fields),
};
const dispatcher = new HttpAgent({ connections: 16 });

/** Where it listens, as a node tells it. */
const openDoor = async (server: Server, nodeId: string): Promise<string> => {
  if (dialsOut) {
    createDialler(
      { log: loud, accept: (incoming) => void server.emit("connection", incoming.take()) },
      { gateways: [gateway], nodeId, joinToken, ca: undefined },
    );
    return tunnelAddress(nodeId);
  }
  server.listen(0, "127.0.0.1", 4_096);
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no TCP address");
  return `127.0.0.1:${address.port}`;
};

const start = async (): Promise<readonly string[]> => {
  const nodeId = randomUUID();
  const documents = Array.from({ length: logsPerNode }, () => allocationBody(nodeId));
  const server = createServer(
    { requestTimeout: 0, keepAliveTimeout: 0 },
    answering(stringifyJson(documents)),
  );
  const checked = checkNode(nodeBody(nodeId, await openDoor(server, nodeId)), nodeId);
  if (!checked.ok) throw new Error(checked.fault);
  const document = checked.value;
  const announcer = createAnnouncer(
    { log: loud, clock: systemClock, pullSecrets: createPullSecrets(), dispatcher },
    { gatewayAddress: gateway, joinToken, document: () => document },
  );
  await announcer.announced(AbortSignal.timeout(30_000));
  return documents.map(({ ID }) => ID);
};

const allocations: string[] = [];
for (let nth = 0; nth < nodes; nth++) allocations.push(...(await start()));
process.send?.({ allocations });
