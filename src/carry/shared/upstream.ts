/** The follow of one log at its agent that many viewers share, asked for with the right of one of them. */
import { GatewayError, toGatewayError } from "../../errors.ts";
import { ask, type Flow, type Listener } from "../ask.ts";
import { deadlineMsOf } from "../carriage.ts";
import { type AgentRequest, agentRequest } from "../request.ts";
import { asked, checkGoesOn, isInRecords, recordBody } from "./records.ts";
import type { Entry } from "./ring.ts";
import type { Viewer } from "./viewer.ts";

export interface UpstreamEvents {
  readonly entry: (entry: Entry) => void;
  /** After each piece of the body. False: no more until `resume`. */
  readonly heard: () => boolean;
  /** Its last; an error when it did not end in order. */
  readonly over: (upstream: Upstream, error: GatewayError | undefined) => void;
}

/** The log's last bytes, or all from where the one before it stood. */
const requestOf = (host: Viewer, after: Entry | undefined, ringBytes: number): AgentRequest => {
  if (after !== undefined) return host.requestAt({ of: after.of, offset: after.end });
  const { exchange, reach } = host.carrying;
  const { task, type, until } = host.parameters;
  const parameters = { task, type, follow: true, origin: "end", offset: ringBytes, until };
  return agentRequest({ ...exchange, parameters }, reach.node);
};

const refused = (status: number, node: string): GatewayError =>
  status === 403
    ? new GatewayError("permission_denied")
    : new GatewayError("upstream_broke", { node, reason: `it answered ${status}` });

export class Upstream {
  readonly host: Viewer;
  readonly openedAtMs = performance.now();
  readonly #events: UpstreamEvents;
  readonly #gone = new AbortController();
  /** Where the one before it stood, until this one has said that it stands there too. */
  #after: Entry | undefined;
  #flow: Flow | undefined;
  hasHeard = false;

  constructor(
    host: Viewer,
    { after, ringBytes }: { readonly after: Entry | undefined; readonly ringBytes: number },
    events: UpstreamEvents,
  ) {
    this.host = host;
    this.#events = events;
    this.#after = after;
    const { reach, limits } = host.carrying;
    const terms = {
      reach,
      signal: this.#gone.signal,
      deadlineMs: deadlineMsOf(host.carrying),
      deadlineFrom: "sending" as const,
      silenceMs: limits.followSilenceMs,
    };
    this.#asked(requestOf(host, after, ringBytes), terms);
  }

  resume(): void {
    this.#flow?.resume();
  }

  /** Lets it go; nothing more is told. */
  close(): void {
    this.#gone.abort(new GatewayError("client_closed"));
  }

  #asked(request: AgentRequest, terms: Parameters<typeof ask>[1]): void {
    const over = (error?: unknown): void => {
      if (this.#gone.signal.aborted) return;
      this.#events.over(this, error === undefined ? undefined : toGatewayError(error));
    };
    ask(asked("records", request), terms, this.#listener()).then(() => over(), over);
  }

  #listener(): Listener {
    const node = this.host.carrying.reach.node.name;
    const tap = {
      entry: (entry: Entry) => this.#entry(entry),
      beat: () => undefined, // members have their own
      heard: () => this.#events.heard(),
    };
    const body = recordBody(tap, node);
    return {
      head: (status, headers, flow) => {
        if (!isInRecords(status, headers)) throw refused(status, node);
        this.#flow = flow;
        return "follows";
      },
      data: body.data,
      end: body.end,
    };
  }

  #entry(entry: Entry): void {
    this.hasHeard = true;
    const after = this.#after;
    this.#after = undefined;
    if (after === undefined) {
      this.#events.entry(entry);
      return;
    }
    const place = { of: after.of, offset: after.end };
    checkGoesOn(place, entry, this.host.carrying.reach.node.name);
    entry.of.isUnsure = after.of.isUnsure;
  }
}
