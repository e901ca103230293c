/** Many viewers of one log, fed in several turns of the loop. */
import type { Socket } from "node:net";
import { test } from "node:test";
import { faultyAgent } from "../../support/faulty-agent.ts";
import { get, parseAnswer, rawClient } from "../../support/raw-client.ts";
import { eventually, front, nodeAt, pathOf } from "../front.ts";
import { chunk, entered, head, last, told } from "./records-answer.ts";

const viewers = 300;

test("all viewers end when the last piece and the end of their follow come in one read", async () => {
  /** Each with its beats: they make a viewer with a follow of its own look for the shared one. */
  const follows = new Map<Socket, NodeJS.Timeout>();
  await using agent = await faultyAgent(({ socket, head: asked }) => {
    const isPlace = /X-Serai-Form: place/i.test(asked);
    socket.write(Buffer.concat([Buffer.from(head), entered, isPlace ? last : told("abc", 3)]));
    if (isPlace) return;
    follows.set(
      socket,
      setInterval(() => socket.write(chunk("{}\n")), 50),
    );
    socket.once("close", () => {
      clearInterval(follows.get(socket));
      follows.delete(socket);
    });
  });
  await using gate = await front({ route: "fs.logs", node: nodeAt(agent.address) });
  const ask = get(`${pathOf("fs.logs")}&plain=true&until=dead`);
  const clients = [rawClient(gate.port, ask), rawClient(gate.port, ask)];
  const answers = () => clients.map((client) => parseAnswer(client.received()));
  const all = (text: string): boolean => answers().every(({ body }) => body.toString() === text);
  await eventually(() => agent.requests.length, 3);
  await eventually(() => follows.size, 1); // both are members
  while (clients.length < viewers) clients.push(rawClient(gate.port, ask));
  await eventually(() => all("abc"), true);
  await eventually(() => follows.size, 1);
  for (const [socket, beats] of follows) {
    clearInterval(beats);
    socket.write(Buffer.concat([told("def", 6), last]));
  }
  await eventually(() => all("abcdef"), true);
  await eventually(() => answers().filter(({ whole }) => whole).length, viewers);
  for (const { socket } of clients) socket.destroy();
});
