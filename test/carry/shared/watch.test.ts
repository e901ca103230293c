/** A viewer that nobody shares its log with. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { faultyAgent } from "../../support/faulty-agent.ts";
import { get, rawClient } from "../../support/raw-client.ts";
import { eventually, front, nodeAt, pathOf } from "../front.ts";
import { entered, head, told } from "./records-answer.ts";

for (const plain of [false, true])
  test(`a lone viewer of an agent that falls silent is cut, with plain=${plain}`, async () => {
    await using agent = await faultyAgent(({ socket }) =>
      socket.write(Buffer.concat([Buffer.from(head), entered, told("abc", 3)])),
    );
    const limits = { followSilenceMs: 500 };
    await using gate = await front({ route: "fs.logs", node: nodeAt(agent.address), limits });
    const client = rawClient(gate.port, get(`${pathOf("fs.logs")}&plain=${plain}`));
    await eventually(() => client.socket.closed, true);
    assert.equal((await client.answer()).end, "cut");
    assert.equal((await gate.ended()).error?.code, "upstream_timeout");
  });
