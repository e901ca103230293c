/** Changes of tokens, policies and roles: told soon, in bursts once, and asked for only with a token that may see them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Closer } from "../../../src/ports.ts";
import { followAclEvents } from "../../../src/registry/nomad/acl-events.ts";
import { type AclTopic, ScriptedNomad } from "../../support/scripted-nomad.ts";
import { FakeTime } from "../fake-time.ts";
import { until } from "../until.ts";
import { patience, serversOf } from "./feed-harness.ts";

type Kind = "manager" | "client" | "off";

class Under implements AsyncDisposable {
  readonly time = new FakeTime();
  readonly said: string[] = [];
  changes = 0;
  asked = 0;
  kind: Kind | Error | "thinks" = "manager";
  readonly nomad: ScriptedNomad;
  readonly #servers;
  readonly #events: Closer;

  private constructor(nomad: ScriptedNomad, kind: Under["kind"]) {
    this.nomad = nomad;
    this.kind = kind;
    nomad.manages = () => this.kind === "manager";
    this.#servers = serversOf(nomad.origin);
    const say =
      (level: string) =>
      (_fields: object, message: string): void =>
        void (level === "debug" || this.said.push(`${level}: ${message}`));
    this.#events = followAclEvents(
      {
        clock: this.time,
        timers: this.time,
        random: () => 0.5,
        log: { debug: say("debug"), info: say("info"), warn: say("warn"), error: say("error") },
        servers: this.#servers,
        ownKind: async () => {
          this.asked++;
          if (this.kind instanceof Error) throw this.kind;
          if (this.kind === "thinks") return new Promise(() => undefined);
          return this.kind;
        },
        changed: () => void this.changes++,
      },
      { token: () => "s.gateway", region: "global" },
    );
  }

  static async start(kind: Under["kind"] = "manager"): Promise<Under> {
    return new Under(await ScriptedNomad.start(), kind);
  }

  /** The stream is open, and its opening was told. */
  async opened(): Promise<this> {
    await until("the stream is open", () => this.nomad.streams === 1);
    await until("its opening is seen", () => this.time.delays.includes(50));
    this.time.advance(2_000);
    assert.equal(this.changes, 1);
    return this;
  }

  get streams(): number {
    return this.nomad.asked("/v1/event/stream").length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#events.close(patience());
    assert.equal(this.time.waiting, 0, "a timer is left");
    await this.#servers.close(patience());
    await this.nomad[Symbol.asyncDispose]();
  }
}

const soon = { timeout: 5_000 };

const backsOff = ({ time }: Under): boolean => time.delays.some((ms) => ms > 50 && ms < 1_000);

test("each change is told soon after its event", async () => {
  await using under = await (await Under.start()).opened();
  const [seen] = under.nomad.asked("/v1/event/stream");
  assert.deepEqual(seen?.query.getAll("topic"), ["ACLToken", "ACLPolicy", "ACLRole"]);
  assert.equal(seen?.query.get("region"), "global");
  assert.equal(seen?.token, "s.gateway");
  const changes: readonly (readonly [AclTopic, string])[] = [
    ["ACLToken", "ACLTokenDeleted"],
    ["ACLPolicy", "ACLPolicyUpserted"],
    ["ACLRole", "ACLRoleDeleted"],
  ];
  for (const [at, [topic, type]] of changes.entries()) {
    under.nomad.changeAcl(topic, type);
    await until("it is seen", () => under.time.delays.includes(50));
    assert.equal(under.changes, at + 1);
    under.time.advance(50);
    assert.equal(under.changes, at + 2, type);
    under.time.advance(2_000);
  }
});

test("a burst of events is told at once and then at most once a second, its last one included", async () => {
  await using under = await (await Under.start()).opened();
  under.nomad.changeAcl("ACLToken", "ACLTokenUpserted", 200);
  await until("it is seen", () => under.time.delays.includes(50));
  under.time.advance(50);
  assert.equal(under.changes, 2);
  under.nomad.changeAcl("ACLToken", "ACLTokenDeleted", 200);
  await until("more is seen", () => under.time.delays.some((ms) => ms > 50 && ms <= 1_100));
  under.time.advance(999);
  assert.equal(under.changes, 2);
  under.time.advance(101);
  assert.equal(under.changes, 3);
});

test("a stream that was lost and is back tells once that something may have changed", async () => {
  await using under = await (await Under.start()).opened();
  under.nomad.cutStreams();
  await until("it backs off", () => backsOff(under));
  under.nomad.changeAcl("ACLToken", "ACLTokenDeleted", 3);
  under.time.advance(900);
  await until("it is back", () => under.nomad.streams === 1);
  await until("its opening is seen", () => under.time.delays.includes(50));
  under.time.advance(5_000);
  assert.equal(under.changes, 2);
});

test("lines that say nothing tell nothing, a broken one ends the stream", async () => {
  await using under = await (await Under.start()).opened();
  under.nomad.beat();
  under.nomad.say("no event\n");
  await until("it backs off", () => backsOff(under));
  assert.equal(under.changes, 1);
  assert.equal(under.asked, 1);
  assert.deepEqual(under.said, []);
});

for (const [kind, lines] of [
  ["client", 1],
  ["off", 0],
] as const)
  test(`with a token of kind "${kind}" no stream is opened, and the log gets ${lines} line`, async () => {
    await using under = await Under.start(kind);
    for (let round = 1; round <= 3; round++) {
      await until("it was asked", () => under.asked === round);
      await until("it waits", () => under.time.delays.includes(600_000));
      under.time.advance(600_000);
    }
    assert.equal(under.streams, 0);
    assert.equal(under.changes, 0);
    assert.equal(under.said.length, lines);
    for (const line of under.said) assert.match(line, /^info: .* within 30 s$/);
  });

test("while no server can say what the token is, it is asked again later and later, silently", async () => {
  await using under = await Under.start(new Error("away"));
  const waits: number[] = [];
  for (let round = 1; round <= 4; round++) {
    await until("it was asked", () => under.asked === round);
    await until("it waits", () => under.time.delays.length === 1);
    waits.push(under.time.delays[0] ?? 0);
    under.time.advance(waits.at(-1) ?? 0);
  }
  assert.deepEqual(waits, [187.5, 375, 750, 1_500]);
  assert.deepEqual(under.said, []);
  under.kind = "manager";
  await until("it waits", () => under.time.delays.length === 1);
  under.time.advance(15_000);
  await under.opened();
});

test("a manager's token that is taken away is asked about again, and said once", async () => {
  await using under = await (await Under.start()).opened();
  under.kind = "client";
  under.nomad.cutStreams();
  await until("it backs off", () => backsOff(under));
  under.time.advance(1_000);
  await until("it is watched", () => under.time.delays.includes(5_000));
  under.time.advance(5_000); // refused: a head, and nothing after it
  await until("it backs off", () => backsOff(under));
  under.time.advance(1_000);
  await until("it was asked", () => under.asked === 2);
  await until("it is said", () => under.said.length === 1);
  assert.equal(under.changes, 1);
});

test("it is closed at once while the servers think about the token", soon, async () => {
  await using under = await Under.start("thinks");
  await until("it was asked", () => under.asked === 1);
});
