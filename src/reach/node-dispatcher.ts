/** A plain undici agent to any node, for what the gateway itself asks (allocations, metadata): the address policy holds here too. */
import { Agent } from "undici";
import { nodeOfTunnelAddress } from "../tunnel/protocol.ts";
import { type AddressPolicy, createPolicy } from "./address.ts";
import { type Connector, createConnector, type Peer, type TlsOptions } from "./connector.ts";
import { type Tunnels, tunnelled } from "./tunnelled.ts";

export interface NodeDispatcherOptions {
  readonly addresses: AddressPolicy;
  readonly connectTimeoutMs: number;
  readonly tls: TlsOptions | undefined;
  /** Of agents that dial out; undefined: none may. */
  readonly tunnels?: Tunnels | undefined;
}

const defaultPort = (protocol: string): number => (protocol === "https:" ? 443 : 80);

/** Closed by who made it. */
export const createNodeDispatcher = (options: NodeDispatcherOptions): Agent => {
  const policy = createPolicy(options.addresses);
  const { tunnels, tls } = options;
  const connectorTo = (peer: Peer, host: string, port: number): Connector => {
    const nodeId = nodeOfTunnelAddress(host);
    return nodeId === undefined || tunnels === undefined
      ? createConnector(peer, { host, port }, { ...options, policy })
      : tunnelled({ tunnels, nodeId, peer, direct: undefined, waits: true, tls });
  };
  return new Agent({
    allowH2: false,
    connect: ({ hostname, port, protocol }, callback) => {
      const host = hostname.replace(/^\[|\]$/g, "");
      const peer = { named: { node: host }, tls: protocol === "https:" };
      connectorTo(peer, host, Number(port) || defaultPort(protocol)).connect((error, socket) => {
        if (socket) callback(null, socket);
        else callback(error ?? new Error("no connection"), null);
      });
    },
  });
};
