/**
 * Opens the agent's half of an exec. Only a checked 101 makes a socket; any other answer is a refusal in our words, and
 * not a byte more is sent on that connection.
 */
import type { ClientRequest, IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { WebSocket } from "ws";
import { failed, GatewayError, invalidRequest, notFound, toGatewayError } from "../errors.ts";
import { maxFragments } from "../lib/web-socket.ts";
import type { Exchange, Reach } from "../ports.ts";
import type { Limits } from "./carriage.ts";
import { refusesToken, unknownAllocation } from "./collect.ts";
import { allToAgent } from "./headers.ts";
import { execPath } from "./request.ts";
import { brokenOff } from "./ways.ts";

const refusal = (status: number, text: string, node: string): GatewayError => {
  if (status === 403 || refusesToken(text)) return new GatewayError("permission_denied");
  if (status === 404) return unknownAllocation(text, node) ?? notFound(text);
  if (status === 400) return invalidRequest(text);
  if (status === 500) return failed(text);
  return new GatewayError("upstream_invalid", { node, reason: `status ${status} to an upgrade` });
};

/** The text of a refusal, as far as a close frame could carry it. */
const maxTextBytes = 1024;

const readText = (response: IncomingMessage, then: (text: string) => void): void => {
  const chunks: Buffer[] = [];
  let bytes = 0;
  const done = (): void => then(Buffer.concat(chunks).toString().slice(0, maxTextBytes));
  response.on("error", () => undefined); // the end below comes either way
  response.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes <= maxTextBytes) chunks.push(chunk);
    else response.destroy();
  });
  response.once("close", done);
};

const optionsOf = (exchange: Exchange, socket: Duplex, limits: Limits) => ({
  // ws hands the socket to http.request, which needs a Duplex; its types know net.Socket alone
  createConnection: () => socket as Socket,
  headers: allToAgent(exchange),
  maxPayload: limits.maxMessageBytes,
  maxFragments,
  perMessageDeflate: false,
  followRedirects: false,
  closeTimeout: limits.closeMs,
});

const upgraded = (socket: WebSocket, signal: AbortSignal, node: string): Promise<WebSocket> =>
  new Promise((resolve, reject) => {
    const fail = (error: GatewayError): void => {
      signal.removeEventListener("abort", onAbort);
      reject(error);
      socket.terminate();
    };
    const onAbort = (): void => fail(toGatewayError(signal.reason, signal, node));
    let refused = false;
    const onRefused = (request: ClientRequest, response: IncomingMessage): void => {
      refused = true; // from here on the status decides, however its text ends
      readText(response, (text) => {
        fail(refusal(response.statusCode ?? 0, text, node));
        request.destroy();
      });
    };
    signal.addEventListener("abort", onAbort);
    socket.on("unexpected-response", onRefused);
    socket.on("error", (error) => {
      if (!refused) fail(handshakeError(error, node));
    });
    socket.once("open", () => {
      socket.pause(); // here, or a message that came with the 101 is lost before anybody listens
      signal.removeEventListener("abort", onAbort);
      resolve(socket);
    });
  });

/** ws gives its handshake faults no codes: what is no socket's errno is an improper answer or a silent agent. */
const handshakeError = (error: Error, node: string): GatewayError => {
  const named = brokenOff(toGatewayError(error, undefined, node), error);
  if (named.code !== "internal") return named;
  return new GatewayError(
    "upstream_invalid",
    { node, reason: "not a proper upgrade" },
    { cause: error },
  );
};

/** An open socket to the agent, paused: nothing is lost before someone listens. Rejects with a GatewayError. */
export const dial = async (
  exchange: Exchange,
  reach: Reach,
  limits: Limits,
  signal: AbortSignal,
): Promise<WebSocket> => {
  const path = execPath(exchange);
  const node = reach.node.name;
  const connection = await reach.connect(signal);
  const timer = setTimeout(
    () =>
      connection.destroy(
        new GatewayError("upstream_timeout", { node, limit: `${limits.handshakeMs / 1000} s` }),
      ),
    limits.handshakeMs,
  );
  try {
    const url = `${reach.origin.replace(/^http/, "ws")}${path}`;
    return await upgraded(
      new WebSocket(url, optionsOf(exchange, connection, limits)),
      signal,
      node,
    );
  } catch (error) {
    connection.destroy();
    throw error;
  } finally {
    clearTimeout(timer);
  }
};
