/** What is told of each exchange: metrics, one log line, audit records. Nothing here can change what happens to it. */
import type { ErrorCode, GatewayError } from "../errors.ts";
import type { Ending } from "../ingress/visit.ts";
import type { EndReason } from "../live/entry.ts";
import type { Ledger } from "../live/ledger.ts";
import { type Audit, type AuditEntry, type AuditResult, auditMembers } from "../observe/audit.ts";
import { streamKindOf } from "../observe/labels.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { Limit, UpstreamReason } from "../observe/part-metrics.ts";
import type { Exchange, Log, Principal, Scope } from "../ports.ts";
import { isPassed, type Route } from "../routes.ts";
import { audited } from "./audited.ts";

export interface Recorder {
  started(route: Route | undefined): void;
  authenticated(exchange: Exchange, principal: Principal): void;
  admitted(exchange: Exchange, principal: Principal, scope: Scope): void;
  /** One that is passed on: who asks is the servers' to know. */
  hosted(exchange: Exchange): void;
  /** Told by the ledger, just before `ended`. */
  liveEnded(exchange: Exchange, reason: EndReason): void;
  ended(ending: Ending): void;
}

interface Memory {
  principal: Principal | undefined;
  entry: AuditEntry | undefined;
  reason: EndReason | undefined;
  isStream: boolean;
}

declare module "../lib/kept.ts" {
  interface Kept {
    /** The recorder's. */
    memory?: Memory;
  }
}

export interface RecorderNeeds {
  readonly metrics: Metrics;
  readonly audit: Audit;
  readonly log: Log;
  /** The ledger is made after the recorder, which it tells. */
  readonly ledger: () => Ledger;
}

const deniedCodes: ReadonlySet<ErrorCode> = new Set([
  "permission_denied",
  "right_ended",
  "forbidden_origin",
]);

const resultOf = (error: GatewayError | undefined, status: number): AuditResult => {
  if (error === undefined) return status === 403 ? "denied" : status >= 400 ? "failed" : "ok";
  return deniedCodes.has(error.code) ? "denied" : "failed";
};

const upstream: Partial<Readonly<Record<ErrorCode, UpstreamReason>>> = {
  node_unreachable: "node_unreachable",
  upstream_broke: "upstream_broke",
  upstream_invalid: "upstream_invalid",
  upstream_timeout: "upstream_timeout",
  overloaded: "overloaded",
};

const limits: Partial<Readonly<Record<ErrorCode, Limit>>> = {
  too_many_requests: "live_per_principal",
  body_too_large: "body",
  headers_too_large: "header",
  message_too_large: "message",
};

const countError = (metrics: Metrics, code: ErrorCode): void => {
  metrics.errorSeen(code);
  const reason = upstream[code];
  if (reason !== undefined) metrics.upstreamFailed(reason);
  const limit = limits[code];
  if (limit !== undefined) metrics.limited(limit);
};

export const createRecorder = ({ metrics, audit, log, ledger }: RecorderNeeds): Recorder => {
  const memoryOf = ({ kept }: Exchange): Memory => {
    kept.memory ??= { principal: undefined, entry: undefined, reason: undefined, isStream: false };
    return kept.memory;
  };

  const endAudit = (ending: Ending, exchange: Exchange, memory: Memory): void => {
    const kind = exchange.route.audit;
    if (kind === undefined) return;
    const { error, tally, status } = ending;
    const entry =
      memory.entry ?? audit.begin(exchange.id, audited(exchange, kind, memory.principal), tally);
    entry.end({
      result: resultOf(error, status),
      code: error?.code,
      status: isPassed(exchange.route) ? status : undefined,
    });
  };

  /** Denied before it became an exchange: little is known of it. */
  const auditRefused = ({ id, route, key, client, error }: Ending): void => {
    if (route?.audit === undefined || error === undefined || !deniedCodes.has(error.code)) return;
    const onAllocation = route.key.startsWith("allocation") && key !== "";
    const members = auditMembers({
      route: route.name,
      kind: route.audit,
      accessor: undefined,
      address: client.address,
      allocation: onAllocation ? key : undefined,
    });
    audit.denied(id, members, error.code);
  };

  const endStream = ({ tally, durationMs }: Ending, exchange: Exchange, memory: Memory): void => {
    const kind = streamKindOf(exchange.route);
    if (kind === undefined || !memory.isStream) return;
    const { bytesIn, bytesOut, firstByteMs } = tally;
    const reason = memory.reason ?? "error"; // the ledger has told it, just before
    metrics.streamEnded(kind, { reason, durationMs, bytesIn, bytesOut, firstByteMs });
  };

  const write = (ending: Ending, principal: Principal | undefined): void => {
    const { id, method, route, exchange, status, error, tally, durationMs, client } = ending;
    const fields = {
      id,
      method,
      route: route?.path,
      status,
      code: error?.code,
      ms: Math.round(durationMs * 10) / 10,
      accessor: principal?.accessorId,
      path: exchange !== undefined && isPassed(exchange.route) ? exchange.key : undefined,
      client: client.address,
      bytes: tally.bytesOut === 0 ? undefined : tally.bytesOut,
    };
    if (error?.code === "internal")
      log.error({ ...fields, err: error.cause ?? error }, "request failed");
    else if (error === undefined) log.info(fields, "request");
    else log.info({ ...fields, words: error.words, cause: causeOf(error) }, "request refused");
  };

  const begin = (
    exchange: Exchange,
    principal: Principal | undefined,
    scope: Scope | undefined,
  ): void => {
    const memory = memoryOf(exchange);
    const kind = exchange.route.audit;
    if (kind !== undefined)
      memory.entry = audit.begin(
        exchange.id,
        audited(exchange, kind, principal, scope),
        exchange.tally,
      );
    const streamKind = streamKindOf(exchange.route);
    if (streamKind === undefined) return;
    memory.isStream = true;
    metrics.streamOpened(streamKind);
  };

  return {
    started: (route) => {
      metrics.requestStarted(route);
      ledger().begun();
    },
    authenticated(exchange, principal) {
      memoryOf(exchange).principal = principal;
    },
    admitted: begin,
    hosted: (exchange) => begin(exchange, undefined, undefined),
    liveEnded(exchange, reason) {
      memoryOf(exchange).reason = reason;
    },
    ended(ending) {
      const { exchange, route, method, status, error, durationMs } = ending;
      const waited = route?.carriage === "registry" && ending.exchange?.raw.has("index") === true;
      metrics.requestEnded(route, { method, status, durationMs, waited });
      if (error) countError(metrics, error.code);
      if (exchange === undefined) {
        ledger().over();
        auditRefused(ending);
        write(ending, undefined);
        return;
      }
      ledger().done(exchange, error);
      ledger().over();
      const memory = memoryOf(exchange);
      endStream(ending, exchange, memory);
      endAudit(ending, exchange, memory);
      write(ending, memory.principal);
    },
  };
};

const causeOf = ({ cause }: GatewayError): string | undefined =>
  cause instanceof Error ? cause.message : undefined;
