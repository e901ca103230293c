/** One header out of a raw list: what node:http's own list of all headers says. */
import assert from "node:assert/strict";
import { IncomingMessage } from "node:http";
import { Socket } from "node:net";
import { test } from "node:test";
import fc from "fast-check";
import { sentValues } from "../../src/http/sent.ts";

test("a header's values are those that node:http lists, in any case and order", () => {
  const name = fc.constantFrom(
    "Host",
    "host",
    "HOST",
    "X-Nomad-Token",
    "x-nomad-tokem",
    "Hosts",
    "Authorization",
    "__proto__",
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(name, fc.string())), (pairs) => {
      const message = new IncomingMessage(new Socket());
      message.rawHeaders = pairs.flat();
      for (const sought of ["host", "x-nomad-token", "authorization", "hosts"]) {
        const all = pairs
          .filter(([sent]) => sent.toLowerCase() === sought)
          .map(([, value]) => value);
        assert.deepEqual(sentValues(message, sought), all);
      }
    }),
  );
});
