/**
 * Questions to Nomad's servers: the current one first, the next when it cannot say. A refusal is an answer: no other
 * server is asked to overrule it.
 */
import { type ErrorCode, GatewayError } from "../errors.ts";
import { Turns } from "../lib/turns.ts";
import { originsInTurn, type Servers } from "../nomad/servers.ts";
import { type Ask, asker, away } from "./asking.ts";
import { saysAclsOff } from "./caller.ts";

export interface AskingOptions {
  /** Requests at once: Nomad admits 100 connections an address, and feed and pass-through need theirs. */
  readonly maxRequests: number;
  /** Milliseconds that one server has for a request. Those in which it waits for its turn are not the server's. */
  readonly serverTimeoutMs: number;
  /** Milliseconds for a whole question, of all servers together. */
  readonly timeoutMs: number;
}

const defaults: AskingOptions = { maxRequests: 16, serverTimeoutMs: 3_000, timeoutMs: 8_000 };

export interface NomadAsking {
  /** Puts a question, whole, to one server after the other until one can say. */
  ask<T>(
    secret: string,
    question: (ask: Ask, origin: string) => Promise<T>,
    origins?: Iterable<string>,
  ): Promise<T>;
  /** The servers, other than `origin`, that say that ACLs are on. Those that cannot say now are not among them. */
  withAcls(origin: string): Promise<readonly string[]>;
}

const isAway = (error: unknown): boolean =>
  error instanceof GatewayError && error.code === "identity_unavailable";

/** The connection's own faults: what they say is that this server should not be the current one. */
const gone: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "node_unreachable",
  "upstream_broke",
  "upstream_timeout",
]);

/** Why no server could say. What one of them said tells more than that another one is away. */
class Failures {
  /** True when the server that is being asked was lost. */
  isLost = false;
  #said: unknown;
  #lost: unknown;

  get first(): unknown {
    return this.#said ?? this.#lost ?? away("has no address");
  }

  /** Throws what is no failure but an answer: a refusal. */
  add(error: unknown): void {
    if (!isAway(error)) throw error;
    if (this.isLost) this.#lost = error;
    else this.#said ??= error;
  }
}

export const createNomadAsking = (
  servers: Servers,
  given: Partial<AskingOptions> = {},
): NomadAsking => {
  const { maxRequests, serverTimeoutMs, timeoutMs } = { ...defaults, ...given };
  const turns = new Turns(maxRequests);

  const at = (
    origin: string,
    secret: string,
    patience: AbortSignal,
    lost: () => void = () => undefined,
  ): Ask => {
    const send: Ask = (path) => {
      if (patience.aborted) throw away("is asked by too many at once");
      const ask = asker({
        origin,
        dispatcher: servers.dispatcher,
        secret,
        timeoutMs: serverTimeoutMs,
        signal: AbortSignal.any([patience, AbortSignal.timeout(serverTimeoutMs)]),
        lost: (code) => {
          lost();
          if (gone.has(code) && !patience.aborted) servers.failed(origin);
        },
      });
      return ask(path);
    };
    return (path) => turns.take(async () => await send(path));
  };

  return {
    async ask(secret, question, origins: Iterable<string> = originsInTurn(servers)) {
      const patience = AbortSignal.timeout(timeoutMs);
      const failures = new Failures();
      for (const origin of origins) {
        if (patience.aborted) break;
        failures.isLost = false;
        const lost = (): void => {
          failures.isLost = true;
        };
        try {
          return await question(at(origin, secret, patience, lost), origin);
        } catch (error) {
          failures.add(error);
        }
      }
      throw failures.first;
    },
    async withAcls(origin) {
      const patience = AbortSignal.timeout(serverTimeoutMs);
      const others = servers.addresses.filter((address) => address !== origin);
      const says = await Promise.all(
        others.map(async (address) => {
          try {
            const told = await at(address, "", patience)("/v1/acl/policies");
            return !saysAclsOff(told) && (told.status === 200 || told.status === 403);
          } catch {
            return false; // it cannot say now
          }
        }),
      );
      return others.filter((_address, index) => says[index]);
    },
  };
};
