/** Every setting of `serai connect`, a row each. */
import { hostname } from "node:os";
import type { z } from "zod";
import {
  duration,
  durationOrZero,
  filePath,
  flag,
  hostPort,
  integer,
  nodeId,
  plainName,
  secretText,
  servers,
} from "./kinds.ts";
import { logRows } from "./log-rows.ts";
import {
  type Document,
  list,
  optional,
  required,
  secret,
  section,
  setting,
  shownAs,
} from "./settings.ts";
import { type Check, doubles, faultsOf } from "./sound.ts";
import { inTheClear, isHalf, withoutTls } from "./tls-checks.ts";

// biome-ignore format: a table
export const connectRows = section("The connector: keeps a tunnel to a gateway for each Nomad agent beside it", {
  name: shownAs("the host's name", setting(plainName, hostname(), "what its log calls it")),
  gateways: required(servers, "gateways to keep a tunnel to, in turn"),
  cleartext: setting(flag, false, "lets a tunnel to another machine go without TLS: whoever listens on the way can read and write everything"),
  join_token: secret(optional(secretText, "proves that its nodes may be joined; `serai token join` prints one")),
  ca_file: optional(filePath, "authorities of the gateways' certificates; the system's without it"),
  agents: list("The agents that tunnels lead to, and nowhere else", {
    node_id: required(nodeId, "the node's id; `nomad node status -self` prints it, and `client/client-id` in Nomad's data_dir holds it"),
    address: setting(hostPort, "127.0.0.1:4646", "where the agent's HTTP API listens, as seen from here"),
    cert_file: optional(filePath, "the node's certificate, which proves it in place of the join token; read for each tunnel"),
    key_file: optional(filePath, "its private key"),
  }),
  connect_timeout: setting(duration, "2s", "an agent that has not taken a connection by then gives none"),
  max_connections: setting(integer(1, 1_000), 100, "connections to one agent; Nomad's own default is that it admits 100 of one address"),
  drain: setting(durationOrZero, "10s", "how long open connections may go on at SIGTERM"),
  log: logRows,
});

export type ConnectConfig = z.output<typeof connectRows.schema>;

const agentChecks: readonly Check<[ConnectConfig["agents"][number], path: string]>[] = [
  ({ address }, path) => address.port === 0 && `${path}.address: must have a port`,
  (agent, path) =>
    isHalf(agent) && `${path}.cert_file: needs key_file beside it, and the other way round`,
];

const checks: readonly Check<[ConnectConfig]>[] = [
  ({ gateways }) => gateways.length === 0 && "gateways: needs at least one",
  ({ cleartext, gateways }) =>
    (cleartext ? [] : inTheClear(gateways)).map(
      (host) => `gateways: ${host} is another machine; use https, or set cleartext`,
    ),
  ({ agents }) => agents.length === 0 && "agents: needs at least one",
  ({ agents }) =>
    doubles(agents.map(({ nodeId }) => nodeId.toLowerCase())).map(
      (id) => `agents: two are node ${id}`,
    ),
  ({ agents }) => agents.flatMap((agent, at) => faultsOf(agentChecks, agent, `agents.${at}`)),
  ({ agents, gateways }) =>
    (agents.some(({ certFile }) => certFile !== undefined) ? withoutTls(gateways) : []).map(
      (host) => `gateways: ${host} is without TLS, where no certificate can be shown`,
    ),
];

export const connectDocument: Document<ConnectConfig> = {
  kind: "connect",
  prefix: "SERAI_CONNECT",
  root: connectRows,
  faults: (config) => faultsOf(checks, config),
  warnings: ({ joinToken, agents }) =>
    joinToken === undefined
      ? agents
          .filter(({ certFile }) => certFile === undefined)
          .map(
            ({ nodeId }) =>
              `node ${nodeId} has neither join_token nor cert_file: the gateway will not let it join`,
          )
      : [],
};
