/** What becomes of a tunnel whose packets are lost, whole or one way, and of a gateway that stands still: checklist X23, X24. */
import assert from "node:assert/strict";
import { after, before, describe, type TestContext, test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import {
  connectionsAround,
  type Direction,
  publicPort,
  whyNoFirewall,
} from "../support/namespaces.ts";
import { shellWorkload, until } from "../support/processes.ts";
import { startWalled, type Walled } from "../support/walled.ts";
import type { ExecClient } from "../support/ws-client.ts";

const whyNot = whyNoFirewall();
if (process.env["CI"] === "1" && process.getuid?.() === 0) assert.equal(whyNot, undefined, whyNot);

/** How a followed log ended, and when. */
interface Outcome {
  readonly how: "whole" | "cut";
  readonly atMs: number;
}

interface Live {
  readonly log: Promise<Outcome>;
  readonly shell: ExecClient;
  /** Of the command, on the node. */
  readonly pid: number;
}

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false; // it is no more
  }
};

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

describe("a line that is cut", { skip: whyNot ?? false }, () => {
  let world: Walled;
  let busy = "";
  let idle = "";

  before(async () => {
    world = await startWalled([
      shellWorkload("busy", "n=0; while :; do n=$((n+1)); echo line $n; sleep 0.05; done"),
      shellWorkload("idle", "echo begun; exec sleep 1000"),
    ]);
    busy = await world.running("busy");
    idle = await world.running("idle");
  });
  after(async () => {
    await world[Symbol.asyncDispose]();
  });

  const tunnelsOpened = (): number =>
    world.agent.output.filter((line) => line.includes('"msg":"tunnel open"')).length;
  const tunnelsEnded = (): number =>
    world.agent.output.filter((line) => line.includes('"msg":"tunnel ended"')).length;

  /** A followed log and a command, both seen to run. */
  const begin = async (allocation: string, script: string): Promise<Live> => {
    const body = await world.follow(
      `/v1/client/fs/logs/${allocation}?task=main&type=stdout&follow=true&plain=true`,
    );
    const begun = Promise.withResolvers<void>();
    const read = async (): Promise<Outcome> => {
      try {
        for await (const _ of body) begun.resolve();
        return { how: "whole", atMs: performance.now() };
      } catch {
        return { how: "cut", atMs: performance.now() };
      }
    };
    const log = read();
    const shell = world.exec(allocation, ["/bin/sh", "-c", `echo pid $$ .; ${script}`]);
    await Promise.all([begun.promise, shell.seen(" .")]);
    const pid = Number(/pid (\d+) /.exec(shell.output("stdout").toString())?.[1]);
    assert.ok(isAlive(pid));
    return { log, shell, pid };
  };

  /** Both are cut, never ended, and the command on the node is ended. */
  const isCut = async (
    t: TestContext,
    live: Live,
    sinceMs: number,
    withinMs: number,
  ): Promise<void> => {
    const [log, shell] = await Promise.all([
      live.log,
      live.shell.closed.then((closed) => ({ ...closed, atMs: performance.now() })),
    ]);
    assert.equal(log.how, "cut");
    assert.equal(shell.code, 1011, shell.reason);
    assert.equal(live.shell.exitCode(), undefined);
    const ms = Math.max(log.atMs, shell.atMs) - sinceMs;
    t.diagnostic(`callers were told after ${seconds(ms)}`);
    assert.ok(ms <= withinMs, seconds(ms));
  };

  const agentGaveUp = async (t: TestContext, before: number, sinceMs: number): Promise<void> => {
    await until("the agent gives the tunnel up", () => tunnelsEnded() > before, 25_000);
    const ms = performance.now() - sinceMs;
    t.diagnostic(`the agent gave up after ${seconds(ms)}`);
    assert.ok(ms <= 20_000, seconds(ms));
  };

  /** The line carries again: one tunnel is soon there, and nothing is left of what was. */
  const isBack = async (t: TestContext, before: number, live: Live): Promise<void> => {
    const sinceMs = performance.now();
    await until("the tunnel is back", () => tunnelsOpened() > before);
    const ms = performance.now() - sinceMs;
    const answers = async (): Promise<boolean> =>
      (await world.ask(`/v1/client/fs/ls/${busy}?path=/alloc`)).status === 200;
    await until("its agent answers", answers);
    await Promise.all(["busy", "idle"].map((job) => world.running(job)));
    const answersMs = performance.now() - sinceMs;
    t.diagnostic(`the tunnel was back after ${seconds(ms)}, its agent after ${seconds(answersMs)}`);
    assert.ok(answersMs <= 5_000, seconds(answersMs));
    await until("the command is ended", () => !isAlive(live.pid));
    await until(
      "one tunnel",
      async () => (await world.figure('serai_tunnels{state="open"}')) === 1,
    );
    await until("few streams", async () => (await world.figure("serai_tunnel_streams")) <= 4);
    await until(
      () => `few connections, not ${connectionsAround(world.agent.pid, publicPort)}`,
      () => connectionsAround(world.agent.pid, publicPort) <= 4, // the tunnel, announcements, rights
    );
  };

  test("both ways, with data in flight, for half a minute", async (t) => {
    const live = await begin(
      busy,
      "while :; do head -c 20000 /dev/zero | tr '\\0' x; sleep 0.05; done",
    );
    const [opened, ended] = [tunnelsOpened(), tunnelsEnded()];
    const cutMs = performance.now();
    world.firewall.cut();
    await isCut(t, live, cutMs, 20_000);
    await agentGaveUp(t, ended, cutMs);
    await wait(30_000 - (performance.now() - cutMs)); // so long that pauses between dials would have grown
    assert.equal(tunnelsOpened(), opened);
    world.firewall.mend();
    await isBack(t, opened, live);
  });

  for (const direction of ["from agent", "to agent"] as const satisfies readonly Direction[])
    test(`one way, ${direction}, idle`, async (t) => {
      const live = await begin(idle, "exec sleep 1000");
      const [opened, ended] = [tunnelsOpened(), tunnelsEnded()];
      const cutMs = performance.now();
      world.firewall.lose(direction);
      await isCut(t, live, cutMs, 15_000);
      await agentGaveUp(t, ended, cutMs);
      world.firewall.pass(direction);
      await isBack(t, opened, live);
    });

  test("not at all, but the gateway stands still", async (t) => {
    const live = await begin(idle, "exec sleep 1000");
    const [opened, ended] = [tunnelsOpened(), tunnelsEnded()];
    const stoppedMs = performance.now();
    world.gateway.kill("SIGSTOP");
    await agentGaveUp(t, ended, stoppedMs);
    await until("the command is ended", () => !isAlive(live.pid));
    world.gateway.kill("SIGCONT");
    const goneOnMs = performance.now();
    await isBack(t, opened, live);
    await isCut(t, live, goneOnMs, 5_000);
  });
});
