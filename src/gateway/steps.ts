/** The steps of the journey, each joined to the parts it is made of and to the recorder. */
import { authorize } from "../acl/authorize.ts";
import { writeEmpty, writeError, writeJson } from "../answer.ts";
import { createCarry } from "../carry/carry.ts";
import { delivered } from "../carry/cut.ts";
import type { Shares } from "../carry/shared/shares.ts";
import type { ServerConfig } from "../config/server-schema.ts";
import { GatewayError } from "../errors.ts";
import type { Steps } from "../journey.ts";
import type { Ledger } from "../live/ledger.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { Answer, Answered, Clock, Exchange, Principal } from "../ports.ts";
import type { Ways } from "../reach/reach.ts";
import type { Identity } from "./identity.ts";
import type { Recorder } from "./recorder.ts";
import type { Home } from "./registry.ts";
import { createResolve } from "./resolve.ts";

/** By the names of their rows. */
export type Answers = Readonly<Record<string, Answer>>;

export interface StepsNeeds {
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly identity: Identity;
  readonly home: Home;
  /** To the agents. */
  readonly ways: Ways;
  readonly ledger: Ledger;
  readonly recorder: Recorder;
  readonly answers: () => Promise<Answers>;
  readonly shares: Shares;
}

const countedAuthorize =
  (metrics: Metrics): Steps["authorize"] =>
  (principal, scope, exchange) => {
    try {
      authorize(principal, scope, exchange);
      metrics.decided(exchange.route, "allowed");
    } catch (error) {
      metrics.decided(exchange.route, "denied");
      throw error;
    }
  };

/** Resolves when the caller's system has it: a long list takes a while, for which its exchange is live. */
const writeAnswer = async (
  { wire, pretty, signal }: Exchange,
  answered: Answered,
  stallMs: number,
): Promise<void> => {
  if (wire.kind !== "http")
    throw new GatewayError("internal", { reason: "a registry answer goes over HTTP" });
  const { response } = wire;
  const { headers = {} } = answered;
  if (answered.refusal) writeError(response, answered.refusal, headers);
  else if (answered.document === undefined) writeEmpty(response, headers);
  else writeJson(response, answered.document, { pretty, headers });
  if (response.socket?.writableLength) await delivered(response, signal, stallMs);
};

export const createSteps = (needs: StepsNeeds, { timeouts, limits }: ServerConfig): Steps => {
  const { clock, metrics, identity, home, ways, ledger, recorder, answers, shares } = needs;
  const carry = createCarry(
    { clock, shares, agents: home.embedded ? "serai" : "nomad" },
    {
      deadlinesMs: { first_byte: timeouts.firstByteMs, action: timeouts.actionMs },
      handshakeMs: timeouts.firstByteMs,
      stallMs: timeouts.idleMs,
      followStallMs: timeouts.followIdleMs,
      downloadSilenceMs: timeouts.idleMs,
      maxMessageBytes: limits.execMessageBytes,
      maxWaitingBytes: limits.streamBufferBytes,
      maxHeldBytes: limits.streamBufferBytes,
    },
  );
  return {
    authenticate: (exchange) => {
      const known = (principal: Principal): Principal => {
        recorder.authenticated(exchange, principal);
        return principal;
      };
      const principal = identity.authenticate(exchange);
      return principal instanceof Promise ? principal.then(known) : known(principal);
    },
    resolve: createResolve(home),
    authorize: countedAuthorize(metrics),
    admit: (exchange, principal, scope) => {
      ledger.admit(exchange, principal, scope);
      recorder.admitted(exchange, principal, scope);
    },
    reach: (scope, exchange) => ways.to(scope, exchange),
    carry: (exchange, principal, reach) => {
      const credential = identity.shown(exchange.credential, principal);
      const asShown = credential === exchange.credential ? exchange : { ...exchange, credential };
      const carried = carry(asShown, reach);
      if (exchange.route.name !== "client.metadata.post") return carried;
      // also when the caller left before its answer: the agent may have taken the update
      return carried.finally(() => home.embedded?.touchMetadata(reach.node.id));
    },
    answer: async (exchange, principal, scope) => {
      const { [exchange.route.name]: answer } = await answers();
      if (answer === undefined)
        throw new GatewayError("internal", { reason: `no answer for ${exchange.route.name}` });
      await writeAnswer(exchange, await answer(exchange, principal, scope), timeouts.idleMs);
    },
  };
};
