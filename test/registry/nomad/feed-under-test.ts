/** A feed of one or more servers by script, in time that the test moves, and a sink that writes down what it is told. */
import { randomUUID } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import type { NodeEntry, Placement } from "../../../src/ports.ts";
import type { Change, ResyncReason, Sink } from "../../../src/registry/feed.ts";
import {
  createNomadFeed,
  type NomadFeed,
  type NomadFeedOptions,
} from "../../../src/registry/nomad/feed.ts";
import { ScriptedNomad, type ScriptedNomadOptions } from "../../support/scripted-nomad.ts";
import { FakeTime } from "../fake-time.ts";
import { until } from "../until.ts";
import { patience, serversOf } from "./feed-harness.ts";

export class Record implements Sink {
  readonly begins: ResyncReason[] = [];
  completes = 0;
  readonly indexes: number[] = [];
  allocations = new Map<string, Placement>();
  nodes = new Map<string, NodeEntry>();
  #fresh: { allocations: Map<string, Placement>; nodes: Map<string, NodeEntry> } | undefined;

  /** A picture is being told. */
  get isFilling(): boolean {
    return this.#fresh !== undefined;
  }

  /** What the picture that is being told holds so far. */
  get told(): ReadonlyMap<string, Placement> {
    return this.#fresh?.allocations ?? new Map();
  }

  begin(reason: ResyncReason): void {
    this.begins.push(reason);
    this.#fresh = { allocations: new Map(), nodes: new Map() };
  }

  apply(index: number, changes: readonly Change[]): void {
    this.indexes.push(index);
    const target = this.#fresh ?? this;
    for (const change of changes)
      if (change.kind === "allocation")
        target.allocations.set(change.placement.id, change.placement);
      else if (change.kind === "allocation_gone") target.allocations.delete(change.id);
      else if (change.kind === "node") target.nodes.set(change.node.id, change.node);
      else target.nodes.delete(change.id);
  }

  complete(): void {
    this.completes++;
    if (!this.#fresh) return;
    this.allocations = this.#fresh.allocations;
    this.nodes = this.#fresh.nodes;
    this.#fresh = undefined;
  }
}

interface Said {
  readonly level: string;
  readonly message: string;
  readonly fields: object;
}

export class FeedUnderTest implements AsyncDisposable {
  readonly time = new FakeTime();
  readonly record = new Record();
  readonly said: Said[] = [];
  readonly losses: string[] = [];
  readonly nomads: readonly ScriptedNomad[];
  readonly nomad: ScriptedNomad;
  readonly feed: NomadFeed;
  readonly #servers;

  private constructor(nomads: readonly ScriptedNomad[], options: Partial<NomadFeedOptions>) {
    const [first] = nomads;
    if (!first) throw new RangeError("no server");
    this.nomads = nomads;
    this.nomad = first;
    this.#servers = serversOf(...nomads.map(({ origin }) => origin));
    const say =
      (level: string) =>
      (fields: object, message: string): void => {
        this.said.push({ level, message, fields });
      };
    this.feed = createNomadFeed(
      {
        clock: this.time,
        timers: this.time,
        log: { debug: say("debug"), info: say("info"), warn: say("warn"), error: say("error") },
        servers: this.#servers,
        random: () => 0.5,
        observe: {
          streamLost: (loss) => this.losses.push(loss),
          listed: () => {},
          listFailed: () => {},
        },
      },
      { token: () => "s.gateway", ...options },
    );
  }

  static async start(
    options: Partial<NomadFeedOptions> = {},
    nomad: ScriptedNomadOptions = {},
    count = 1,
  ): Promise<FeedUnderTest> {
    const nomads: ScriptedNomad[] = [];
    for (let number = 0; number < count; number++) nomads.push(await ScriptedNomad.start(nomad));
    return new FeedUnderTest(nomads, options);
  }

  /** Follows, and waits for the first whole picture. */
  async synced(): Promise<this> {
    this.feed.follow(this.record);
    await this.completed(1);
    return this;
  }

  completed(times: number): Promise<void> {
    return until(`${times} whole pictures`, () => this.record.completes >= times);
  }

  /** A beat, and the feed has heard it: an answer that was asked for later has come. */
  async beat(): Promise<void> {
    this.nomad.beat();
    await this.feed.lookup(randomUUID(), patience());
    await turn();
  }

  warnings(): readonly string[] {
    return this.said.filter(({ level }) => level === "warn").map(({ message }) => message);
  }

  /** What its streams asked for, in order. */
  streamIndexes(): readonly (string | null)[] {
    return this.nomad.asked("/v1/event/stream").map(({ query }) => query.get("index"));
  }

  /** Lists that were begun. */
  get lists(): number {
    return this.nomad
      .asked("/v1/allocations")
      .filter(({ query }) => query.has("per_page") && !query.has("next_token")).length;
  }

  get servers() {
    return this.#servers;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.feed.close(patience());
    await this.#servers.close(patience());
    for (const nomad of this.nomads) await nomad[Symbol.asyncDispose]();
  }
}
