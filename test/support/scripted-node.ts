/**
 * A node whose agent is a raw socket: it joins the gateway as any agent does, keeps every byte that the gateway sends for a
 * caller, and answers with exactly the bytes of a script. The gateway's own pulls are answered properly and not kept.
 */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { request } from "undici";
import { stringifyJson } from "../../src/lib/json.ts";
import { allocationBody, nodeBody } from "../registry/documents.ts";
import { eventually, type Rig } from "./rig.ts";

/** Answers one whole request of a caller. */
export type Script = (socket: Socket, head: string) => void;

export interface ScriptedNode extends AsyncDisposable {
  readonly nodeId: string;
  readonly allocationId: string;
  readonly name: string;
  /** `host:port`. */
  readonly address: string;
  /** Every byte sent for callers so far, a connection each. */
  readonly heard: () => readonly string[];
  /** Connections of callers open now. */
  readonly open: () => number;
  /** Closes the callers' connections and forgets what was heard. */
  readonly forget: () => void;
  answer: Script;
}

const headEnd = "\r\n\r\n";
const isOwn = /^authorization: Bearer /im;

export const text = (body: string, status = "200 OK"): string =>
  `HTTP/1.1 ${status}\r\nContent-Type: text/plain\r\nContent-Length: ${body.length}\r\n\r\n${body}`;

const answerPull = (socket: Socket, head: string, allocations: string): void => {
  if (!/^GET \/v1\/node\//.test(head)) {
    socket.write(text(stringifyJson({ Meta: {}, Dynamic: {}, Static: {} })));
    return;
  }
  if (!/[?&]index=0&/.test(head)) return; // nothing changes: the query waits
  socket.write(
    `HTTP/1.1 200 OK\r\nX-Nomad-Index: 7\r\nContent-Length: ${Buffer.byteLength(allocations)}\r\n\r\n${allocations}`,
  );
};

/** The first whole request of `bytes` and how long it is; undefined while it is not whole. */
const wholeRequest = (
  bytes: string,
): { readonly head: string; readonly length: number } | undefined => {
  const end = bytes.indexOf(headEnd);
  if (end < 0) return undefined;
  const head = bytes.slice(0, end + headEnd.length);
  const body = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0);
  return bytes.length < head.length + body ? undefined : { head, length: head.length + body };
};

export const joinScriptedNode = async (rig: Rig, answer: Script): Promise<ScriptedNode> => {
  const nodeId = randomUUID();
  const document = allocationBody(nodeId);
  const allocations = stringifyJson([document]);
  const kept = new Map<Socket, string>();
  const all = new Set<Socket>();

  const serve = (socket: Socket, head: string, own: boolean): void => {
    if (own) answerPull(socket, head, allocations);
    else node.answer(socket, head);
  };
  const keep = (socket: Socket, bytes: string): void => {
    kept.set(socket, (kept.get(socket) ?? "") + bytes);
  };
  const listen = (socket: Socket): void => {
    let waiting = "";
    let own: boolean | undefined;
    socket.on("data", (chunk: Buffer) => {
      waiting += chunk.toString("latin1");
      if (own === undefined && !waiting.includes(headEnd)) return;
      if (own === undefined) keep(socket, waiting);
      else keep(socket, chunk.toString("latin1"));
      own ??= isOwn.test(waiting);
      if (own) kept.delete(socket);
      for (let next = wholeRequest(waiting); next; next = wholeRequest(waiting)) {
        waiting = waiting.slice(next.length);
        serve(socket, next.head, own);
      }
    });
    socket.once("close", () => {
      if (own === undefined && waiting !== "") keep(socket, waiting); // half a head counts as heard
    });
  };
  const server = createServer((socket) => {
    all.add(socket);
    socket.on("error", () => undefined);
    socket.once("close", () => all.delete(socket));
    listen(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const at = server.address();
  assert.ok(at !== null && typeof at === "object");
  const address = `127.0.0.1:${at.port}`;
  const { Name: name } = nodeBody(nodeId, address);

  const node: ScriptedNode = {
    nodeId,
    allocationId: document.ID,
    name: String(name),
    address,
    heard: () => [...kept.values()],
    open: () => [...kept.keys()].filter((socket) => all.has(socket)).length,
    forget: () => {
      for (const socket of kept.keys()) socket.destroy();
      kept.clear();
    },
    answer,
    async [Symbol.asyncDispose]() {
      clearInterval(beat);
      for (const socket of all) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
  const announce = async (): Promise<number> => {
    const { statusCode, body } = await request(`${rig.url}/v1/serai/node/${nodeId}`, {
      method: "PUT",
      headers: { authorization: `Bearer ${rig.joinSecret()}`, "content-type": "application/json" },
      body: stringifyJson(nodeBody(nodeId, address)),
    });
    await body.dump();
    return statusCode;
  };
  assert.equal(await announce(), 200);
  const beat = setInterval(() => void announce().catch(() => undefined), 5_000); // the gateway may be closing
  await eventually("the node's allocation is known", () =>
    rig.gateway.registry.allocation(document.ID),
  );
  return node;
};
