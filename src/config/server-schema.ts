/** Every setting of `serai server`, a row each. Limits and time-outs stand here and nowhere else. */
import type { z } from "zod";
import { isLoopback } from "../lib/addresses.ts";
import { issuerFaults, issuers } from "./issuers.ts";
import {
  duration,
  durationOrZero,
  filePath,
  flag,
  hostPort,
  integer,
  networks,
  oneOf,
  origins,
  plainName,
  secretText,
  servers,
  size,
  text,
} from "./kinds.ts";
import { logRows } from "./log-rows.ts";
import { type Document, optional, secret, section, setting } from "./settings.ts";
import { type Check, faultsOf } from "./sound.ts";
import { isHalf, tlsChecks } from "./tls-checks.ts";

// biome-ignore format: a table
export const serverRows = section("The gateway", {
  name: setting(plainName, "serai", "this gateway's name among others, in logs and in `agent/self`"),
  region: setting(plainName, "global", "the region it serves; part of its agents' TLS names"),
  datacenter: setting(plainName, "dc1", "its datacenter, as `agent/self` shows it"),
  data_dir: setting(filePath, ".serai/gateway", "where it keeps its state"),
  registry: setting(oneOf("embedded", "nomad"), "embedded", "where allocations and nodes come from: serai's own agents, or Nomad's servers"),
  nomad: section("Nomad's servers, when `registry` is nomad", {
    addresses: setting(servers, [], "servers (or agents) to ask, in order of preference; as http://host:port"),
    token: secret(optional(secretText, "the gateway's own ACL token: read-job in all namespaces and node read")),
    service_token: secret(optional(secretText, "what agents and servers are shown for callers with a JWT of `acl.jwt.issuers`, which they do not know; see docs/security.md")),
    ca_file: optional(filePath, "authorities of the servers' certificates; the system's without it"),
    cert_file: optional(filePath, "certificate shown to servers that ask for one; read again at SIGHUP"),
    key_file: optional(filePath, "its private key"),
    agent_connect: setting(duration, "1s", "connecting to an agent in front of a cluster, where `timeouts.connect` is for servers alone"),
    through_servers: setting(flag, true, "a request whose agent cannot be dialled goes through a server, which has a connection from each agent; false: 502"),
    mask_address: setting(flag, true, "`/v1/node/:id` gives the address the caller used, so that clients do not dial nodes"),
  }),
  http: section("The public listener", {
    listen: setting(hostPort, "127.0.0.1:4646", "where callers connect"),
    trust_proxy: setting(networks, [], "proxies whose X-Forwarded-For and -Proto are believed"),
    allowed_origins: setting(origins, [], "browser origins that may call; requests without Origin always may"),
  }),
  tls: section("TLS of the public listener; off without a certificate", {
    cert_file: optional(filePath, "certificate chain in PEM; read again at SIGHUP"),
    key_file: optional(filePath, "its private key in PEM"),
    client_ca_file: optional(filePath, "callers must show a certificate of these authorities"),
  }),
  tunnel: section("Agents that dial out", {
    client_ca_file: optional(filePath, "authorities of nodes' certificates, which prove a node in place of a join token; read again at SIGHUP, see docs/tunnel.md"),
  }),
  admin: section("The listener for metrics and health", {
    listen: setting(hostPort, "127.0.0.1:9464", "where Prometheus and probes connect; off loopback a token is needed"),
    token: secret(optional(secretText, "asked for as `Authorization: Bearer` by all but /livez and /readyz")),
  }),
  acl: section("Who may do what", {
    enabled: setting(flag, true, "false lets everyone do everything"),
    tokens_file: optional(filePath, "ACL tokens (their hashes); `serai token create` writes it"),
    policies_dir: optional(filePath, "one policy a file, `<name>.yaml` or `<name>.json`; `anonymous` is for callers without a token"),
    join_tokens_file: optional(filePath, "tokens that agents announce themselves with"),
    jwt: section("JSON Web Tokens", { issuers }),
  }),
  reach: section("The way to the agents", {
    allow: setting(networks, [], "networks agents may live in; when empty, anywhere but loopback, link-local, multicast and metadata addresses"),
    deny: setting(networks, [], "networks never dialled, whatever `allow` says"),
    ca_file: optional(filePath, "authorities of the agents' certificates; the system's without it"),
    cert_file: optional(filePath, "certificate shown to agents that ask for one; read again at SIGHUP"),
    key_file: optional(filePath, "its private key"),
  }),
  limits: section("Bounds; beyond one a request is refused, never queued without end", {
    max_header: setting(size("1KiB", "1MiB"), "16KiB", "header of a request"),
    max_body: setting(size("1KiB", "16MiB"), "64KiB", "body of a request"),
    max_sockets: setting(integer(16, 1_000_000), 16_384, "connections of all callers"),
    sockets_per_address: setting(integer(1, 1_000_000), 2048, "connections from one address; many callers may share one"),
    live_per_principal: setting(integer(1, 1_000_000), 256, "follows, downloads and execs of one caller at a time"),
    blocking_queries: setting(integer(1, 1_000_000), 4096, "blocking queries waiting at a time"),
    stream_buffer: setting(size("16KiB", "16MiB"), "256KiB", "bytes of an exec held for a slow peer, each direction; above it the other side is paused"),
    exec_message: setting(size("4KiB", "64MiB"), "1MiB", "one WebSocket message of an exec"),
    handshake: setting(duration, "5s", "time for the first message of an exec that brings its token there"),
    handshake_message: setting(size("1KiB", "1MiB"), "64KiB", "size of that message"),
    handshakes_per_address: setting(integer(1, 100_000), 64, "execs from one address whose token has not come yet"),
    max_allocations: setting(integer(1, 16_000_000), 2_000_000, "allocations in the directory"),
    max_nodes: setting(integer(1, 1_000_000), 20_000, "nodes in the directory"),
  }),
  timeouts: section("Waits; each ends", {
    headers: setting(duration, "5s", "a caller's whole header, from its first byte; and as long may a new connection say nothing"),
    request: setting(duration, "30s", "a caller's whole request"),
    keep_alive: setting(duration, "75s", "an idle connection; longer than the balancer's in front, or it sees resets"),
    tls_handshake: setting(duration, "10s", "a caller's TLS handshake"),
    connect: setting(duration, "2s", "connecting to an agent"),
    first_byte: setting(duration, "10s", "an agent's first byte of an answer"),
    action: setting(duration, "330s", "the answer to a restart or gc, which waits for processes to end"),
    idle: setting(duration, "60s", "a download, a list or an exec that makes no progress: its caller takes nothing of what waits for it, or its agent sends or takes nothing"),
    follow_idle: setting(duration, "10m", "a viewer of a followed log or file that takes nothing of what waits for it"),
    drain: setting(duration, "30s", "what is live at SIGTERM may go on for this long"),
    drain_delay: setting(durationOrZero, "5s", "not ready, but still accepting, after SIGTERM: time for balancers to notice"),
  }),
  node: section("Nodes", {
    down_after: setting(duration, "30s", "a node that said nothing for this long is down"),
  }),
  metadata: section("Node metadata", {
    interval: setting(duration, "10s", "changed metadata reaches the node registry once in this time"),
  }),
  audit: section("Who did what", {
    output: setting(text, "stdout", "`stdout`, or a file that is opened again at SIGHUP"),
    required: setting(flag, true, "not ready while audit records cannot be written"),
  }),
  log: logRows,
});

export type ServerConfig = z.output<typeof serverRows.schema>;

type Rule = Check<[ServerConfig]>;

const isNomad = ({ registry }: ServerConfig): boolean => registry === "nomad";

/** What no single row can say. Each mistake names the setting to change. */
const faults: readonly Rule[] = [
  (config) =>
    isNomad(config) &&
    config.nomad.addresses.length === 0 &&
    "nomad.addresses: must name at least one server when registry is nomad",
  (config) =>
    isNomad(config) &&
    config.acl.jwt.issuers.length > 0 &&
    config.nomad.serviceToken === undefined &&
    "nomad.service_token: is required when acl.jwt.issuers are set and registry is nomad, whose agents and servers do not know such JWTs",
  ({ nomad }) => isHalf(nomad) && "nomad.cert_file: needs nomad.key_file, and the other way round",
  ({ admin }) =>
    admin.token === undefined &&
    !isLoopback(admin.listen.host) &&
    "admin.token: is required when admin.listen is not a loopback address",
  ({ tls }) => faultsOf(tlsChecks, tls),
  ({ tls, tunnel }) =>
    tunnel.clientCaFile !== undefined &&
    tls.certFile === undefined &&
    "tunnel.client_ca_file: needs tls.cert_file and tls.key_file",
  ({ reach }) => isHalf(reach) && "reach.cert_file: needs reach.key_file, and the other way round",
  ({ timeouts }) =>
    timeouts.headersMs > timeouts.requestMs &&
    "timeouts.headers: must not be longer than timeouts.request",
  ({ http, admin }) =>
    http.listen.port !== 0 &&
    http.listen.port === admin.listen.port &&
    http.listen.host === admin.listen.host &&
    "admin.listen: must differ from http.listen",
  ({ acl }) => acl.jwt.issuers.flatMap(issuerFaults),
];

const warnings: readonly Rule[] = [
  ({ acl, http }) =>
    !acl.enabled &&
    !isLoopback(http.listen.host) &&
    "acl.enabled is false: whoever reaches http.listen may run commands on every node",
  (config) =>
    isNomad(config) &&
    (config.acl.tokensFile !== undefined || config.acl.policiesDir !== undefined) &&
    "acl.tokens_file and acl.policies_dir are not read when registry is nomad: its servers know tokens and policies",
  (config) =>
    isNomad(config) &&
    config.nomad.token === undefined &&
    "nomad.token is not set: the gateway asks the servers as anonymous",
  ({ nomad, acl }) =>
    nomad.serviceToken !== undefined &&
    acl.jwt.issuers.length === 0 &&
    "nomad.service_token is not used: no acl.jwt.issuers are set",
  (config) =>
    config.acl.enabled &&
    !isNomad(config) &&
    config.acl.tokensFile === undefined &&
    config.acl.jwt.issuers.length === 0 &&
    "acl.tokens_file and acl.jwt.issuers are not set: no token is known, every caller is anonymous",
  (config) =>
    !isNomad(config) &&
    config.acl.joinTokensFile === undefined &&
    config.tunnel.clientCaFile === undefined &&
    "neither acl.join_tokens_file nor tunnel.client_ca_file is set: no agent can join",
];

export const serverDocument: Document<ServerConfig> = {
  kind: "server",
  prefix: "SERAI",
  root: serverRows,
  faults: (config) => faultsOf(faults, config),
  warnings: (config) => faultsOf(warnings, config),
};
