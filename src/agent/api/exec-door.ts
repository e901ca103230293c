/**
 * An exec socket from its upgrade to its end. Like Nomad's agents it is a socket first: every refusal after the 101 is a
 * close frame, in the order of nomad-http.md §7.5. A socket whose token has not come counts as a stranger, and strangers
 * are few.
 */
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { type WebSocket, WebSocketServer } from "ws";
import { toClose } from "../../answer.ts";
import { decodeCommand, decodeHandshake, maxBodyBytes } from "../../bodies.ts";
import { failed, GatewayError, invalidRequest, toGatewayError } from "../../errors.ts";
import { parseGoBool } from "../../lib/go.ts";
import { execParameters, one, type RawQuery } from "../../parameters.ts";
import type { Credential } from "../../ports.ts";
import { routeNamed } from "../../routes.ts";
import { Inbox } from "../exec/inbox.ts";
import { whenAborted } from "../exec/sessions.ts";
import type { AgentAllocation, AgentTask } from "../ports.ts";
import type { DoorNeeds } from "./ask.ts";
import { type Presented, presented } from "./credential.ts";
import { queryOf } from "./door.ts";
import { requireNodeExec, requireRight } from "./permits.ts";
import { findAllocation } from "./scope.ts";
import { execIdOf, refuseUpgrade, upgradeRefusal } from "./upgrade.ts";

export interface ExecDoor {
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** Sockets that are open. */
  readonly live: number;
  /** Says goodbye to those who are there, then cuts. */
  close(signal: AbortSignal): Promise<void>;
}

export interface ExecDoorOptions {
  readonly handshakeTimeoutMs: number;
  /** Sockets of one address, and of all, whose token has not come yet. */
  readonly maxStrangersPerAddress: number;
  readonly maxStrangers: number;
}

export const execDoorDefaults: ExecDoorOptions = {
  handshakeTimeoutMs: 5_000,
  maxStrangersPerAddress: 32,
  maxStrangers: 256,
};

const maxMessageBytes = 1024 * 1024;
const maxFragments = 128;
/** How long a peer may take for its side of the closing handshake; ws knows the option, its types do not. */
const untyped = { closeTimeout: 5_000 };
const farewellMs = 1_000;
const exec = routeNamed("alloc.exec");

const wantsHandshake = (raw: RawQuery): boolean => {
  const text = one(raw, "ws_handshake");
  if (!text) return false;
  const parsed = parseGoBool(text);
  if (!parsed.ok) throw invalidRequest(`ws_handshake value is not a boolean: ${parsed.text}`);
  return parsed.value;
};

/** The task to run in; refusals in the order of the driver's node. */
const runnableTask = (
  allocation: AgentAllocation,
  name: string | undefined,
  command: readonly string[],
  requireNodeExec: () => void,
): AgentTask => {
  if (name === undefined) throw invalidRequest("must provide task name");
  if (command.length === 0) throw invalidRequest("command is not present");
  const task = allocation.task(name);
  if (task === undefined) throw failed("task not found");
  requireNodeExec();
  if (!task.started) throw invalidRequest(`task "${name}" not started yet.`);
  if (task.state !== "running" || task.pid === undefined)
    throw invalidRequest(`task "${name}" is not running.`);
  return task;
};

export const createExecDoor = (needs: DoorNeeds, options: ExecDoorOptions): ExecDoor => {
  const sockets = new WebSocketServer({
    noServer: true,
    clientTracking: true,
    maxPayload: maxMessageBytes,
    maxFragments,
    perMessageDeflate: false,
    ...untyped,
    handleProtocols: () => false,
  });
  const strangers = new Map<string, number>();
  let strangerCount = 0;

  const isCrowded = (address: string): boolean =>
    strangerCount >= options.maxStrangers ||
    (strangers.get(address) ?? 0) >= options.maxStrangersPerAddress;

  const asStranger = async <T>(address: string, work: () => Promise<T>): Promise<T> => {
    strangers.set(address, (strangers.get(address) ?? 0) + 1);
    strangerCount++;
    try {
      return await work();
    } finally {
      strangerCount--;
      const left = (strangers.get(address) ?? 1) - 1;
      if (left > 0) strangers.set(address, left);
      else strangers.delete(address);
    }
  };

  const handshake = async (inbox: Inbox, signal: AbortSignal): Promise<string> => {
    const deadline = new AbortController();
    const timer = setTimeout(() => deadline.abort(), options.handshakeTimeoutMs);
    const text = await inbox.next(AbortSignal.any([signal, deadline.signal]));
    clearTimeout(timer);
    if (text === undefined)
      throw new GatewayError(deadline.signal.aborted ? "handshake_timeout" : "client_closed");
    if (Buffer.byteLength(text) > maxBodyBytes)
      throw new GatewayError("message_too_large", { limit: "64 KiB" });
    return decodeHandshake(text);
  };

  /** The credential: of the header, or of the first message where the caller announced one. */
  const credentialOf = async (
    raw: RawQuery,
    { credential }: Presented,
    inbox: Inbox,
    address: string,
    signal: AbortSignal,
  ): Promise<Credential> => {
    if (!wantsHandshake(raw)) return credential;
    const token = await asStranger(address, () => handshake(inbox, signal));
    if (credential.secret !== undefined && credential.secret !== token)
      throw invalidRequest("handshake auth token mismatched auth header token");
    return { secret: token === "" ? undefined : token, source: "handshake" };
  };

  const serve = async (
    socket: WebSocket,
    request: IncomingMessage,
    from: Presented,
    raw: RawQuery,
    signal: AbortSignal,
  ): Promise<void> => {
    const inbox = new Inbox(socket);
    const address = request.socket.remoteAddress ?? "";
    try {
      const credential = await credentialOf(raw, from, inbox, address, signal);
      const { task: name, tty, arguments: command } = execParameters(raw, decodeCommand);
      const principal = await needs.authenticate(credential, signal);
      const allocation = findAllocation(needs.workloads, exec, execIdOf(request) ?? "");
      requireRight(principal, exec.rule, allocation.namespace);
      const task = runnableTask(allocation, name, command, () =>
        requireNodeExec(principal, allocation.namespace),
      );
      needs.log.info(
        { alloc: allocation.id, task: task.name, accessor: principal.accessorId, tty, address },
        "exec started",
      );
      const { directory, env } = task;
      await needs.execSessions.run(
        socket,
        inbox,
        { arguments: command, tty, directory, env },
        signal,
      );
    } finally {
      inbox.discard();
    }
  };

  const refuse = (socket: WebSocket, request: IncomingMessage, error: unknown): void => {
    const refusal = toGatewayError(error);
    const fields = { code: refusal.code, route: exec.name, address: request.socket.remoteAddress };
    if (refusal.code === "internal") needs.log.error({ ...fields, err: error }, "exec failed");
    else needs.log.info(fields, "exec refused");
    const { code, reason } = toClose(refusal);
    if (refusal.code === "client_closed") socket.terminate();
    else socket.close(code, reason);
  };

  const opened = (socket: WebSocket, request: IncomingMessage, from: Presented): void => {
    const gone = new AbortController();
    socket.on("error", () => undefined); // ws closes with the right code by itself
    socket.once("close", () => gone.abort(new GatewayError("client_closed")));
    const run = async (): Promise<void> =>
      serve(socket, request, from, queryOf(request), gone.signal);
    run().catch((error: unknown) => refuse(socket, request, error));
  };

  const check = (request: IncomingMessage): Presented => {
    if (isCrowded(request.socket.remoteAddress ?? ""))
      throw new GatewayError("too_many_requests", {
        limit: String(options.maxStrangersPerAddress),
      });
    queryOf(request);
    return presented(request);
  };

  return {
    upgrade(request, socket, head) {
      socket.on("error", () => socket.destroy());
      const reason = upgradeRefusal(request);
      if (reason !== undefined) return refuseUpgrade(socket, reason);
      try {
        const from = check(request);
        sockets.handleUpgrade(request, socket, head, (opening) => opened(opening, request, from));
      } catch (error) {
        const { status, words } = toGatewayError(error);
        refuseUpgrade(socket, { status, text: words });
      }
    },
    get live() {
      return sockets.clients.size;
    },
    async close(signal) {
      const { code, reason } = toClose(new GatewayError("draining"));
      const open = [...sockets.clients];
      const gone = open.map((socket) => once(socket, "close"));
      for (const socket of open) socket.close(code, reason);
      const patience = AbortSignal.any([signal, AbortSignal.timeout(farewellMs)]);
      await Promise.race([Promise.all(gone), whenAborted(patience)]);
      for (const socket of open) socket.terminate();
      sockets.close();
    },
  };
};
