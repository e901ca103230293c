/** A plain undici agent to any node, for what the gateway itself asks (allocations, metadata): the address policy holds here too. */
import { Agent } from "undici";
import { type AddressPolicy, createPolicy } from "./address.ts";
import { createConnector, type TlsOptions } from "./connector.ts";

export interface NodeDispatcherOptions {
  readonly addresses: AddressPolicy;
  readonly connectTimeoutMs: number;
  readonly tls: TlsOptions | undefined;
}

const defaultPort = (protocol: string): number => (protocol === "https:" ? 443 : 80);

/** Closed by who made it. */
export const createNodeDispatcher = (options: NodeDispatcherOptions): Agent => {
  const policy = createPolicy(options.addresses);
  return new Agent({
    allowH2: false,
    connect: ({ hostname, port, protocol }, callback) => {
      const host = hostname.replace(/^\[|\]$/g, "");
      const node = { named: { node: host }, tls: protocol === "https:" };
      const address = { host, port: Number(port) || defaultPort(protocol) };
      createConnector(node, address, { ...options, policy }).connect((error, socket) => {
        if (socket) callback(null, socket);
        else callback(error ?? new Error("no connection"), null);
      });
    },
  });
};
