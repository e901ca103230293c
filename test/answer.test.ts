/** The one writer of refusals, over a real socket, and what a close frame can carry. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { test } from "node:test";
import { toClose, writeError } from "../src/answer.ts";
import { errorCodes, failed, GatewayError } from "../src/errors.ts";

test("a node's name that is no text is written all the same", async () => {
  const server = createServer((_request, response) =>
    writeError(response, new GatewayError("no_path_to_node", { node: "a\ud800 b" })),
  );
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const at = server.address();
  const port = typeof at === "object" && at !== null ? at.port : 0;
  const answer = await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: "close" } });
  assert.equal(answer.status, 404);
  assert.equal(answer.headers.get("x-serai-node"), "a%EF%BF%BD%20b");
  assert.equal(await answer.text(), "No path to node");
  server.close();
  await once(server, "close");
});

for (const [what, words, reason] of [
  ["short words as they are", "task not found", "task not found"],
  ["123 bytes of them", "x".repeat(1_000_000), "x".repeat(123)],
  ["whole characters", "ж".repeat(100), "ж".repeat(61)],
] as const)
  test(`a close frame carries ${what}`, () => {
    assert.deepEqual(toClose(failed(words)), { code: 1011, reason });
  });

/** What the WebSocket library of Nomad's command line and SDK takes; of any other code they show the number, and no reason. */
const taken: ReadonlySet<number> = new Set([
  1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013,
]);

test("every close code is one whose reason Nomad's clients show", () => {
  const others = errorCodes.filter((code) => !taken.has(new GatewayError(code).close));
  assert.deepEqual(others, []);
});
