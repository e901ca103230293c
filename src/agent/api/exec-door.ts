/**
 * An exec socket from its upgrade to its end. Like Nomad's agents it is a socket first: every refusal after the 101 is a
 * close frame, in the order of nomad-http.md §7.5. A socket whose token has not come counts as a stranger, and strangers
 * are few.
 */
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { setImmediate as turn } from "node:timers/promises";
import type { WebSocket } from "ws";
import { toClose } from "../../answer.ts";
import { decodeCommand, maxBodyBytes } from "../../bodies.ts";
import { failed, GatewayError, invalidRequest, toGatewayError } from "../../errors.ts";
import { readCredential } from "../../http/credential.ts";
import { createExecSockets } from "../../http/exec-sockets.ts";
import { shakenCredential, wantsHandshake } from "../../http/handshake.ts";
import { queryOf } from "../../http/query.ts";
import { isOwnOrigin, refuseUpgrade, upgradeFault } from "../../http/upgrade.ts";
import { whenAborted } from "../../lib/abort.ts";
import { Counts } from "../../lib/counts.ts";
import { execParameters, type RawQuery } from "../../parameters.ts";
import type { Credential } from "../../ports.ts";
import { routeNamed } from "../../routes.ts";
import { Inbox } from "../exec/inbox.ts";
import type { AgentAllocation, AgentTask } from "../ports.ts";
import type { DoorNeeds } from "./ask.ts";
import { execIdOf } from "./exec-path.ts";
import { requireNodeExec, requireRight } from "./permits.ts";
import { findAllocation } from "./scope.ts";

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
const farewellMs = 1_000;
const exec = routeNamed("alloc.exec");

const requireRunning = ({ name, state, pid }: AgentTask): void => {
  if (state !== "running" || pid === undefined)
    throw invalidRequest(`task "${name}" is not running.`);
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
  requireRunning(task);
  return task;
};

/**
 * A caller that has given up may have left its request and its end in the socket's queue, to be read in one go by an agent
 * that was held up. The end is seen one turn of the loop after the request: a command whose caller has left does not run.
 */
const stillThere = async (socket: WebSocket): Promise<void> => {
  await turn();
  await turn();
  if (socket.readyState !== socket.OPEN) throw new GatewayError("client_closed");
};

/** What an upgrade brings besides its socket. */
interface Opening {
  readonly header: Credential;
  readonly raw: RawQuery;
}

export const createExecDoor = (needs: DoorNeeds, options: ExecDoorOptions): ExecDoor => {
  const sockets = createExecSockets({
    maxMessageBytes,
    limit: `the ${maxMessageBytes / 1024} KiB that an agent takes`,
    clientTracking: true,
  });
  const strangers = new Counts();

  const isCrowded = (address: string): boolean =>
    strangers.total >= options.maxStrangers ||
    strangers.of(address) >= options.maxStrangersPerAddress;

  const asStranger = async <T>(address: string, work: () => Promise<T>): Promise<T> => {
    strangers.add(address);
    try {
      return await work();
    } finally {
      strangers.remove(address);
    }
  };

  const firstMessage = async (inbox: Inbox, signal: AbortSignal): Promise<Buffer> => {
    const deadline = new AbortController();
    const timer = setTimeout(() => deadline.abort(), options.handshakeTimeoutMs);
    const text = await inbox.next(AbortSignal.any([signal, deadline.signal]));
    clearTimeout(timer);
    if (text === undefined)
      throw new GatewayError(deadline.signal.aborted ? "handshake_timeout" : "client_closed");
    return Buffer.from(text);
  };

  /** The credential: of the header, or of the first message where the caller announced one. */
  const credentialOf = async (
    raw: RawQuery,
    header: Credential,
    inbox: Inbox,
    address: string,
    signal: AbortSignal,
  ): Promise<Credential> => {
    if (!wantsHandshake(raw)) return header;
    const message = await asStranger(address, () => firstMessage(inbox, signal));
    return shakenCredential(message, header, maxBodyBytes);
  };

  const serve = async (
    socket: WebSocket,
    request: IncomingMessage,
    header: Credential,
    raw: RawQuery,
    signal: AbortSignal,
  ): Promise<void> => {
    const inbox = new Inbox(socket);
    const address = request.socket.remoteAddress ?? "";
    try {
      const credential = await credentialOf(raw, header, inbox, address, signal);
      const { task: name, tty, arguments: command } = execParameters(raw, decodeCommand);
      const principal = await needs.authenticate(credential, signal);
      const allocation = findAllocation(needs.workloads, exec, execIdOf(request) ?? "");
      requireRight(principal, exec.rule, allocation.namespace);
      const task = runnableTask(allocation, name, command, () =>
        requireNodeExec(principal, allocation.namespace),
      );
      await stillThere(socket);
      needs.log.info(
        { alloc: allocation.id, task: task.name, accessor: principal.accessorId, tty, address },
        "exec started",
      );
      const { directory, env } = task;
      await needs.execSessions.run(
        socket,
        inbox,
        { arguments: command, tty, directory, env, requireTask: () => requireRunning(task) },
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

  const opened = (socket: WebSocket, request: IncomingMessage, { header, raw }: Opening): void => {
    const gone = new AbortController();
    socket.on("error", () => undefined); // ws closes with the right code by itself
    socket.once("close", () => gone.abort(new GatewayError("client_closed")));
    serve(socket, request, header, raw, gone.signal).catch((error: unknown) =>
      refuse(socket, request, error),
    );
  };

  /** What the socket begins with. Throws while too many strangers are there for one more. */
  const openingOf = (request: IncomingMessage): Opening => {
    const raw = queryOf(request.url ?? "");
    if (raw.has("ws_handshake") && isCrowded(request.socket.remoteAddress ?? ""))
      throw new GatewayError("too_many_requests", {
        limit: String(options.maxStrangersPerAddress),
      });
    return { header: readCredential(request), raw };
  };

  return {
    upgrade(request, socket, head) {
      socket.on("error", () => socket.destroy());
      const fault = upgradeFault(request, isOwnOrigin(request, request.headers.host ?? ""));
      if (fault !== undefined) return refuseUpgrade(socket, fault);
      try {
        const opening = openingOf(request);
        sockets.handleUpgrade(request, socket, head, (webSocket) =>
          opened(webSocket, request, opening),
        );
      } catch (error) {
        const { status, words } = toGatewayError(error);
        refuseUpgrade(socket, { status, words });
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
