/** The gateway's side of the hello: an upgrade on the public listener that becomes a tunnel, or a plain refusal. */
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { setImmediate as turn } from "node:timers/promises";
import { GatewayError, toGatewayError } from "../errors.ts";
import { hasBody } from "../http/body.ts";
import { bearerOf, readCredential } from "../http/credential.ts";
import { answerLast, type Field, plainText } from "../lib/last-answer.ts";
import { canonicalUuid, isUuid } from "../lib/uuid.ts";
import type { Log } from "../ports.ts";
import { type Arrival, type Hub, type HubEvent, NotAdmitted } from "./hub.ts";
import type { CertifiedBy } from "./node-certificate.ts";
import { type HelloRefusal, silentObserver, type TunnelObserver } from "./observer.ts";
import { nodeHeader, tunnelPath, tunnelProtocol } from "./protocol.ts";

export interface HelloTokens {
  /** Resolves with true when a node may join with this secret. Rejects when its source is away. */
  claim(secret: string, nodeId: string): Promise<boolean>;
  /** True when a node that has joined still may. Throws when its source is away. */
  holds(secret: string, nodeId: string): boolean;
}

export interface TunnelDoorNeeds {
  readonly log: Log;
  readonly hub: Hub;
  readonly joinTokens: HelloTokens;
  /** Given where nodes may show a certificate; one that is shown decides alone. */
  readonly certifiedBy?: CertifiedBy | undefined;
  readonly told: (event: HubEvent) => void;
  /** Address after `trust_proxy`. */
  readonly addressOf: (request: IncomingMessage) => string;
  readonly observe?: TunnelObserver;
}

/** The node that a credential stands for. */
interface Proof extends Pick<Arrival, "nodeId" | "credential" | "mayStay"> {}

export interface TunnelDoor {
  isHello(request: IncomingMessage): boolean;
  take(request: IncomingMessage, socket: Duplex, head: Buffer): void;
}

/** What a refusal says besides its words. */
const hints: Readonly<Record<number, readonly Field[]>> = {
  426: [["Upgrade", tunnelProtocol]],
  503: [["Retry-After", "10"]],
};

const refuse = (socket: Duplex, status: number, words: string): void =>
  answerLast(socket, status, [plainText, ...(hints[status] ?? [])], `${words}\n`);

/** An agent gives up a hello that is not answered in time. Its end lies behind the hello in the socket's queue, and is seen a turn later. */
const hasLeft = async (socket: Duplex): Promise<boolean> => {
  await turn();
  socket.read(0); // an end that has come is told
  await turn();
  return socket.readableEnded || socket.destroyed;
};

/** A hello in a version that this gateway does not speak. */
class OtherVersion extends Error {}

/** What a refused hello is counted as. */
const refusalOf = (error: unknown): HelloRefusal => {
  if (error instanceof OtherVersion) return "version";
  if (error instanceof NotAdmitted) return error.why;
  const { code } = toGatewayError(error);
  return code === "permission_denied" || code === "identity_unavailable" ? code : "bad_request";
};

const protocolOf = ({ headers }: IncomingMessage): string =>
  headers.upgrade?.trim().toLowerCase() ?? "";

/** The id that the agent gives itself, if it gives one. Throws when it is none. */
const namedBy = ({ headers }: IncomingMessage): string | undefined => {
  const named = headers[nodeHeader];
  if (named === undefined) return undefined;
  const nodeId = typeof named === "string" ? canonicalUuid(named.trim()) : "";
  if (!isUuid(nodeId))
    throw new GatewayError("bad_request", { text: `${nodeHeader} must be a node's id` });
  return nodeId;
};

export const createTunnelDoor = ({
  log,
  hub,
  joinTokens,
  certifiedBy = () => undefined,
  told,
  addressOf,
  observe = silentObserver,
}: TunnelDoorNeeds): TunnelDoor => {
  const checkForm = (request: IncomingMessage): void => {
    if (protocolOf(request) !== tunnelProtocol) throw new OtherVersion();
    if (request.method !== "GET" || request.httpVersion !== "1.1" || hasBody(request))
      throw new GatewayError("bad_request", {
        text: "a tunnel begins with a GET of HTTP/1.1 without a body",
      });
  };

  const mayJoin = async (secret: string, nodeId: string): Promise<boolean> => {
    try {
      return await joinTokens.claim(secret, nodeId);
    } catch (cause) {
      const reason = "the join tokens cannot be read";
      throw new GatewayError("identity_unavailable", { reason }, { cause });
    }
  };

  /** A token that cannot be looked at now lets a tunnel stay that it let in. */
  const mayStay = (secret: string, nodeId: string): boolean => {
    try {
      return joinTokens.holds(secret, nodeId);
    } catch (err) {
      log.error({ err }, "the join tokens cannot be read");
      return true;
    }
  };

  /** The node's id is the certificate's, or one that the join token is good for. */
  const prove = async (
    request: IncomingMessage,
    socket: Duplex,
    named: string | undefined,
  ): Promise<Proof> => {
    const node = certifiedBy(socket);
    if (node !== undefined) {
      if (named !== undefined && named !== node.nodeId) {
        const reason = `the node's certificate is of node ${node.nodeId}, not of the one in ${nodeHeader}`;
        throw new GatewayError("permission_denied", { reason });
      }
      return { ...node, credential: "node certificate" };
    }
    if (named === undefined)
      throw new GatewayError("bad_request", { text: `${nodeHeader} must be a node's id` });
    const secret = bearerOf(readCredential(request));
    if (secret === undefined || !(await mayJoin(secret, named)))
      throw new GatewayError("permission_denied");
    return {
      nodeId: named,
      credential: "join token",
      mayStay: () => mayStay(secret, named),
    };
  };

  /** Rejects with what the hello is refused with; it is told. */
  const admit = async (request: IncomingMessage, socket: Duplex, from: string): Promise<Proof> => {
    const named = namedBy(request);
    let nodeId = named;
    try {
      const proof = await prove(request, socket, named);
      nodeId = proof.nodeId;
      hub.admit(nodeId);
      return proof;
    } catch (error) {
      const { code, facts } = toGatewayError(error);
      if (code !== "bad_request")
        told({ kind: "tunnel_refused", nodeId: nodeId ?? "", from, reason: facts.reason ?? code });
      throw error;
    }
  };

  const take = async (request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> => {
    if (head.length > 0)
      throw new GatewayError("bad_request", { text: "nothing may follow before the answer" });
    checkForm(request);
    const from = addressOf(request);
    const proof = await admit(request, socket, from);
    const { nodeId } = proof;
    if (await hasLeft(socket)) {
      log.debug({ node: nodeId, from }, "an agent has left before its hello was answered");
      socket.destroy();
      return;
    }
    const begin = (): void => {
      try {
        hub.admit(nodeId); // again: time has passed
        hub.accept({ ...proof, socket, from });
      } catch {
        socket.destroy(); // it was let in, so its agent dials again, and is told then
      }
    };
    // node aborts the process when HTTP/2 is given a socket that is still being written to, as one with TLS is
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${tunnelProtocol}\r\nX-Serai-Node: ${nodeId}\r\n\r\n`,
      (error) => {
        if (!error && !socket.destroyed) begin();
      },
    );
  };

  const refused = (error: unknown, socket: Duplex): void => {
    observe.helloRefused(refusalOf(error));
    const { status, words } = toGatewayError(error);
    if (error instanceof OtherVersion) refuse(socket, 426, `this gateway speaks ${tunnelProtocol}`);
    else refuse(socket, status, words);
  };

  return {
    isHello: ({ url }) => url?.split("?", 1)[0] === tunnelPath,
    take(request, socket, head) {
      socket.on("error", () => socket.destroy());
      take(request, socket, head).catch((error: unknown) => refused(error, socket));
    },
  };
};
