/** The address policy against hostile rows: what an agent says is its address decides whom the gateway dials. */
import assert from "node:assert/strict";
import { isIP } from "node:net";
import { test } from "node:test";
import fc from "fast-check";
import {
  type AddressPolicy,
  checkAddress,
  createPolicy,
  parseAddress,
  plainAddress,
} from "../../src/reach/address.ts";

const open: AddressPolicy = { allow: [], deny: [], loopback: false };
const local: AddressPolicy = { ...open, loopback: true };
const strict: AddressPolicy = {
  allow: ["10.0.0.0/8", "fd00:1::/32"],
  deny: ["10.9.0.0/16"],
  loopback: false,
};

const rows: readonly (readonly [address: string, policy: AddressPolicy, refused: RegExp | undefined])[] = [
  ["10.1.2.3:4646", open, undefined],
  ["192.168.1.1:32000", open, undefined],
  ["[2001:db8::1]:4646", open, undefined],
  ["node-1.example:4646", open, undefined],
  ["nginx:443", open, undefined],
  ["127.0.0.1:4646", open, /the gateway itself/],
  ["127.9.9.9:4646", open, /the gateway itself/],
  ["[::1]:4646", open, /the gateway itself/],
  ["[::ffff:127.0.0.1]:4646", open, /the gateway itself/],
  ["[::ffff:7f00:1]:4646", open, /the gateway itself/],
  ["[0:0:0:0:0:ffff:7f00:1]:4646", open, /the gateway itself/],
  ["[64:ff9b::7f00:1]:4646", open, /the gateway itself/],
  ["[::127.0.0.1]:4646", open, /the gateway itself/],
  ["127.0.0.1:4646", local, undefined],
  ["[::1]:4646", local, undefined],
  ["169.254.169.254:80", local, /not a node's address/],
  ["[::ffff:169.254.169.254]:80", local, /not a node's address/],
  ["[::ffff:a9fe:a9fe]:80", local, /not a node's address/],
  ["[64:ff9b::a9fe:a9fe]:80", local, /not a node's address/],
  ["169.254.0.1:4646", open, /not a node's address/],
  ["100.100.100.200:80", open, /not a node's address/],
  ["0.0.0.0:4646", local, /not a node's address/],
  ["[::]:4646", local, /not a node's address/],
  ["224.0.0.1:4646", open, /not a node's address/],
  ["255.255.255.255:4646", open, /not a node's address/],
  ["[ff02::1]:4646", open, /not a node's address/],
  ["[fe80::1]:4646", open, /not a node's address/],
  ["[fe80::1%eth0]:4646", open, /not host:port/],
  ["[fd00:ec2::254]:80", open, /not a node's address/],
  ["10.1.2.3:22", open, /port 22 belongs/],
  ["10.1.2.3:6379", open, /port 6379 belongs/],
  ["10.1.2.3:4647", open, /port 4647 belongs/],
  ["10.1.2.3:0", open, /not a port/],
  ["10.1.2.3:65536", open, /not a port/],
  ["10.1.2.3:99999", open, /not a port/],
  ["10.1.2.3:123456", open, /not host:port/],
  ["10.1.2.3", open, /not host:port/],
  ["10.1.2.3:", open, /not host:port/],
  ["10.1.2.3:4646/x", open, /not host:port/],
  ["a@10.1.2.3:4646", open, /not host:port/],
  ["http://10.1.2.3:4646", open, /not host:port/],
  ["2130706433:4646", open, /neither an address nor a name/],
  ["0x7f.1:4646", open, /neither an address nor a name/],
  ["127.1:4646", open, /neither an address nor a name/],
  ["0177.0.0.1:4646", open, /neither an address nor a name/],
  ["10.1.2.3.:4646", open, /neither an address nor a name/],
  ["a..b:4646", open, /neither an address nor a name/],
  ["-a:4646", open, /neither an address nor a name/],
  ["a_b:4646", open, /neither an address nor a name/],
  ["a b:4646", open, /not host:port/],
  ["a\r\nb:4646", open, /not host:port/],
  ["a\0b:4646", open, /neither an address nor a name/],
  [`${"a".repeat(254)}:4646`, open, /neither an address nor a name/],
  ["", open, /no address/],
  ["10.1.2.3:4646", strict, undefined],
  ["10.9.2.3:4646", strict, /denied/],
  ["11.1.2.3:4646", strict, /not allowed/],
  ["[::ffff:10.1.2.3]:4646", strict, undefined],
  ["[::ffff:11.1.2.3]:4646", strict, /not allowed/],
  ["[fd00:1::5]:4646", strict, undefined],
  ["[fd00:2::5]:4646", strict, /not allowed/],
]; // biome-ignore format: a table

for (const [address, policy, refused] of rows)
  test(`${JSON.stringify(address.slice(0, 60))} is ${refused ? "refused" : "allowed"} (${policy.allow.length > 0 ? "ranges" : policy.loopback ? "loopback" : "open"})`, () => {
    const fault = checkAddress(address, policy);
    if (refused === undefined) assert.equal(fault, undefined);
    else assert.match(fault ?? "allowed", refused);
  });

test("a range that is none is refused when the policy is made", () => {
  assert.throws(() => createPolicy({ ...open, deny: ["10.0.0.0/8", "nonsense"] }), RangeError);
  assert.throws(() => createPolicy({ ...open, allow: ["10.0.0.0/33"] }), RangeError);
});

test("every spelling of an IPv4 address inside IPv6 is judged as that address", () => {
  const { fault } = createPolicy(open);
  fc.assert(
    fc.property(fc.ipV4(), (address) => {
      const [a = 0, b = 0, c = 0, d = 0] = address.split(".").map(Number);
      const high = ((a << 8) | b).toString(16);
      const low = ((c << 8) | d).toString(16);
      const spellings = [
        `::ffff:${address}`,
        `::ffff:${high}:${low}`,
        `0:0:0:0:0:ffff:${high}:${low}`,
        `64:ff9b::${address}`,
      ];
      for (const spelling of spellings) {
        assert.equal(plainAddress(spelling), address);
        assert.equal(fault(spelling), fault(address));
      }
    }),
  );
});

test("no text makes the policy throw, and what it allows has a host and a port", () => {
  const { check } = createPolicy(open);
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.ipV6().map((ip) => `[${ip}]:4646`),
        fc.webAuthority(),
      ),
      (text) => {
        const judged = check(text);
        if (!judged.ok) return;
        assert.ok(judged.value.port > 0 && judged.value.port < 65_536);
        assert.ok(isIP(judged.value.host) > 0 || /^[a-z0-9.-]+$/i.test(judged.value.host));
      },
    ),
  );
  assert.equal(parseAddress("[::1]x:1").ok, false);
});
