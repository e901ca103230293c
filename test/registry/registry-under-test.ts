/** An embedded registry with a time that the test moves, real connections to agents, and all it tells kept. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { Agent } from "undici";
import type { JsonObject } from "../../src/lib/json.ts";
import type { Clock, Log } from "../../src/ports.ts";
import type { RegistryEvent } from "../../src/registry/embedded/events.ts";
import {
  createEmbeddedRegistry,
  type EmbeddedOptions,
  type EmbeddedRegistry,
} from "../../src/registry/embedded/registry.ts";
import { realTimers, type Timers } from "../../src/registry/timers.ts";
import type { AgentUnderTest } from "./agent-under-test.ts";
import { nodeBody } from "./documents.ts";
import { FakeTime } from "./fake-time.ts";
import { until } from "./until.ts";

export const joinSecret = "join-secret";
export const never = new AbortController().signal;

export class RegistryUnderTest implements AsyncDisposable {
  readonly time: FakeTime;
  readonly audited: RegistryEvent[] = [];
  readonly dropped: string[] = [];
  readonly pulls: string[] = [];
  readonly batches: { readonly size: number; readonly result: string }[] = [];
  readonly delays: number[] = [];
  readonly logged: string[] = [];
  readonly #dispatcher = new Agent();
  #registry: EmbeddedRegistry | undefined;
  #closed = false;
  /** Addresses that the policy refuses. */
  readonly refusedAddresses = new Set<string>();

  private constructor(time: FakeTime) {
    this.time = time;
  }

  static start(
    options: Partial<EmbeddedOptions> = {},
    time = new FakeTime(),
  ): Promise<RegistryUnderTest> {
    return RegistryUnderTest.#start(new RegistryUnderTest(time), options, time);
  }

  /** With the time as it goes. */
  static startInRealTime(options: Partial<EmbeddedOptions>): Promise<RegistryUnderTest> {
    const clock = { now: () => Date.now(), monotonic: () => performance.now() };
    const under = new RegistryUnderTest(new FakeTime());
    return RegistryUnderTest.#start(under, options, { ...clock, ...realTimers });
  }

  static async #start(
    under: RegistryUnderTest,
    options: Partial<EmbeddedOptions>,
    time: Clock & Timers,
  ): Promise<RegistryUnderTest> {
    under.#registry = await createEmbeddedRegistry(
      {
        clock: time,
        timers: time,
        random: () => 0.5,
        log: under.#log(),
        joinTokens: { claim: async (secret) => secret === joinSecret },
        addressFault: (address) =>
          under.refusedAddresses.has(address) ? "not an agent's address" : undefined,
        dispatcher: async () => under.#dispatcher,
        observe: {
          audit: (event) => under.audited.push(event),
          dropped: (reason) => under.dropped.push(reason),
          pulled: (result) => under.pulls.push(result),
          metadata: {
            batched: (batch) => under.batches.push(batch),
            applied: (delayMs) => under.delays.push(delayMs),
          },
        },
      },
      { saveDelayMs: 10, ...options },
    );
    return under;
  }

  get registry(): EmbeddedRegistry {
    if (!this.#registry) throw new Error("it has not started");
    return this.#registry;
  }

  announce(agent: AgentUnderTest, over: JsonObject = {}, secret: string | undefined = joinSecret) {
    return this.registry.announce(
      {
        nodeId: agent.nodeId,
        secret,
        body: nodeBody(agent.nodeId, agent.address, over),
        from: "127.0.0.1",
      },
      never,
    );
  }

  /** Waits while time goes on in small steps, so that pauses end. */
  until(what: string, condition: () => boolean, stepMs = 10): Promise<void> {
    return until(what, condition, () => this.time.advance(stepMs));
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.registry.close(never);
    await this.#dispatcher.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #log(): Log {
    const note = (_fields: object, message: string): void => {
      this.logged.push(message);
    };
    return { debug: note, info: note, warn: note, error: note };
  }
}

export class TemporaryFolder implements AsyncDisposable {
  readonly path: string;

  private constructor(folder: string) {
    this.path = folder;
  }

  static async make(): Promise<TemporaryFolder> {
    return new TemporaryFolder(await mkdtemp(path.join(tmpdir(), "serai-registry-")));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.path, { recursive: true });
  }
}
