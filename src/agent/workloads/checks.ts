/** The checks of an allocation's services, run on their interval; results as nomad-http.md §6.2. */
import { createHash } from "node:crypto";
import type { Json } from "../../lib/json.ts";
import type { Clock, Log } from "../../ports.ts";
import type { CheckConfig, ServiceConfig } from "../ports.ts";
import type { AllocationIdentity } from "./environment.ts";
import { type ProbeResult, probeHttp, probeTcp } from "./probes.ts";

interface Check {
  readonly id: string;
  readonly service: ServiceConfig;
  readonly config: CheckConfig;
}

export interface Checks {
  start(): void;
  /** Stops and forgets all results. */
  stop(): void;
  document(): Json;
}

const checkId = (allocation: AllocationIdentity, service: ServiceConfig, check: CheckConfig) =>
  createHash("sha256")
    .update(
      JSON.stringify([
        allocation.id,
        allocation.workload.group,
        service.task ?? "",
        service.name,
        service.port,
        check.name,
        check.type,
        check.path,
        check.port ?? "",
      ]),
    )
    .digest("hex");

class RunningChecks implements Checks {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #allocation: AllocationIdentity;
  readonly #checks: readonly Check[];
  readonly #results = new Map<string, Json>();
  readonly #timers = new Map<string, NodeJS.Timeout>();
  #life = new AbortController();

  constructor(clock: Clock, log: Log, allocation: AllocationIdentity) {
    this.#clock = clock;
    this.#log = log;
    this.#allocation = allocation;
    this.#checks = allocation.workload.services.flatMap((service) =>
      service.checks.map((config) => ({
        id: checkId(allocation, service, config),
        service,
        config,
      })),
    );
  }

  start(): void {
    if (this.#results.size > 0) return;
    this.#life = new AbortController();
    for (const check of this.#checks) {
      this.#results.set(
        check.id,
        this.#result(check, "pending", { statusCode: 0, output: "nomad: waiting to run" }),
      );
      this.#schedule(check, 0);
    }
  }

  stop(): void {
    this.#life.abort();
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    this.#results.clear();
  }

  document(): Json {
    return this.#results.size === 0 ? null : Object.fromEntries(this.#results);
  }

  #schedule(check: Check, delayMs: number): void {
    const { signal } = this.#life;
    const timer = setTimeout(() => {
      this.#run(check, signal).then((result) => {
        if (signal.aborted) return;
        this.#results.set(check.id, this.#result(check, result.ok ? "success" : "failure", result));
        this.#schedule(check, check.config.intervalMs);
      }, this.#broken);
    }, delayMs);
    timer.unref();
    this.#timers.set(check.id, timer);
  }

  /** Probes do not reject; should one, its check stands still and the log says why. */
  readonly #broken = (error: unknown): void =>
    this.#log.error({ err: error, allocation: this.#allocation.id }, "a check broke");

  #run(check: Check, signal: AbortSignal): Promise<ProbeResult> {
    const port = this.#allocation.ports.get(check.config.port ?? check.service.port);
    if (port === undefined)
      return Promise.resolve({ ok: false, statusCode: 0, output: "nomad: no such port label" });
    const target = {
      address: this.#allocation.address,
      port,
      timeoutMs: check.config.timeoutMs,
      signal,
    };
    return check.config.type === "tcp" ? probeTcp(target) : probeHttp(target, check.config.path);
  }

  #result(
    check: Check,
    status: "success" | "failure" | "pending",
    result: { readonly statusCode: number; readonly output: string },
  ): Json {
    return {
      ID: check.id,
      Mode: "healthiness",
      Status: status,
      StatusCode: result.statusCode,
      Output: result.output,
      Timestamp: Math.floor(this.#clock.now() / 1_000),
      Group: this.#allocation.name,
      Task: check.service.task ?? "",
      Service: check.service.name,
      Check: check.config.name,
    };
  }
}

export const createChecks = (
  needs: { readonly clock: Clock; readonly log: Log },
  allocation: AllocationIdentity,
): Checks => new RunningChecks(needs.clock, needs.log, allocation);
