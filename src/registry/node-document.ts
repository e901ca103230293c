/**
 * Nomad's node document as an agent announces it and as the state file keeps it: checked field by field, what unmodified
 * clients cannot do without filled in (nomad-clients.md §1.6).
 */
import type { NodeDocument } from "../documents.ts";
import { isJsonObject, isShallow, type Json, type JsonObject } from "../lib/json.ts";
import { isUuid } from "../lib/uuid.ts";
import { type Meta, toMeta } from "./meta.ts";

export type Checked<Value> =
  | { readonly ok: true; readonly value: Value }
  | { readonly ok: false; readonly fault: string };

const maxNameLength = 256;
const maxAttributes = 2_048;
const printable = /^[^\p{Cc}\p{Zl}\p{Zp}]*$/u;
const hostAndPort =
  /^(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?):(\d{1,5})$/;

const fault = (words: string): { readonly ok: false; readonly fault: string } => ({
  ok: false,
  fault: words,
});

/** `host:port` with a port that exists; IPv6 in brackets. */
const isAddress = (text: string): boolean => {
  const port = Number(hostAndPort.exec(text)?.[1] ?? 0);
  return text.length <= maxNameLength && port >= 1 && port <= 65_535;
};

const isName = (value: Json | undefined): value is string =>
  typeof value === "string" &&
  value.length <= maxNameLength &&
  value.isWellFormed() &&
  printable.test(value);

const textMap = (value: Json | undefined, max: number): Meta | undefined => {
  if (value === undefined || value === null) return {};
  if (!isJsonObject(value)) return undefined;
  const entries = Object.entries(value);
  if (entries.length > max) return undefined;
  const pairs = entries.filter((pair): pair is [string, string] => typeof pair[1] === "string");
  return pairs.length === entries.length ? Object.fromEntries(pairs) : undefined;
};

const isAmount = (value: Json | undefined): boolean => isJsonObject(value);

/** The CLI reads these through pointers that it does not check. */
const resources = (value: Json | undefined): JsonObject => {
  const given = isJsonObject(value) ? value : {};
  return {
    ...given,
    Cpu: isAmount(given["Cpu"]) ? (given["Cpu"] ?? null) : { CpuShares: 0 },
    Memory: isAmount(given["Memory"]) ? (given["Memory"] ?? null) : { MemoryMB: 0 },
    Disk: isAmount(given["Disk"]) ? (given["Disk"] ?? null) : { DiskMB: 0 },
  };
};

const optionalNames = ["Datacenter", "NodePool", "NodeClass"] as const;
const fallbacks = { Datacenter: "dc1", NodePool: "default", NodeClass: "" } as const;

const nameFault = (body: JsonObject): string | undefined => {
  if (!isName(body["Name"]) || body["Name"] === "")
    return "Name must be a text of 1 to 256 printable characters";
  const bad = optionalNames.find((field) => body[field] !== undefined && !isName(body[field]));
  return bad && `${bad} must be a text of at most 256 printable characters`;
};

const addressFault = (body: JsonObject): string | undefined => {
  const address = body["HTTPAddr"];
  if (typeof address !== "string" || !isAddress(address))
    return "HTTPAddr must be the host:port that the gateway shall dial";
  const tls = body["TLSEnabled"];
  return tls === undefined || typeof tls === "boolean" ? undefined : "TLSEnabled must be a bool";
};

const nameOf = (body: JsonObject, field: (typeof optionalNames)[number]): string => {
  const value = body[field];
  return typeof value === "string" ? value : fallbacks[field];
};

/** Nothing of it decides anything but id, names, address, attributes and metadata; the rest travels on as it came. */
export const checkNode = (body: Json | undefined, id: string): Checked<NodeDocument> => {
  if (!isJsonObject(body)) return fault("the announcement must be a JSON object: a Nomad node");
  if (!isUuid(id)) return fault("the node's id must be a lower-case UUID");
  if (body["ID"] !== id) return fault(`ID must be the node's id of the path, ${id}`);
  const bad = nameFault(body) ?? addressFault(body);
  if (bad !== undefined) return fault(bad);
  const attributes = textMap(body["Attributes"], maxAttributes);
  if (!attributes) return fault("Attributes must map texts to texts, at most 2048 of them");
  const meta = toMeta(body["Meta"] ?? {});
  if (!meta) return fault("Meta must map texts to texts, at most 512 of them and 256 KiB");
  if (!isShallow(body)) return fault("the announcement is nested too deeply");
  return {
    ok: true,
    value: {
      ...body,
      ID: id,
      Name: String(body["Name"]),
      Datacenter: nameOf(body, "Datacenter"),
      NodePool: nameOf(body, "NodePool"),
      NodeClass: nameOf(body, "NodeClass"),
      HTTPAddr: String(body["HTTPAddr"]),
      TLSEnabled: body["TLSEnabled"] === true,
      Attributes: attributes,
      Meta: meta,
      Drivers: isJsonObject(body["Drivers"]) ? body["Drivers"] : {},
      Events: Array.isArray(body["Events"]) ? body["Events"] : [],
      NodeResources: resources(body["NodeResources"]),
      ReservedResources: resources(body["ReservedResources"]),
      SecretID: "",
      Drain: false,
      DrainStrategy: null,
      SchedulingEligibility: "eligible",
      Status: "initializing",
      StatusDescription: "",
      CreateIndex: 0,
      ModifyIndex: 0,
    },
  };
};
