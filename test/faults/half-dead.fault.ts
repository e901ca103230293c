/** Half of the agents die, in two ways, while all are asked: what that is to those who ask the living ones. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Agent, request } from "undici";
import { assertUnhurt } from "../support/latency.ts";
import { createHome, type Program, shellWorkload, until } from "../support/processes.ts";
import { figures } from "../support/siege.ts";

const names = ["live-1", "live-2", "killed", "stopped"];
const isLive = (name: string): boolean => name.startsWith("live");
/** Of those who ask one agent, each one after the other. */
const callers = 4;
const warmMs = 10_000;
const measuredMs = 20_000;

interface Answer {
  readonly agent: string;
  readonly status: number;
  readonly ms: number;
}

test("the living half answers as before, without a failure", async (t) => {
  await using home = createHome();
  const gateway = await home.gateway({
    timeouts: { first_byte: "2s" },
    audit: { output: "/dev/null" },
  });
  const headers = { "x-nomad-token": home.secrets.operator };
  const agents = new Map<string, Program>();
  for (const name of names)
    agents.set(
      name,
      await home.agent(name, gateway.url, { workloads: [shellWorkload(name, "sleep 1000")] }),
    );
  const allocations = await until("all run", async () => {
    const list: unknown = await (await fetch(`${gateway.url}/v1/allocations`, { headers })).json();
    assert.ok(Array.isArray(list));
    const running = list.filter(({ ClientStatus }) => ClientStatus === "running");
    return running.length === names.length
      ? new Map(running.map(({ JobID, ID }) => [String(JobID), String(ID)]))
      : undefined;
  });

  const dispatcher = new Agent({ connections: names.length * callers });
  const ask = async (agent: string): Promise<Answer> => {
    const beganMs = performance.now();
    const { statusCode, body } = await request(
      `${gateway.url}/v1/client/fs/ls/${allocations.get(agent)}?path=/`,
      { headers, dispatcher },
    );
    await body.dump();
    return { agent, status: statusCode, ms: performance.now() - beganMs };
  };
  /** All are asked at once for so long. */
  const asked = async (forMs: number): Promise<readonly Answer[]> => {
    const untilMs = performance.now() + forMs;
    const answers: Answer[] = [];
    const caller = async (agent: string): Promise<void> => {
      while (performance.now() < untilMs) answers.push(await ask(agent));
    };
    await Promise.all(names.flatMap((name) => Array.from({ length: callers }, () => caller(name))));
    return answers;
  };
  const ofLiving = (answers: readonly Answer[]): readonly number[] =>
    answers.filter(({ agent }) => isLive(agent)).map(({ ms }) => ms);

  try {
    await asked(warmMs);
    const all = await asked(measuredMs);
    assert.deepEqual(
      all.filter(({ status }) => status !== 200),
      [],
    );
    agents.get("killed")?.kill("SIGKILL");
    agents.get("stopped")?.kill("SIGSTOP");
    const half = await asked(measuredMs);
    const refused = half.filter(({ agent }) => !isLive(agent)).map(({ status }) => status);
    t.diagnostic(`of the dead ${refused.length} answers: ${[...new Set(refused)].join(", ")}`);
    assert.deepEqual(
      half.filter(({ agent, status }) => isLive(agent) && status !== 200),
      [],
    );
    assert.ok(refused.every((status) => [502, 503, 504].includes(status)));
    assertUnhurt(t, ofLiving(all), ofLiving(half));
  } finally {
    await dispatcher.destroy();
    agents.get("stopped")?.kill("SIGCONT");
  }
  await until(
    "nothing is live",
    async () => (await figures(gateway)).get("serai_live_exchanges") === 0,
  );
});
