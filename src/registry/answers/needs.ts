/** What the registry's own answers are built from. */
import type { CommonParameters } from "../../parameters.ts";
import { commonParameters } from "../../parameters.ts";
import type { Acl, Answered, Clock, Exchange, Principal, Registry, Scope } from "../../ports.ts";
import { checkRegion } from "./parameter-check.ts";

/** The gateway, as it describes itself where Nomad's servers do. */
export interface Self {
  readonly name: string;
  readonly region: string;
  readonly datacenter: string;
  readonly version: string;
  /** `host:port` for `/v1/status/leader` and the members. */
  readonly address: string;
}

export interface AnswerNeeds {
  readonly registry: Registry;
  readonly clock: Clock;
  readonly self: Self;
  /** Who asks, with the rights of now, where the exchange lasts; undefined: as it was when it came. */
  readonly principalOf?: (exchange: Exchange) => Principal | undefined;
}

export interface AnswerOptions {
  /** 0 to 1, for the jitter of blocking queries. */
  readonly random?: () => number;
  /** Why `/v1/agent/health` should say that the gateway is not well; undefined when it is. */
  readonly unwell?: () => string | undefined;
  /** True when the gateway ends: blocking queries answer what is there, as they do when their time is over. */
  readonly isEnding?: () => boolean;
}

/** One request for one of the answers, with what every answer reads. */
export interface Asked {
  readonly exchange: Exchange;
  /** What its caller may now: while a query waits that may become less. */
  readonly acl: () => Acl;
  readonly namespace: string;
  readonly common: CommonParameters;
}

export type Answering = (asked: Asked) => Answered | Promise<Answered>;

/** Parses the parameters that nearly every answer reads; another region's data is not ours to give. */
export const toAsked = (
  { self, principalOf = () => undefined }: Pick<AnswerNeeds, "self" | "principalOf">,
  exchange: Exchange,
  principal: Principal,
  scope: Scope,
): Asked => {
  const common = commonParameters(exchange.raw);
  checkRegion(exchange.route.name, exchange.raw, self.region);
  const namespace = scope.kind === "namespace" ? scope.namespace : common.namespace;
  const acl = (): Acl => (principalOf(exchange) ?? principal).acl;
  return { exchange, acl, common, namespace };
};
