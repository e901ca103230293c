/** An agent of serai's sends the head of a plain followed log at once: one that sends none has fallen silent. */
import { test } from "node:test";
import { faultyAgent } from "../support/faulty-agent.ts";
import { get, rawClient } from "../support/raw-client.ts";
import { eventually, front, nodeAt, pathOf } from "./front.ts";

for (const plain of [false, true])
  test(`an agent of serai's that answers nothing is given up by the first byte, with plain=${plain}`, async () => {
    await using agent = await faultyAgent(() => undefined);
    await using gate = await front({
      route: "fs.logs",
      node: nodeAt(agent.address),
      agents: "serai",
      deadlineMs: 200,
    });
    const client = rawClient(gate.port, get(`${pathOf("fs.logs")}&plain=${plain}`));
    const statuses: (number | undefined)[] = [];
    void client.answer().then(({ status }) => statuses.push(status));
    try {
      await eventually(() => statuses[0], 504);
    } finally {
      client.socket.destroy();
    }
  });
