/**
 * Requests to the servers of callers with a JWT of a configured issuer, which no server knows. The gateway decides, shows the
 * service token in the JWT's place, ends the answer with the JWT, and says in the audit log who it was.
 */
import type { IncomingMessage } from "node:http";
import { GatewayError, toGatewayError } from "../errors.ts";
import { readCredential } from "../http/credential.ts";
import { wantsHandshake } from "../http/handshake.ts";
import { queryOf } from "../http/query.ts";
import { asksForWebSocket } from "../http/upgrade.ts";
import { type PassingContext, pathOf, rawOf } from "../ingress/passing.ts";
import { isJsonObject, parseJson } from "../lib/json.ts";
import { type Audit, type AuditEntry, type AuditSubject, auditMembers } from "../observe/audit.ts";
import type { Clock, Credential, Directory, Log, Principal } from "../ports.ts";
import { passedRoutes } from "../routes.ts";
import { passedSubjectOf } from "./audited.ts";
import type { Identity } from "./identity.ts";
import { type Asked, createServiceRights, readAsked } from "./service-rights.ts";

/** A request as it is passed on; without a credential the caller's own goes along. */
export interface Vouched extends PassingContext {
  readonly credential?: Credential;
}

/** Resolves with the status of the answer, when it has one. */
export type PassOn = (vouched: Vouched) => Promise<number | undefined>;

export interface Vouching {
  /** True for a request that bears such a JWT, whether or not it counts. */
  concerns(request: IncomingMessage): boolean;
  /** True when it is the one that counts: then `take` tells the audit log. */
  audits(request: IncomingMessage): boolean;
  /** For a socket whose first message brings the token: it must not be such a JWT, which counts in the header alone. */
  checkFirst(request: IncomingMessage): ((message: string) => void) | undefined;
  /** Passes on what may be passed on. Rejects with a GatewayError, of its own or `passOn`'s. */
  take(request: IncomingMessage, context: PassingContext, passOn: PassOn): Promise<void>;
}

export interface VouchingNeeds {
  readonly clock: Clock;
  readonly log: Log;
  readonly audit: Audit;
  readonly identity: Identity;
  readonly directory: Pick<Directory, "allocation" | "find">;
}

export interface VouchingOptions {
  readonly region: string;
  readonly ofIssuer: (secret: string) => boolean;
}

const firstFailure = 400;
const forbidden = 403;
const nobody: Credential = { secret: undefined, source: "none" };

const command = /^\/v1\/(?:job|client)\/.+\/(?:action|exec)$/;
const reads: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);

/** What the audit log calls it: lists and documents that are read are not in it, as none of a caller the servers know. */
const auditKind = (
  request: IncomingMessage,
  { row, method, path }: Asked,
): AuditSubject["kind"] | undefined => {
  if (asksForWebSocket(request) && command.test(path)) return "exec";
  return row?.audit ?? (reads.has(method) ? undefined : "change");
};

/** What is known of one whose target is refused before it is read. */
const unread = ({ method = "", url = "" }: IncomingMessage): Asked => ({
  method,
  path: pathOf(url),
  namespace: "",
  row: undefined,
  key: "",
});

const resultOf = (status: number | undefined) => {
  if (status === undefined || status < firstFailure) return "ok";
  return status === forbidden ? "denied" : "failed";
};

const shakesHands = (request: IncomingMessage): boolean => {
  try {
    return wantsHandshake(queryOf(request.url ?? ""));
  } catch {
    return false; // the server refuses what is no bool
  }
};

/** All texts of a handshake, whatever else is wrong with it: that is the server's to say. */
const textsIn = (message: string): readonly string[] => {
  try {
    const parsed = parseJson(message);
    return isJsonObject(parsed)
      ? Object.values(parsed).filter((one) => typeof one === "string")
      : [];
  } catch {
    return [];
  }
};

/** Ends with the JWT: its life is at most a day, which a timer can wait for. */
const untilExpiry = ({ expiresAtMs }: Principal, { now }: Clock) => {
  const ending = new AbortController();
  const expired = (): void =>
    ending.abort(new GatewayError("right_ended", { reason: "the token has expired" }));
  const timer =
    expiresAtMs === undefined ? undefined : setTimeout(expired, Math.max(0, expiresAtMs - now()));
  return { signal: ending.signal, stop: () => clearTimeout(timer) };
};

export const createVouching = (
  { clock, log, audit, identity, directory }: VouchingNeeds,
  { region, ofIssuer }: VouchingOptions,
): Vouching => {
  const rights = createServiceRights(directory);

  const shownFor = async (
    credential: Credential,
    principal: Principal,
    asked: Asked,
    signal: AbortSignal,
  ): Promise<Credential> => {
    const shown = identity.shown(credential, principal);
    if (principal.upstream === undefined) return shown; // ACLs are off
    return (await rights(principal, asked, signal)) === "nobody" ? nobody : shown;
  };

  const begin = (
    request: IncomingMessage,
    { client, requestId, tally }: PassingContext,
    asked: Asked,
    principal: Principal | undefined,
  ): AuditEntry | undefined => {
    const kind = auditKind(request, asked);
    if (kind === undefined) return undefined;
    const { row, key, path, method } = asked;
    const route = row ?? passedRoutes[kind === "exec" ? "socket" : "read"];
    const raw = rawOf(request.url ?? "");
    const members = auditMembers({
      ...passedSubjectOf({ route, method, key: path, raw, client }, kind),
      accessor: principal?.accessorId,
      ...(row?.key === "allocation_namespace" ? { allocation: key } : {}),
      upstream: principal?.upstream,
    });
    return audit.begin(requestId, members, tally);
  };

  const checkHandshake = (message: string): void => {
    if (textsIn(message).some((text) => ofIssuer(text.trim())))
      throw new GatewayError("permission_denied");
  };

  const audits = (request: IncomingMessage): boolean => {
    try {
      return ofIssuer(readCredential(request).secret ?? "");
    } catch {
      return false; // two of one header are refused by the pass-through itself
    }
  };

  return {
    concerns(request) {
      const { authorization = "" } = request.headers;
      return audits(request) || ofIssuer(authorization.replace(/^bearer[ \t]+/i, "").trim());
    },
    audits,
    checkFirst: (request) => (shakesHands(request) ? checkHandshake : undefined),
    async take(request, context, passOn) {
      const credential = readCredential(request, context.client.address);
      if (!ofIssuer(credential.secret ?? "")) {
        await passOn({ ...context, credential }); // that one alone: the JWT beside it does not count
        return;
      }
      let asked = unread(request);
      let principal: Principal | undefined;
      let entry: AuditEntry | undefined;
      let stop: (() => void) | undefined;
      try {
        asked = readAsked(asked.method, request.url ?? "", region);
        principal = await identity.authenticateCredential(credential, context.signal);
        const expiry = untilExpiry(principal, clock);
        stop = expiry.stop;
        const signal = AbortSignal.any([context.signal, expiry.signal]);
        const shown = await shownFor(credential, principal, asked, signal);
        entry = begin(request, context, asked, principal);
        const { accessorId: accessor, upstream } = principal;
        log.info({ id: context.requestId, accessor, upstream }, "passed on for a JWT");
        const status = await passOn({ ...context, credential: shown, signal });
        entry?.end({ status, result: resultOf(status) });
      } catch (thrown) {
        const { code, status } = toGatewayError(thrown, context.signal);
        entry ??= begin(request, context, asked, principal);
        entry?.end({ result: status === forbidden ? "denied" : "failed", code, status });
        throw thrown;
      } finally {
        stop?.();
      }
    },
  };
};
