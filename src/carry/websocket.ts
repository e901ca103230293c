/**
 * Exec: two WebSockets and every way they can end. The exit frame always reaches the caller before close 1000; a lost
 * agent is 1011; the agent's own close code and reason travel on.
 */
import type { RawData, WebSocket } from "ws";
import { closeReason, toClose } from "../answer.ts";
import { GatewayError, toGatewayError } from "../errors.ts";
import { bytesOf } from "../lib/web-socket.ts";
import type { Clock, Exchange, Reach } from "../ports.ts";
import { abnormal, type Close, meaningOf, normal, passedOn, unknownExit } from "./agent-close.ts";
import type { Limits } from "./carriage.ts";
import { tooSlow } from "./cut.ts";
import { dial } from "./dial.ts";
import { exitCodeOf } from "./exit-code.ts";
import { createHold } from "./hold.ts";
import { createPump, type Pump } from "./pump.ts";
import { overWays } from "./ways.ts";

interface Parts {
  readonly exchange: Exchange;
  readonly reach: Reach;
  readonly limits: Limits;
  readonly clock: Clock;
}

/** What went wrong, and what the caller is told of it. */
interface Fault {
  readonly error: GatewayError;
  readonly close: Close;
}

/** Of a caller: ws closes one that broke the rules itself, and gives it time to see that. */
const ends = ["close", "error"] as const;

/** Rounds without a sign of life after which a peer is gone. */
const maxSilentRounds = 2;
/** A ping may lie behind megabytes of output, or input that an agent's command does not take yet. Pumps give up who takes none. */
const maxSilentRoundsBehind = 10;
const boundOf = (isBehind: boolean): number => (isBehind ? maxSilentRoundsBehind : maxSilentRounds);
/** Not more than the `{}` that clients send now and then. */
const heartbeatBytes = 2;

class Session {
  readonly #parts: Parts;
  readonly #client: WebSocket;
  readonly #agent: WebSocket;
  readonly #toAgent: Pump;
  readonly #toClient: Pump;
  readonly #settle: (error: GatewayError | undefined) => void;
  readonly #ping: NodeJS.Timeout;
  #silentRounds = 0;
  /** Output has waited for the caller since its last sign of life. */
  #isBehind = false;
  #agentSilentRounds = 0;
  /** Since the agent's last sign of life. */
  #gaveInput = false;
  #state: "open" | "ending" | "ended" = "open";
  #patience: NodeJS.Timeout | undefined;
  /** The first: what follows from it is not told. */
  #fault: Fault | undefined;

  constructor(
    parts: Parts,
    client: WebSocket,
    agent: WebSocket,
    settle: (error: GatewayError | undefined) => void,
  ) {
    this.#parts = parts;
    this.#client = client;
    this.#agent = agent;
    this.#settle = settle;
    const { maxWaitingBytes, stallMs, pingMs } = parts.limits;
    const { tally } = parts.exchange;
    const terms = { maxWaitingBytes, stallMs, clock: parts.clock };
    const node = parts.reach.node.name;
    const limit = `${stallMs / 1000} s`;
    this.#toClient = createPump(agent, client, {
      ...terms,
      waits: (sinceMs) => {
        tally.callerStalledAtMs = sinceMs;
      },
      stalled: () => this.#refuse(tooSlow(stallMs)),
    });
    this.#toAgent = createPump(client, agent, {
      ...terms,
      waits: (sinceMs) => {
        tally.agentStalledAtMs = sinceMs;
      },
      stalled: () => this.#refuse(new GatewayError("upstream_timeout", { node, limit })),
    });
    this.#ping = setInterval(() => this.#beat(), pingMs);
    parts.exchange.signal.addEventListener("abort", this.#aborted);
    this.#listen();
    if (parts.exchange.signal.aborted) this.#aborted();
  }

  /** A message of the caller, in its order. */
  fromClient(data: RawData, isBinary: boolean): void {
    this.#clientLives();
    if (bytesOf(data) > heartbeatBytes) this.#gaveInput = true;
    if (this.#state !== "open") return;
    this.#parts.exchange.tally.bytesIn += bytesOf(data);
    this.#toAgent.push(data, isBinary);
  }

  readonly #clientLives = (): void => {
    this.#silentRounds = 0;
    this.#isBehind = false;
  };

  readonly #agentLives = (): void => {
    this.#agentSilentRounds = 0;
    this.#gaveInput = false;
  };

  #listen(): void {
    const { reach, limits } = this.#parts;
    this.#client.on("pong", this.#clientLives);
    for (const end of ends) this.#client.once(end, () => this.#clientGone());
    this.#agent.on("ping", this.#agentLives);
    this.#agent.on("pong", this.#agentLives);
    this.#agent.on("message", (data: RawData, isBinary) => this.#fromAgent(data, isBinary));
    this.#agent.on("error", (error: Error & { code?: string }) => {
      if (error.code?.startsWith("WS_ERR_"))
        this.#refuse(
          new GatewayError(
            "upstream_invalid",
            { node: reach.node.name, reason: "not a proper frame" },
            { cause: error },
          ),
        );
    });
    this.#agent.once("close", (code, reason) => this.#agentClosed(code, reason.toString()));
    if (this.#client.readyState === this.#client.CLOSED) this.#clientGone();
    else if (this.#client.readyState === this.#client.CLOSING)
      setTimeout(() => this.#client.terminate(), limits.closeMs).unref();
  }

  #fromAgent(data: RawData, isBinary: boolean): void {
    this.#agentLives();
    if (this.#state !== "open") return;
    const { clock, exchange } = this.#parts;
    const { tally } = exchange;
    tally.firstByteMs ??= clock.monotonic() - exchange.startedAtMs;
    tally.bytesOut += bytesOf(data);
    this.#toClient.push(data, isBinary);
    const exitCode = exitCodeOf(data);
    if (exitCode === undefined) return;
    tally.exitCode = exitCode;
    this.#end(normal, undefined); // the last frame: nothing of the agent's comes after it
  }

  #agentClosed(code: number, reason: string): void {
    const node = this.#parts.reach.node.name;
    if (code !== abnormal) {
      this.#end(passedOn(code, reason), meaningOf(code, reason, node));
      return;
    }
    this.#agentLost("connection lost");
  }

  #agentLost(reason: string): void {
    const node = this.#parts.reach.node.name;
    const lost = new GatewayError("upstream_broke", { node, reason });
    this.#end(
      { code: lost.close, reason: closeReason(`${unknownExit}: node ${node}: ${reason}`) },
      lost,
    );
  }

  /** A caller that closes before we have said goodbye has left; after it, its close is the answer to ours. */
  #clientGone(): void {
    const left = new GatewayError("client_closed");
    if (!this.#saidGoodbye) this.#fault ??= { error: left, close: toClose(left) };
    this.#finish();
  }

  readonly #aborted = (): void => {
    const { signal } = this.#parts.exchange;
    const error = toGatewayError(signal.reason, signal);
    if (error.code !== "client_closed") this.#refuse(error); // its socket's own close tells the rest
  };

  /** A peer that we do not read from now (the other one is slow) cannot give a sign. */
  #beat(): void {
    this.#isBehind ||= this.#client.bufferedAmount > 0;
    if (this.#silentRounds >= boundOf(this.#isBehind)) this.#client.terminate();
    if (!this.#client.isPaused) this.#silentRounds += 1;
    if (this.#agentSilentRounds >= boundOf(this.#gaveInput)) this.#agentLost("it answered no ping");
    if (!this.#agent.isPaused) this.#agentSilentRounds += 1;
    for (const socket of [this.#client, this.#agent])
      if (socket.readyState === socket.OPEN) socket.ping();
  }

  get #saidGoodbye(): boolean {
    return this.#patience !== undefined;
  }

  /** Ends at once, whatever waits. */
  #refuse(error: GatewayError): void {
    if (this.#state === "ended" || this.#saidGoodbye) return;
    this.#state = "ending";
    this.#toAgent.stop();
    this.#fault ??= { error, close: toClose(error) };
    this.#closeClient(this.#fault.close);
  }

  /** Ends after what the agent sent has gone out to the caller. */
  #end(close: Close, error: GatewayError | undefined): void {
    if (this.#state !== "open") return;
    this.#state = "ending";
    this.#toAgent.stop(); // what its command has not taken it never will
    if (error !== undefined) this.#fault ??= { error, close };
    this.#toClient.whenFlushed(() => this.#closeClient(close));
  }

  #closeClient({ code, reason }: Close): void {
    if (this.#saidGoodbye) return;
    this.#patience = setTimeout(() => this.#client.terminate(), this.#parts.limits.closeMs);
    this.#client.close(code, reason);
    this.#closeAgent();
  }

  #closeAgent(): void {
    if (this.#agent.readyState === this.#agent.CLOSED) return;
    this.#agent.resume();
    this.#agent.close(1000);
    const timer = setTimeout(() => this.#agent.terminate(), this.#parts.limits.closeMs);
    this.#agent.once("close", () => clearTimeout(timer));
  }

  /** The caller's socket is closed: nothing is left behind. */
  #finish(): void {
    if (this.#state === "ended") return;
    this.#state = "ended";
    clearInterval(this.#ping);
    clearTimeout(this.#patience);
    this.#parts.exchange.signal.removeEventListener("abort", this.#aborted);
    this.#toAgent.stop();
    this.#toClient.stop();
    this.#closeAgent();
    this.#settle(this.#fault?.error);
  }
}

/** The way learns how it went. */
const dialOver = async (
  way: Reach,
  exchange: Exchange,
  limits: Limits,
  signal: AbortSignal,
): Promise<WebSocket> => {
  try {
    const agent = await dial(exchange, way, limits, signal);
    way.succeeded();
    return agent;
  } catch (error) {
    const named = toGatewayError(error, signal, way.node.name);
    if (!signal.aborted) way.failed(named);
    throw named;
  }
};

/** Bridges an upgraded caller to the agent until both are closed. Resolves for a normal end, rejects otherwise. */
export const websocket = async (parts: Parts): Promise<void> => {
  const { exchange, reach, limits } = parts;
  if (exchange.wire.kind !== "websocket")
    throw new GatewayError("internal", { reason: "wrong wire" });
  const client = exchange.wire.socket;
  const hold = createHold(client, exchange.wire.takeHeld, limits.maxHeldBytes);
  const gone = new AbortController();
  const onGone = (): void => gone.abort(new GatewayError("client_closed"));
  for (const end of ends) client.once(end, onGone);
  const signal = AbortSignal.any([exchange.signal, gone.signal]);
  let way: Reach;
  let agent: WebSocket;
  try {
    [way, agent] = await overWays(reach, signal, async (one) => [
      one,
      await dialOver(one, exchange, limits, signal),
    ]);
  } catch (error) {
    hold.drop();
    throw error;
  } finally {
    for (const end of ends) client.off(end, onGone);
  }
  const error = await new Promise<GatewayError | undefined>((resolve) => {
    const session = new Session({ ...parts, reach: way }, client, agent, resolve);
    hold.release((data, isBinary) => session.fromClient(data, isBinary));
    agent.resume();
  });
  // too late for this socket, whose first messages are gone; whoever comes next finds the registry asked anew
  if (error?.code === "unknown_allocation") await way.next?.(error);
  if (error) throw error;
};
