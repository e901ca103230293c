/**
 * The last step of the journey: moves the bytes between the caller and the agent, by the way that the route's row names.
 * Rejects with a GatewayError; a caller that already got a head has been cut by then.
 */
import { GatewayError, toGatewayError } from "../errors.ts";
import type { Carry, Clock, Exchange, Reach } from "../ports.ts";
import type { Agents, HttpCarriage, Limits } from "./carriage.ts";
import { createDownload } from "./download.ts";
import { follow } from "./follow.ts";
import { createShares, type Shares } from "./shared/shares.ts";
import { unary } from "./unary.ts";
import { overWays } from "./ways.ts";
import { websocket } from "./websocket.ts";

const kib = 1024;
const mib = 1024 * kib;

const defaults: Limits = {
  deadlinesMs: { first_byte: 10_000, action: 330_000 },
  maxDocumentBytes: 8 * mib,
  maxRefusalBytes: 64 * kib,
  stallMs: 60_000,
  followStallMs: 600_000,
  downloadSilenceMs: 60_000,
  quickMs: 100,
  lookMs: 1_000,
  followSilenceMs: 30_000,
  pingMs: 30_000,
  closeMs: 5_000,
  handshakeMs: 10_000,
  maxMessageBytes: mib,
  maxWaitingBytes: mib,
  maxHeldBytes: 256 * kib,
};

/** Carriage over HTTP and WebSocket. Holds nothing between exchanges, and so do `shares`: there is nothing to close. */
export const createCarry = (
  {
    clock,
    agents,
    shares = createShares(),
  }: { readonly clock: Clock; readonly agents: Agents; readonly shares?: Shares },
  options: Partial<Limits> = {},
): Carry => {
  const limits: Limits = { ...defaults, ...options };
  const carriages: Readonly<Record<"unary" | "download" | "follow", HttpCarriage>> = {
    unary,
    download: createDownload(),
    follow,
  };

  const overHttp = (exchange: Exchange, reach: Reach, carriage: HttpCarriage): Promise<void> => {
    const { tally, wire } = exchange;
    return overWays(reach, exchange.signal, (way) => {
      if (wire.kind !== "http") throw new GatewayError("internal", { reason: "wrong wire" });
      const { response } = wire;
      for (const name in way.headers) response.setHeader(name, way.headers[name] ?? "");
      return carriage({
        exchange,
        reach: way,
        tally,
        response,
        clock,
        limits,
        shares,
        agents,
      });
    });
  };

  const overSocket = async (exchange: Exchange, reach: Reach): Promise<void> => {
    try {
      await websocket({ exchange, reach, limits, clock });
    } catch (error) {
      // a session that is over has asked its signal already, and its socket's close has ended the exchange since
      if (error instanceof GatewayError) throw error;
      throw toGatewayError(error, exchange.signal, reach.node.name);
    }
  };

  return (exchange, reach) => {
    const { carriage } = exchange.route;
    if (carriage === "registry")
      return Promise.reject(new GatewayError("internal", { reason: "no carriage" }));
    if (carriage === "websocket") return overSocket(exchange, reach);
    return overHttp(exchange, reach, carriages[carriage]);
  };
};
