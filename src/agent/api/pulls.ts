/**
 * What the gateway alone may ask, with the pull secret of its last answers: this node's allocations as whole documents,
 * blocking until something changed (nomad-http.md §1.8, §10.3). Its user's rights are decided at the gateway.
 */
import { writeJson } from "../../answer.ts";
import { GatewayError, notFound } from "../../errors.ts";
import { bearerOf } from "../../http/credential.ts";
import type { Ask, DoorNeeds } from "./ask.ts";

const maxWaitMs = 300_000;
/** Pulls that wait at the same time; the gateway needs one, a second while it reconnects. */
const maxWaiting = 16;

const waitMsOf = (asked: number): number => (asked <= 0 ? maxWaitMs : Math.min(asked, maxWaitMs));

export const createPulls = (needs: DoorNeeds): ((ask: Ask) => Promise<void>) => {
  let waiting = 0;

  const whenChanged = async (index: bigint, waitMs: number, signal: AbortSignal): Promise<void> => {
    if (index === 0n || BigInt(needs.workloads.index) > index) return;
    if (waiting >= maxWaiting) throw new GatewayError("overloaded", { node: needs.node.id });
    const patience = new AbortController();
    const timer = setTimeout(() => patience.abort(), waitMs);
    waiting++;
    try {
      const seen = Number(index); // indexes are small; one beyond 2^53 waits for the patience alone
      await needs.workloads.changed(seen, AbortSignal.any([signal, patience.signal]));
    } finally {
      clearTimeout(timer);
      waiting--;
    }
  };

  return async (ask) => {
    if (!needs.pullSecrets.has(bearerOf(ask.credential)))
      throw new GatewayError("permission_denied");
    if (ask.key.toLowerCase() !== needs.node.id) throw notFound("node not found");
    await whenChanged(ask.common.index, waitMsOf(ask.common.waitMs), ask.signal);
    ask.signal.throwIfAborted();
    const { index, allocations } = needs.workloads; // read together: what the index tells is in the list
    writeJson(
      ask.response,
      allocations.map((allocation) => allocation.document()),
      {
        pretty: ask.common.pretty,
        headers: {
          "X-Nomad-Index": String(Math.max(index, 1)),
          "X-Nomad-Knownleader": "true",
          "X-Nomad-Lastcontact": "0",
        },
      },
    );
  };
};
