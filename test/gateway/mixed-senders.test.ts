/**
 * Much of what a request says of its sender and its target is kept for the next one that says the same. Many senders, over few
 * connections, with rights that change between: each is answered, and told of, as one plain rule has it.
 */
import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { test } from "node:test";
import { eventually, type Rig, startRig } from "../support/rig.ts";
import { joinScriptedNode, type ScriptedNode, text } from "../support/scripted-node.ts";

let seed = 20_261_128;
const random = (): number => {
  seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
  return seed / 2 ** 32;
};
const below = (count: number): number => Math.floor(random() * count);
const pick = <T>(all: readonly T[]): T => all[below(all.length)] as T; // none is empty

/* ---- rights, and the rule ---- */

const capabilities = ["read-fs", "read-logs", "read-job"] as const;

interface Rights {
  readonly held: readonly string[];
  readonly node: boolean;
}

const nothing: Rights = { held: [], node: false };
const everything: Rights = { held: capabilities, node: true };

const someRights = (): Rights => ({
  held: capabilities.filter(() => random() < 0.4),
  node: random() < 0.4,
});

const policyOf = ({ held, node }: Rights): object => ({
  namespace: [{ [pick(["default", "def*", "*"])]: { capabilities: held } }],
  ...(node ? { node: { policy: "read" } } : {}),
});

/** What a route is asked for by, and one of which rights it takes. */
const routes = {
  ls: { path: "/v1/client/fs/ls/ALLOC?path=MARK", takes: ["read-fs"] },
  logs: {
    path: "/v1/client/fs/logs/ALLOC?task=MARK&type=stdout",
    takes: ["read-logs", "read-fs"],
  },
  stats: { path: "/v1/client/allocation/ALLOC/stats?task=MARK", takes: ["read-job"] },
  node: { path: "/v1/client/stats?node_id=NODE", takes: ["node"] },
} as const;
type RouteName = keyof typeof routes;
const routeNames = Object.keys(routes) as RouteName[];

const mayAsk = ({ held, node }: Rights, { takes }: (typeof routes)[RouteName]): boolean =>
  takes.some((right) => (right === "node" ? node : held.includes(right)));

/* ---- senders ---- */

const named = ["one", "two", "three"] as const;

interface Sender {
  readonly name: string;
  readonly secret: string | undefined;
  readonly accessor: string | undefined;
  /** Undefined: it is nobody's secret. */
  readonly rights: Rights | undefined;
}

const spelledIn: readonly ((secret: string) => string)[] = [
  (secret) => `X-Nomad-Token: ${secret}\r\n`,
  (secret) => `x-nomad-token:${secret}\r\n`,
  (secret) => `X-Nomad-Token: ${secret.toUpperCase()}\r\n`,
  (secret) => `Authorization: Bearer ${secret}\r\n`,
  (secret) =>
    `Authorization: Bearer 00000000-0000-4000-8000-000000000000\r\nX-Nomad-Token: ${secret}\r\n`,
];

/** What a sender says of itself. */
interface Said {
  readonly name: string;
  readonly address: string;
  readonly fields: string;
}

interface Asked {
  readonly sender: Sender;
  readonly route: RouteName;
  readonly mark: string;
  readonly address: string;
  readonly text: string;
}

interface Answered {
  readonly status: number;
  readonly id: string;
  readonly body: string;
}

/* ---- connections ---- */

/** All answers here state their length. */
class Line implements Disposable {
  /** What was said last: it is said again each other time, and kept while it may be. */
  last: Said | undefined;
  readonly #socket: Socket;
  #came = "";
  #wake: (() => void) | undefined;

  constructor(port: number, localAddress: string) {
    this.#socket = connect({ port, host: "127.0.0.1", localAddress });
    this.#socket.on("data", (bytes: Buffer) => {
      this.#came += bytes.toString("latin1");
      this.#wake?.();
    });
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  /** All at once. */
  async ask(texts: readonly string[]): Promise<readonly Answered[]> {
    this.#socket.write(texts.join(""));
    const answers: Answered[] = [];
    while (answers.length < texts.length) answers.push(await this.#next());
    return answers;
  }

  async #next(): Promise<Answered> {
    for (;;) {
      const head = this.#came.indexOf("\r\n\r\n") + 4;
      const length = Number(/^content-length: (\d+)/im.exec(this.#came.slice(0, head))?.[1]);
      if (head >= 4 && this.#came.length >= head + length) {
        const taken = this.#came.slice(0, head + length);
        this.#came = this.#came.slice(head + length);
        const id = /^x-request-id: (\S+)/im.exec(taken)?.[1] ?? "";
        return { status: Number(taken.split(" ")[1]), id, body: taken.slice(head) };
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

/* ---- the world ---- */

const whoAsks = (rig: Rig, rights: ReadonlyMap<string, Rights>): readonly Sender[] => [
  ...named.map((name) => ({
    name,
    secret: rig.secret(name),
    accessor: rights.has(name) ? rig.accessor(name) : undefined,
    rights: rights.get(name),
  })),
  {
    name: "management",
    secret: rig.secret("management"),
    accessor: rig.accessor("management"),
    rights: everything,
  },
  {
    name: "anonymous",
    secret: undefined,
    accessor: "anonymous",
    rights: rights.get("anonymous") ?? nothing,
  },
  {
    name: "stranger",
    secret: "9f0e4b9c-5c43-4a52-8f0e-27f4a1f3c001",
    accessor: undefined,
    rights: undefined,
  },
];

const saidBy = ({ name, secret }: Sender): Said => {
  const address = pick(["198.51.100.1", "198.51.100.2", "2001:db8::3"]);
  const credential = secret === undefined ? "" : pick(spelledIn)(secret);
  const more = pick(["", "Accept: */*\r\n", "Origin: http://a.example\r\n"]);
  const fields = `Host: gateway\r\nX-Forwarded-For: ${address}\r\n${credential}${more}\r\n`;
  return { name, address, fields };
};

const question = (senders: readonly Sender[], node: ScriptedNode, line: Line): Asked => {
  const said = random() < 0.5 && line.last !== undefined ? line.last : saidBy(pick(senders));
  line.last = said;
  const { name, address, fields } = said;
  const sender = senders.find((one) => one.name === name);
  assert.ok(sender);
  const route = pick(routeNames);
  // few marks, so that targets come again, and each tells who has asked last
  const mark = `m${route === "node" ? 0 : below(3)}`;
  const path = routes[route].path
    .replace("ALLOC", node.allocationId)
    .replace("NODE", node.nodeId)
    .replace("MARK", mark);
  return { sender, route, mark, address, text: `GET ${path} HTTP/1.1\r\n${fields}` };
};

const headerOf = (head: string, name: string): string | undefined =>
  new RegExp(`^${name}: (.*)\r$`, "im").exec(head)?.[1];

/** The agent tells whom it has heard, so that an answer shows with whose credential it was asked. */
const echo = (socket: Socket, head: string): void => {
  const heard = [
    headerOf(head, "x-nomad-token")?.toLowerCase() ?? "none",
    headerOf(head, "x-forwarded-for"),
    /[=/](m\d)\b/.exec(head)?.[1] ?? "m0",
  ];
  socket.write(text(heard.join(" ")));
};

const check = (asked: Asked, answered: Answered): void => {
  const { sender, route, address, mark } = asked;
  const isAllowed = sender.rights !== undefined && mayAsk(sender.rights, routes[route]);
  const what = `${sender.name} asked for ${route} with ${JSON.stringify(sender.rights)}`;
  assert.equal(answered.status, isAllowed ? 200 : 403, `${what}: ${answered.body}`);
  if (!isAllowed) assert.equal(answered.body, "Permission denied", what);
  else assert.equal(answered.body, `${sender.secret ?? "none"} ${address} ${mark}`, what);
};

const checkAudited = async (rig: Rig, asked: Asked, { id, status }: Answered): Promise<void> => {
  if (asked.route !== "ls" && asked.route !== "logs") return;
  const records = await eventually("its end is in the audit log", () => {
    const found = rig.audit().filter((record) => record["requestId"] === id);
    return found.some((record) => record["audit"] === "end") ? found : undefined;
  });
  for (const record of records) {
    assert.equal(record["accessor"], asked.sender.accessor, id);
    assert.equal(record["address"], asked.address, id);
    assert.equal(record["path"], asked.route === "ls" ? asked.mark : undefined, id);
  }
  const result = records.find((record) => record["audit"] === "end")?.["result"];
  assert.equal(result, status === 200 ? "ok" : "denied");
};

const rounds = 12;
const turns = 6;

test("whoever asks over whichever connection is answered by what they may then, and told of as who they are", {
  timeout: 60_000,
}, async () => {
  await using rig = await startRig({
    settings: { http: { trust_proxy: ["127.0.0.0/8"] } },
    policies: Object.fromEntries([...named, "anonymous"].map((name) => [name, policyOf(nothing)])),
    tokens: Object.fromEntries(named.map((name) => [name, { policies: [name] }])),
    agents: [],
  });
  await using node = await joinScriptedNode(rig, echo);
  const port = Number(new URL(rig.url).port);
  using stack = new DisposableStack();
  const lines = ["127.0.0.1", "127.0.0.1", "127.0.0.2"].map((own) =>
    stack.use(new Line(port, own)),
  );
  const seen: (readonly [Asked, Answered])[] = [];
  const allowed = new Set<boolean>();
  for (let round = 0; round < rounds; round++) {
    const rights = new Map<string, Rights>();
    for (const name of [...named, "anonymous"]) {
      const some = someRights();
      rights.set(name, some);
      rig.writePolicy(name, policyOf(some));
    }
    const gone = pick([undefined, ...named]);
    if (gone !== undefined) rights.delete(gone);
    rig.writeTokens((tokens) =>
      Object.entries(tokens).flatMap(([name, entry]) => (name === gone ? [] : [entry])),
    );
    await rig.gateway.reload();
    const senders = whoAsks(rig, rights);
    for (let turn = 0; turn < turns; turn++)
      await Promise.all(
        lines.map(async (line) => {
          const asked = Array.from({ length: 1 + below(4) }, () => question(senders, node, line));
          const answers = await line.ask(asked.map((one) => one.text));
          for (const [at, one] of asked.entries()) {
            const answer = answers[at];
            assert.ok(answer);
            check(one, answer);
            allowed.add(answer.status === 200);
            seen.push([one, answer]);
          }
        }),
      );
  }
  for (const [asked, answered] of seen) await checkAudited(rig, asked, answered);
  assert.equal(allowed.size, 2);
});
