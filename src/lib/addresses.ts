/** Addresses: how they are written with a port, and which ranges they lie in. */
import { BlockList, isIP } from "node:net";

/** `host:port`, IPv6 in brackets. */
export const authorityOf = (host: string, port: number): string =>
  host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;

/** The host of `host:port`, without the brackets of IPv6. */
export const hostOf = (authority: string): string =>
  authority.replace(/:\d*$/, "").replace(/^\[(.*)\]$/, "$1");

const familyOf = (address: string): "ipv4" | "ipv6" => (isIP(address) === 6 ? "ipv6" : "ipv4");

/** A predicate for `10.0.0.0/8`, `fd00::/8` or single addresses. Throws RangeError for a range that is none. */
export const addressTest = (ranges: readonly string[]): ((address: string) => boolean) => {
  const list = new BlockList();
  for (const range of ranges) {
    const [address = "", bits] = range.split("/");
    if (isIP(address) === 0) throw new RangeError(`not an address range: ${range}`);
    const family = familyOf(address);
    list.addSubnet(address, Number(bits ?? (family === "ipv6" ? 128 : 32)), family);
  }
  if (ranges.length === 0) return () => false;
  return (address) => isIP(address) !== 0 && list.check(address, familyOf(address));
};

const isLoopbackAddress = addressTest(["127.0.0.0/8", "::1/128"]);

/** True when only this machine can connect to a listener there. A name other than `localhost` is taken as outside. */
export const isLoopback = (host: string): boolean => {
  const bare = host.replace(/^\[|\]$/g, "");
  return isIP(bare) === 0 ? bare.toLowerCase() === "localhost" : isLoopbackAddress(bare);
};
