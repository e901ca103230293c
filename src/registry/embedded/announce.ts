/**
 * How a node joins (`PUT /v1/serai/node/:id`): its agent shows a join token and its node document, again and again; each
 * is a beat. Who may join, and where the gateway may dial, is decided by what is given.
 */
import type { Duplex } from "node:stream";
import { GatewayError } from "../../errors.ts";
import type { JsonObject } from "../../lib/json.ts";
import { canonicalUuid, uuidFault } from "../../lib/uuid.ts";
import type { Answer } from "../../ports.ts";

export interface Announcement {
  /** As the path has it. */
  readonly nodeId: string;
  readonly secret: string | undefined;
  /** The node of the connection's certificate, which decides alone; throws when it is not good. */
  readonly certified?: (() => string | undefined) | undefined;
  readonly body: JsonObject | undefined;
  /** Address that the announcement came from, for the audit. */
  readonly from: string;
}

export interface AnnounceAnswer {
  /** Nanoseconds, as Nomad's: the agent beats at least once in this time. */
  readonly HeartbeatTTL: number;
  readonly PullSecret: string;
}

export type Announce = (announcement: Announcement, signal: AbortSignal) => Promise<AnnounceAnswer>;

export interface JoinTokens {
  /** Resolves with true when the node may announce itself with this secret. */
  claim(secret: string, nodeId: string): Promise<boolean>;
}

/** Throws `permission_denied` for a certificate that is not good; undefined for one that is no node's, and for none. */
export type CertifiedNode = (socket: Duplex) => string | undefined;

/** Rejects with `permission_denied`, or `identity_unavailable` when the tokens cannot be read. */
export const admit = async (
  tokens: JoinTokens,
  { secret, certified }: Pick<Announcement, "secret" | "certified">,
  nodeId: string,
): Promise<void> => {
  const node = certified?.();
  if (node === nodeId) return;
  if (node !== undefined)
    throw new GatewayError("permission_denied", {
      reason: `the node's certificate is of node ${node}`,
    });
  let admitted = false;
  try {
    admitted = secret !== undefined && (await tokens.claim(secret, nodeId));
  } catch (cause) {
    throw new GatewayError(
      "identity_unavailable",
      { reason: "the join tokens cannot be read" },
      { cause },
    );
  }
  if (!admitted) throw new GatewayError("permission_denied");
};

/** The node's id in its one form. Throws `bad_request`. */
export const nodeIdOf = (text: string): string => {
  const fault = uuidFault(text);
  if (fault !== undefined)
    throw new GatewayError("bad_request", { text: `the node's id: ${fault}` });
  return canonicalUuid(text);
};

/** The route's answer. */
export const createAnnounceAnswer =
  (announce: Announce, certifiedNode: CertifiedNode): Answer =>
  async ({ key, credential, body, client, signal, wire }) => {
    const socket = wire.kind === "http" ? wire.request.socket : undefined;
    const certified = socket && (() => certifiedNode(socket));
    const { secret } = credential;
    const announcement = { nodeId: key, secret, certified, body, from: client.address };
    return { document: await announce(announcement, signal) };
  };
