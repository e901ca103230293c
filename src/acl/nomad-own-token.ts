/** What the gateway's own token has to be good for in front of Nomad's servers, and whether it is. */
import { GatewayError } from "../errors.ts";
import { systemClock } from "../lib/clock.ts";
import type { Servers } from "../nomad/servers.ts";
import { compileAcl } from "./acl.ts";
import { type Caller, findCaller } from "./caller.ts";
import { createNomadAsking } from "./nomad-asking.ts";
import type { Rules } from "./rules.ts";

/** Any name that a label with `*` matches: each run becomes nothing, so that no other label is closer. */
const sampleOf = (label: string): string => label.replaceAll("*", "");

/** A namespace that no rule names. */
const unnamed = "a-namespace-that-no-policy-names";

const unreadable = (rules: readonly Rules[]): readonly string[] => {
  const acl = compileAcl(rules);
  const labels = new Set(rules.flatMap(({ Namespaces }) => Namespaces.map(({ Name }) => Name)));
  const closed = [...labels].filter(
    (label) => label !== "*" && !acl.namespace(sampleOf(label), "read-job"),
  );
  return acl.namespace(unnamed, "read-job") ? closed : ["*", ...closed];
};

const missingOf = (caller: Caller): readonly string[] => {
  if (caller.kind !== "client") return [];
  const namespaces = unreadable(caller.rules);
  return [
    ...(namespaces.length === 0
      ? []
      : [
          `read-job in every namespace (not held in ${namespaces.map((name) => `"${name}"`).join(", ")}): ` +
            "without it the servers refuse the stream of events, and allocations are not found",
        ]),
    ...(compileAcl(caller.rules).node("read")
      ? []
      : ['node { policy = "read" }: without it no node and no address is known']),
  ];
};

const isRefusal = (error: unknown): boolean =>
  error instanceof GatewayError && error.code === "permission_denied";

export interface OwnRights {
  /** What it lacks, in words; empty when it holds all. */
  readonly missing: readonly string[];
  /** Managers see events of tokens, policies and roles; `off`: the servers look at no token. */
  readonly kind: Caller["kind"];
}

/** Asks the servers about the gateway's own token; "" is none. Rejects with `identity_unavailable` when none can say now. */
export const readOwnRights = async (
  { servers }: { readonly servers: Servers },
  token: string,
): Promise<OwnRights> => {
  try {
    const caller = await createNomadAsking(servers).ask(token, (ask) =>
      findCaller(ask, token, systemClock.now()),
    );
    return { missing: missingOf(caller), kind: caller.kind };
  } catch (error) {
    if (!isRefusal(error)) throw error;
    const missing = ["a valid token: the servers do not know this one, or it has expired"];
    return { missing, kind: "client" };
  }
};
