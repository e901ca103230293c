/** THE CONNECTOR: a tunnel for each agent beside this process, whichever program the agent is. */
import type { Closer, Log } from "../ports.ts";
import { createDialler, type DiallerOptions } from "./dialler.ts";
import { createForward, type ForwardOptions } from "./forward.ts";

export interface ConnectorOptions
  extends Pick<DiallerOptions, "gateways" | "joinToken" | "ca">,
    Pick<ForwardOptions, "connectTimeoutMs" | "maxConnections"> {
  readonly agents: readonly (Pick<ForwardOptions, "nodeId" | "address"> &
    Pick<DiallerOptions, "certificate">)[];
  /** How long `close` lets open connections go on. */
  readonly drainMs: number;
}

export interface TunnelConnector extends Closer {
  /** Tunnels that are open. */
  readonly tunnels: number;
  /** Connections through all of them. */
  readonly streams: number;
}

/** Runs until closed. */
export const createTunnelConnector = (
  { log }: { readonly log: Log },
  { agents, ...options }: ConnectorOptions,
): TunnelConnector => {
  const diallers = agents.map((agent) =>
    createDialler(
      { log, accept: createForward({ log }, { ...options, ...agent }) },
      { ...options, nodeId: agent.nodeId, certificate: agent.certificate },
    ),
  );
  return {
    get tunnels() {
      return diallers.filter(({ isOpen }) => isOpen).length;
    },
    get streams() {
      return diallers.reduce((total, { streams }) => total + streams, 0);
    },
    close: async (signal) => {
      await Promise.all(diallers.map((dialler) => dialler.close(signal)));
    },
  };
};
