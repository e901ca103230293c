/**
 * Which addresses the gateway may dial (an agent's address is the agent's own word). Pure: it judges a parsed address;
 * names are judged again when they are resolved, and the address that was judged is the address that is dialled.
 */
import { isIP } from "node:net";
import { addressTest } from "../lib/addresses.ts";

export interface AddressPolicy {
  /** CIDR ranges; empty allows every address that is not refused. */
  readonly allow: readonly string[];
  readonly deny: readonly string[];
  /** True only where the gateway itself listens on loopback. */
  readonly loopback: boolean;
}

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

export type Judged<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly reason: string };

const no = (reason: string): { readonly ok: false; readonly reason: string } => ({
  ok: false,
  reason,
});

/* ---- ranges ---- */

/** Never an agent: this host, link-local and cloud metadata, multicast, reserved. */
const isRefused = addressTest([
  "0.0.0.0/8", "169.254.0.0/16", "100.100.100.200/32", "192.0.0.0/24", "224.0.0.0/4", "240.0.0.0/4",
  "::/128", "fe80::/10", "fec0::/10", "ff00::/8", "fd00:ec2::254/128",
]); // biome-ignore format: a row

const isLoopback = addressTest(["127.0.0.0/8", "::1/128"]);

/* ---- IPv4 in IPv6's clothes ---- */

const isMapped = addressTest(["::ffff:0:0/96", "::/96", "64:ff9b::/96"]);

/** The sixteen bits groups of an IPv6 address that `isIP` has accepted. */
const groupsOf = (address: string): readonly number[] => {
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address);
  const text = dotted
    ? `${dotted[1]}${((Number(dotted[2]) << 8) | Number(dotted[3])).toString(16)}:${((Number(dotted[4]) << 8) | Number(dotted[5])).toString(16)}`
    : address;
  const [head = "", tail] = text.split("::");
  const parse = (part: string): number[] =>
    part === "" ? [] : part.split(":").map((group) => Number.parseInt(group, 16));
  const before = parse(head);
  const after = tail === undefined ? [] : parse(tail);
  return [...before, ...new Array<number>(8 - before.length - after.length).fill(0), ...after];
};

const maxSpecial = 1; // ::0 and ::1 are IPv6's own

/** The IPv4 address inside a mapped, compatible or NAT64 form; other addresses as they are. */
export const plainAddress = (address: string): string => {
  if (isIP(address) !== 6 || !isMapped(address)) return address;
  const groups = groupsOf(address);
  const [high = 0, low = 0] = groups.slice(6);
  const isSpecial = groups.slice(0, 7).every((group) => group === 0) && low <= maxSpecial;
  if (isSpecial) return address;
  return [high >> 8, high & 255, low >> 8, low & 255].join(".");
};

/* ---- ports ---- */

const maxPort = 65_535;
const firstOpenPort = 1024;
const webPorts: ReadonlySet<number> = new Set([80, 443]);
/** Docker, etcd, databases, caches, Nomad's own servers: an agent does not answer there. */
const otherServices: ReadonlySet<number> = new Set([
  2375, 2376, 2379, 2380, 3306, 4647, 4648, 5432, 6379, 6443, 8300, 9200, 10_250, 11_211, 26_379, 27_017,
]); // biome-ignore format: a row

const portFault = (port: number): string | undefined => {
  if (port < 1 || port > maxPort) return "its port is not a port";
  if (port < firstOpenPort && !webPorts.has(port)) return `port ${port} belongs to another service`;
  return otherServices.has(port) ? `port ${port} belongs to another service` : undefined;
};

/* ---- the whole ---- */

const nameForm =
  /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/i;
/** `2130706433` and `0x7f.1` are read as addresses by resolvers. */
const numericLabel = /(?:^|\.)(?:\d+|0x[0-9a-f]*)$/i;

/** Splits `host:port` or `[v6]:port`. */
export const parseAddress = (text: string): Judged<HostPort> => {
  if (text === "") return no("it has no address");
  const form = /^(?:\[([0-9a-f:.]+)\]|([^[\]:%/@\s]+)):(\d{1,5})$/i.exec(text);
  if (form === null) return no("it is not host:port");
  const host = form[1] ?? form[2] ?? "";
  if (form[1] !== undefined && isIP(host) !== 6) return no("it is not host:port");
  if (isIP(host) === 0 && (!nameForm.test(host) || numericLabel.test(host)))
    return no("its host is neither an address nor a name");
  return { ok: true, value: { host, port: Number(form[3]) } };
};

export interface Policy {
  /** Judges one IP address. undefined: it may be dialled. */
  readonly fault: (ip: string) => string | undefined;
  /** Judges `host:port` as it is announced; a name passes until it is resolved. */
  readonly check: (address: string) => Judged<HostPort>;
}

/** Throws RangeError for a range that is none. */
export const createPolicy = (options: AddressPolicy): Policy => {
  const isAllowed = addressTest(options.allow);
  const isDenied = addressTest(options.deny);
  const fault = (ip: string): string | undefined => {
    const address = plainAddress(ip);
    if (isIP(address) === 0 || address.includes("%")) return "it is not a plain address";
    if (isRefused(address)) return `${address} is not a node's address`;
    if (isDenied(address)) return `${address} is denied`;
    if (isLoopback(address))
      return options.loopback ? undefined : `${address} is the gateway itself`;
    return options.allow.length > 0 && !isAllowed(address)
      ? `${address} is not allowed`
      : undefined;
  };
  const check = (text: string): Judged<HostPort> => {
    const parsed = parseAddress(text);
    if (!parsed.ok) return parsed;
    const { host, port } = parsed.value;
    const reason = portFault(port) ?? (isIP(host) === 0 ? undefined : fault(host));
    return reason === undefined ? parsed : no(reason);
  };
  return { fault, check };
};

/** For registration: why `host:port` may not be dialled, undefined when it may. */
export const checkAddress = (address: string, policy: AddressPolicy): string | undefined => {
  const judged = createPolicy(policy).check(address);
  return judged.ok ? undefined : judged.reason;
};
