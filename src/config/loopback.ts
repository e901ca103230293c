import { BlockList, isIP } from "node:net";

const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addAddress("::1", "ipv6");

/** True when only this machine can connect to a listener there. A name other than `localhost` is taken as outside. */
export const isLoopback = (host: string): boolean => {
  const bare = host.replace(/^\[|\]$/g, "");
  const version = isIP(bare);
  if (version === 0) return bare.toLowerCase() === "localhost";
  return loopback.check(bare, version === 4 ? "ipv4" : "ipv6");
};
