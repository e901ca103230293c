/**
 * What clients ask of "the agent they talk to" (nomad-http.md §11). The gateway is a server to them and no client:
 * `-self` flags learn from the missing `stats.client` that there is no node here.
 */
import os from "node:os";
import { failed, GatewayError } from "../../errors.ts";
import { hostOf } from "../../lib/addresses.ts";
import { stringifyJson } from "../../lib/json.ts";
import type { Answer } from "../../ports.ts";
import type { Answering, AnswerNeeds, AnswerOptions, Self } from "./needs.ts";

const portOf = ({ address }: Self): number => Number(/:(\d+)$/.exec(address)?.[1] ?? 0);

/** The gateway as a member of Nomad's gossip, in the numbers Nomad's own servers give. */
const memberOf = (self: Self): object => ({
  Name: `${self.name}.${self.region}`,
  Addr: hostOf(self.address),
  Port: portOf(self),
  Tags: {
    role: "nomad",
    region: self.region,
    dc: self.datacenter,
    build: self.version,
    id: self.name,
    port: String(portOf(self)),
    rpc_addr: hostOf(self.address),
    expect: "1",
    bootstrap: "1",
    vsn: "1",
    raft_vsn: "3",
    revision: "",
  },
  Status: "alive",
  ProtocolMin: 1,
  ProtocolMax: 5,
  ProtocolCur: 2,
  DelegateMin: 2,
  DelegateMax: 5,
  DelegateCur: 4,
});

const configOf = (self: Self): object => ({
  ACL: { Enabled: true },
  AdvertiseAddrs: { HTTP: self.address, RPC: self.address, Serf: "" },
  BindAddr: hostOf(self.address),
  Client: { Enabled: false },
  Datacenter: self.datacenter,
  NodeName: self.name,
  Ports: { HTTP: portOf(self), RPC: portOf(self), Serf: 0 },
  Region: self.region,
  Server: { Enabled: true },
  UI: { Enabled: false, ShowCLIHints: false },
  Version: {
    BuildDate: null,
    Revision: "",
    Version: self.version,
    VersionMetadata: "serai",
    VersionPrerelease: "",
  },
});

const statsOf = (self: Self): object => ({
  nomad: {
    server: "true",
    leader: "true",
    leader_addr: self.address,
    bootstrap: "true",
    known_regions: "1",
  },
  runtime: {
    version: process.version,
    arch: os.arch(),
    cpu_count: String(os.availableParallelism()),
    "kernel.name": os.platform(),
  },
});

export const readAgent =
  ({ self }: AnswerNeeds): Answer =>
  () => ({
    document: { config: configOf(self), member: memberOf(self), stats: statsOf(self) },
  });

/** `ok: false` is a 500 whose text is JSON, as Nomad's. */
export const readHealth =
  ({ unwell = () => undefined }: AnswerOptions): Answer =>
  ({ raw }) => {
    if (raw.get("type")?.[0] === "client")
      throw failed(stringifyJson({ client: { ok: false, message: "client not enabled" } }));
    const reason = unwell();
    if (reason !== undefined)
      throw failed(stringifyJson({ server: { ok: false, message: reason } }));
    return { document: { server: { message: "ok", ok: true } } };
  };

export const listMembers =
  ({ self }: AnswerNeeds): Answering =>
  () => ({
    document: {
      ServerName: self.name,
      ServerRegion: self.region,
      ServerDC: self.datacenter,
      Members: [memberOf(self)],
    },
  });

export const readLeader =
  ({ self }: AnswerNeeds): Answering =>
  () => ({ document: self.address });

export const listPeers =
  ({ self }: AnswerNeeds): Answering =>
  () => ({ document: [self.address] });

/** Only a client agent has servers to tell; Nomad's own servers say so with these words, whatever the method. */
export const refuseServers = (): Answer => () => {
  throw new GatewayError("no_client");
};

export const listRegions =
  ({ self }: AnswerNeeds): Answering =>
  () => ({ document: [self.region] });
