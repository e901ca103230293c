/**
 * Who did what: one record when a file read, log, exec or change begins and one when it ends, those that were denied
 * included. Its own stream, apart from the log; it never holds a secret.
 */
import type { ErrorCode } from "../errors.ts";
import { Bag, type Bagged } from "../lib/bag.ts";
import type { Clock, Closer, Tally } from "../ports.ts";
import { cleanFields, jsonOf, jsonText } from "./fields.ts";
import { isoTimes } from "./iso-times.ts";
import { redactArguments } from "./redact.ts";
import { Sink, type SinkState } from "./sink.ts";
import { createThrottle } from "./throttle.ts";

/** What is known when it begins; for one that was denied, that may be little. */
export interface AuditSubject {
  /** The route's name, `fs.logs`. */
  readonly route: string;
  readonly kind: "read" | "exec" | "change";
  /** Public id of who asks; undefined when the credential was refused. */
  readonly accessor: string | undefined;
  /** The caller's address. */
  readonly address: string;
  readonly allocation?: string | undefined;
  readonly node?: string | undefined;
  readonly namespace?: string | undefined;
  readonly task?: string | undefined;
  readonly path?: string | undefined;
  /** Of a request that is passed on; `template` is its path without the names in it. */
  readonly method?: string | undefined;
  readonly template?: string | undefined;
  readonly argv?: readonly string[] | undefined;
  /** `service`: agents and servers saw the service token, not the caller. */
  readonly upstream?: "service" | undefined;
}

/** A subject as records tell it: members of a JSON object, clean. Requests that are about the same may share them. */
export interface AuditMembers {
  readonly kind: AuditSubject["kind"];
  readonly text: string;
}

export type AuditResult = "ok" | "denied" | "failed";

export interface AuditEnd {
  readonly result: AuditResult;
  /** Why it failed or was denied. */
  readonly code?: ErrorCode | undefined;
  /** What the servers answered to a request that is passed on. */
  readonly status?: number | undefined;
}

/** What is counted while it lasts, for the record of its end. */
export type AuditTally = Readonly<Pick<Tally, "bytesIn" | "bytesOut" | "exitCode">>;

/** Ended once; a second end is ignored. */
export interface AuditEntry {
  end(end: AuditEnd): void;
}

export interface AuditOptions {
  readonly clock: Clock;
  /** `stdout`, or a file. */
  readonly output: string;
  /** Each record as it is written or lost. */
  readonly recorded?: (result: AuditResult | "started" | "event" | "dropped") => void;
}

export interface Audit extends Closer {
  begin(requestId: string, members: AuditMembers, tally: AuditTally): AuditEntry;
  /** One that was refused before it could begin: both records at once. */
  denied(requestId: string, members: AuditMembers, code: ErrorCode): void;
  /** One that has no beginning and end: a node that joined, a claim that was refused. */
  event(name: string, fields: object): void;
  /** An event that anybody can bring about, without any right: so many a second, what is more is counted and told as one. */
  refusal(name: string, fields: object): void;
  readonly state: SinkState;
  reopen(): void;
  /** The process ends at once: what has begun ends as cut by it, as with `close`, and all that waits is written. */
  flush(): void;
}

const refusalsPerSecond = 10;
const tellSuppressedMs = 5_000;

/** Texts that callers wrote or may have; all others are the gateway's own words. `label` is the member's name with its marks. */
const textMember = (label: string, text: string | undefined): string =>
  text === undefined ? "" : label + jsonText(text);

const numberMember = (label: string, value: number | undefined): string =>
  value === undefined ? "" : label + (Number.isFinite(value) ? value : null);

/** Joined, not added up: what V8 makes of sums is a tree of all their parts, which whoever keeps them would keep. */
export const auditMembers = (subject: AuditSubject): AuditMembers => {
  const { route, kind, argv } = subject;
  const text = [
    `"route":"${route}","kind":"${kind}"`,
    textMember(',"accessor":', subject.accessor),
    textMember(',"address":', subject.address),
    textMember(',"allocation":', subject.allocation),
    textMember(',"node":', subject.node),
    textMember(',"namespace":', subject.namespace),
    textMember(',"task":', subject.task),
    textMember(',"path":', subject.path),
    textMember(',"method":', subject.method),
    textMember(',"template":', subject.template),
    textMember(',"upstream":', subject.upstream),
    argv === undefined ? "" : `,"argv":${jsonOf(redactArguments(argv))}`,
  ].join("");
  return { kind, text };
};

const nothing: AuditTally = { bytesIn: 0, bytesOut: 0, exitCode: undefined };
const cut: AuditEnd = { result: "failed", code: "draining" };

/** One that has begun and not ended. */
interface Begun extends AuditEntry, Bagged {}

const endMembers = (end: AuditEnd, tally: AuditTally, durationMs: number): string => {
  let members = end.code === undefined ? "" : `,"code":"${end.code}"`;
  members += numberMember(',"status":', end.status);
  members += numberMember(',"bytesIn":', tally.bytesIn);
  members += numberMember(',"bytesOut":', tally.bytesOut);
  members += numberMember(',"exitCode":', tally.exitCode);
  return `${members},"durationMs":${durationMs},"result":"${end.result}"`;
};

/** Throws when its file cannot be opened. */
export const createAudit = ({ clock, output, recorded }: AuditOptions): Audit => {
  const sink = new Sink({ output });

  const time = isoTimes(() => clock.now());

  /** Only records of reads may wait a moment for others: what was changed is written though the process is killed next. */
  const record = (
    kind: "start" | "end" | "event",
    members: string,
    as: AuditResult | "started" | "event",
    mayWait = false,
  ): void => {
    const written = sink.write(`{"audit":"${kind}","time":"${time()}",${members}}\n`, !mayWait);
    recorded?.(written ? as : "dropped");
  };

  const open = new Bag<Begun>();

  const begin: Audit["begin"] = (requestId, { kind, text }, tally) => {
    const startedMs = clock.monotonic();
    const mayWait = kind === "read";
    const members = (): string => `"requestId":"${requestId}",${text}`;
    record("start", members(), "started", mayWait);
    const entry: Begun = {
      place: -1,
      end: (end) => {
        if (!open.delete(entry)) return;
        const durationMs = Math.round(clock.monotonic() - startedMs);
        record("end", members() + endMembers(end, tally, durationMs), end.result, mayWait);
      },
    };
    open.add(entry);
    return entry;
  };

  const event: Audit["event"] = (name, fields) => {
    record("event", jsonOf({ event: name, ...cleanFields(fields) }).slice(1, -1), "event");
  };

  const throttle = createThrottle({
    perSecond: refusalsPerSecond,
    now: () => clock.monotonic(),
  });
  const tellSuppressed = (): void => {
    for (const { name, count } of throttle.take()) event("suppressed", { of: name, count });
  };
  const telling = setInterval(tellSuppressed, tellSuppressedMs);
  telling.unref();
  const endAll = (): void => {
    for (const entry of open) entry.end(cut);
    tellSuppressed();
  };

  return {
    begin,
    denied: (requestId, members, code) =>
      begin(requestId, members, nothing).end({ result: "denied", code }),
    event,
    refusal: (name, fields) => {
      if (throttle.admit(name)) event(name, fields);
    },
    get state() {
      return sink.state;
    },
    reopen: () => sink.reopen(),
    flush: () => {
      endAll();
      sink.flush();
    },
    close: (signal) => {
      clearInterval(telling);
      endAll();
      return sink.close(signal);
    },
  };
};
