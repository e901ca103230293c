/** The ledger: shares, expiry, revocation, drain, and the reason each end is counted under. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { GatewayError } from "../../src/errors.ts";
import { newTally } from "../../src/ingress/exchange.ts";
import type { EndReason } from "../../src/live/entry.ts";
import { createLedger, type Ledger, type LedgerOptions } from "../../src/live/ledger.ts";
import type {
  Acl,
  Authenticate,
  Clock,
  Credential,
  Exchange,
  Log,
  Principal,
  Scope,
} from "../../src/ports.ts";
import { routeNamed } from "../../src/routes.ts";

const everything: Acl = {
  management: true,
  namespace: () => true,
  everywhere: () => true,
  anyIn: () => true,
  node: () => true,
  agent: () => true,
};

const principal = (more: Partial<Principal> = {}): Principal => ({
  accessorId: "a1", name: "one", type: "client", policies: [], acl: everything, expiresAtMs: undefined, ...more,
}); // biome-ignore format: short rows

const scope: Scope = { kind: "node", nodeId: "n", node: undefined };
const quiet: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};
const real: Clock = { now: () => Date.now(), monotonic: () => performance.now() };

interface Ended {
  readonly id: string;
  readonly reason: EndReason;
}

interface Bench {
  readonly ledger: Ledger;
  readonly ends: readonly Ended[];
  /** An exchange that leaves the ledger as the edge makes it leave: when it is ended. */
  readonly exchange: (route?: string, secret?: string, address?: string) => Exchange;
}

let last = 0;

const bench = (
  options: Partial<LedgerOptions> = {},
  needs: { authenticate?: Authenticate; authorize?: () => void; clock?: Clock } = {},
): Bench => {
  const ends: Ended[] = [];
  const ledger = createLedger(
    {
      clock: needs.clock ?? real,
      log: quiet,
      authenticate: needs.authenticate ?? (() => principal()),
      authorize: needs.authorize ?? (() => undefined),
    },
    {
      recheckMs: 0,
      onEnd: (exchange, reason) => ends.push({ id: exchange.id, reason }),
      ...options,
    },
  );
  const exchange = (route = "fs.logs", secret = "s", address = "192.0.2.1"): Exchange => {
    const controller = new AbortController();
    last += 1;
    const made: Exchange = {
      id: `x${last}`, route: routeNamed(route), method: "GET", key: "k", raw: new Map(), parameters: {}, pretty: false,
      body: undefined, credential: { secret, source: "header" },
      client: { address, authority: "gate", scheme: "http" }, signal: controller.signal,
      end: (reason) => controller.abort(reason),
      wire: { kind: "websocket", socket: Reflect.get({}, "none"), takeHeld: () => [] }, startedAtMs: performance.now(),
      tally: newTally(), kept: {}, derived: {},
    }; // biome-ignore format: short rows
    controller.signal.addEventListener("abort", () => {
      const { reason } = controller.signal;
      queueMicrotask(() => ledger.done(made, reason instanceof GatewayError ? reason : undefined));
    });
    return made;
  };
  return { ledger, ends, exchange };
};

const aborted = (exchange: Exchange): Promise<GatewayError> =>
  new Promise((resolve, reject) => {
    const told = (): void => {
      const { reason } = exchange.signal;
      if (reason instanceof GatewayError) resolve(reason);
      else reject(new Error("ended without a reason of ours"));
    };
    if (exchange.signal.aborted) told();
    else exchange.signal.addEventListener("abort", told);
  });

const refuses = (admit: () => void, code: string): void =>
  assert.throws(admit, (error) => error instanceof GatewayError && error.code === code);

test("one caller holds no more lasting exchanges than its share; short ones are not counted", () => {
  const { ledger, exchange } = bench({ maxLivePerPrincipal: 2 });
  const first = exchange("fs.cat");
  ledger.admit(first, principal(), scope);
  ledger.admit(exchange("alloc.exec"), principal(), scope);
  refuses(() => ledger.admit(exchange(), principal(), scope), "too_many_requests");
  ledger.admit(exchange("fs.ls"), principal(), scope);
  ledger.admit(exchange(), principal({ accessorId: "a2" }), scope);
  ledger.done(first);
  ledger.done(first);
  ledger.admit(exchange(), principal(), scope);
  refuses(() => ledger.admit(exchange(), principal(), scope), "too_many_requests");
  assert.deepEqual(ledger.counts, { unary: 1, download: 0, follow: 2, websocket: 1, registry: 0 });
});

for (const accessorId of ["anonymous", "acls-disabled"])
  test(`those who are called ${accessorId} are told apart by address`, () => {
    const { ledger, exchange } = bench({ maxLivePerPrincipal: 1 });
    const anyone = principal({ accessorId });
    ledger.admit(exchange("fs.logs", "", "192.0.2.1"), anyone, scope);
    ledger.admit(exchange("fs.logs", "", "192.0.2.2"), anyone, scope);
    refuses(
      () => ledger.admit(exchange("fs.logs", "", "192.0.2.2"), anyone, scope),
      "too_many_requests",
    );
  });

for (const { code, reason } of [
  { code: undefined, reason: "eof" },
  { code: "client_closed", reason: "client" },
  { code: "client_too_slow", reason: "slow" },
  { code: "upstream_broke", reason: "upstream" },
  { code: "upstream_timeout", reason: "upstream" },
  { code: "node_unreachable", reason: "upstream" },
  { code: "internal", reason: "error" },
  { code: "draining", reason: "drained" },
] as const)
  test(`an exchange that ends with ${code ?? "nothing"} is counted as ${reason}`, () => {
    const { ledger, ends, exchange } = bench();
    const one = exchange();
    ledger.admit(one, principal(), scope);
    ledger.done(one, code === undefined ? undefined : new GatewayError(code));
    assert.deepEqual(ends, [{ id: one.id, reason }]);
    assert.equal(ledger.list().length, 0);
  });

test("an expired right ends its exchange, the earliest first, and no other", async () => {
  const { ledger, ends, exchange } = bench();
  const [late, early, never] = [exchange(), exchange("alloc.exec"), exchange("fs.cat")];
  const now = Date.now();
  ledger.admit(late, principal({ expiresAtMs: now + 120 }), scope);
  ledger.admit(early, principal({ expiresAtMs: now + 40 }), scope);
  ledger.admit(never, principal({ expiresAtMs: now + 2 ** 40 }), scope);
  assert.equal((await aborted(early)).words, "access ended: the token has expired");
  assert.equal(late.signal.aborted, false);
  assert.equal((await aborted(late)).code, "right_ended");
  assert.equal(never.signal.aborted, false);
  await Promise.resolve();
  assert.deepEqual(ends, [
    { id: early.id, reason: "expired" },
    { id: late.id, reason: "expired" },
  ]);
  await ledger.close(AbortSignal.timeout(100));
});

test("a right that ends in years asks for no timer that Node cannot keep", async () => {
  const { ledger, exchange } = bench();
  const told: string[] = [];
  const tell = ({ message }: Error): void => void told.push(message);
  process.on("warning", tell);
  ledger.admit(exchange(), principal({ expiresAtMs: Date.now() + 2 ** 40 }), scope);
  await new Promise((resolve) => setImmediate(resolve));
  process.off("warning", tell);
  await ledger.close(AbortSignal.abort());
  assert.deepEqual(told, []);
});

test("a right that had expired already ends at once", async () => {
  const { ledger, exchange } = bench();
  const one = exchange();
  ledger.admit(one, principal({ expiresAtMs: Date.now() - 1 }), scope);
  assert.equal((await aborted(one)).code, "right_ended");
});

test("a recheck takes nothing of what its caller's address may ask", async () => {
  const asked: Credential[] = [];
  const authenticate: Authenticate = (credential) => {
    asked.push(credential);
    return principal();
  };
  const { ledger, exchange } = bench({}, { authenticate });
  const made = exchange();
  const credential = { ...made.credential, address: made.client.address };
  ledger.admit({ ...made, credential }, principal(), scope);
  await ledger.recheck();
  assert.deepEqual(asked, [{ ...made.credential, address: undefined }]);
});

test("a right that a step of the wall clock has ended has expired, and was not revoked", async () => {
  let aheadMs = 0;
  const { ledger, ends, exchange } = bench(
    { recheckMs: 20 },
    {
      clock: { ...real, now: () => Date.now() + aheadMs },
      authenticate: () => Promise.reject(new GatewayError("permission_denied")),
    },
  );
  const live = exchange();
  ledger.admit(live, principal({ expiresAtMs: Date.now() + 1_800_000 }), scope);
  aheadMs = 3_600_000;
  assert.match((await aborted(live)).message, /the token has expired/);
  await Promise.resolve();
  assert.deepEqual(ends, [{ id: live.id, reason: "expired" }]);
  await ledger.close(AbortSignal.abort());
});

test("a recheck asks once for each credential and ends what was revoked", async () => {
  const asked: (string | undefined)[] = [];
  const authenticate: Authenticate = async ({ secret }) => {
    asked.push(secret);
    if (secret === "revoked") throw new GatewayError("permission_denied");
    return principal();
  };
  const { ledger, ends, exchange } = bench({}, { authenticate });
  const kept = [
    exchange("fs.logs", "good"),
    exchange("fs.cat", "good"),
    exchange("alloc.exec", "good"),
  ];
  const lost = [exchange("fs.logs", "revoked"), exchange("alloc.exec", "revoked")];
  for (const one of [...kept, ...lost]) ledger.admit(one, principal(), scope);
  ledger.admit(exchange("fs.ls", "short"), principal(), scope);
  await ledger.recheck();
  assert.deepEqual(asked.toSorted(), ["good", "revoked"]);
  assert.ok(kept.every(({ signal }) => !signal.aborted));
  for (const one of lost)
    assert.equal((await aborted(one)).words, "access ended: the token was revoked");
  await Promise.resolve();
  assert.deepEqual(
    ends.map(({ reason }) => reason),
    ["revoked", "revoked"],
  );
});

test("what is revoked while a recheck runs is found by one more after it, however often it is wanted", async () => {
  const answered = Promise.withResolvers<void>();
  let asked = 0;
  const authenticate: Authenticate = async () => {
    if (++asked > 1) throw new GatewayError("permission_denied");
    await answered.promise;
    return principal();
  };
  const { ledger, exchange } = bench({}, { authenticate });
  const one = exchange();
  ledger.admit(one, principal(), scope);
  const running = ledger.recheck();
  const wanted = [ledger.recheck(), ledger.recheck()];
  answered.resolve();
  await running;
  assert.equal(one.signal.aborted, false);
  await Promise.all(wanted);
  assert.equal((await aborted(one)).words, "access ended: the token was revoked");
  assert.equal(asked, 2);
  const [second, third] = [exchange(), exchange()];
  ledger.admit(second, principal(), scope);
  const again = ledger.recheck();
  ledger.admit(third, principal(), scope);
  await Promise.all([again, ledger.recheck()]);
  assert.ok(second.signal.aborted && third.signal.aborted, "each time, not once");
});

test("a policy that shrank ends what it does not allow any more", async () => {
  let allowed = true;
  const authorize = (): void => {
    if (!allowed) throw new GatewayError("permission_denied");
  };
  const { ledger, exchange } = bench({}, { authorize });
  const one = exchange();
  ledger.admit(one, principal(), scope);
  await ledger.recheck();
  assert.equal(one.signal.aborted, false);
  allowed = false;
  await ledger.recheck();
  assert.equal((await aborted(one)).words, "access ended: its policies do not allow it any more");
});

test("a renewed right expires when the renewed says", async () => {
  const { ledger, exchange } = bench(
    {},
    { authenticate: () => principal({ expiresAtMs: Date.now() + 30 }) },
  );
  const one = exchange();
  ledger.admit(one, principal(), scope);
  await ledger.recheck();
  assert.equal((await aborted(one)).words, "access ended: the token has expired");
});

test("while the source of rights is away they are honoured for a while, then not", async () => {
  let nowMs = 1_000_000;
  let isAway = false;
  const clock: Clock = { now: () => nowMs, monotonic: () => nowMs };
  const authenticate: Authenticate = () => {
    if (isAway) throw new GatewayError("identity_unavailable");
    return principal();
  };
  const { ledger, exchange } = bench({ uncheckedMs: 30_000 }, { authenticate, clock });
  const one = exchange();
  ledger.admit(one, principal(), scope);
  nowMs += 100_000;
  await ledger.recheck();
  isAway = true;
  nowMs += 30_000;
  await ledger.recheck();
  assert.equal(one.signal.aborted, false);
  nowMs += 1;
  await ledger.recheck();
  assert.equal((await aborted(one)).words, "access ended: the token cannot be checked any more");
});

test("rights whose turn has not come while their source is away are honoured no longer than others", async (t) => {
  let nowMs = 1_000_000;
  const clock: Clock = { now: () => nowMs, monotonic: () => nowMs };
  const silent = Promise.withResolvers<Principal>();
  let asked = 0;
  const authenticate: Authenticate = () =>
    ++asked === 1 ? Promise.reject(new GatewayError("identity_unavailable")) : silent.promise;
  const { ledger, exchange } = bench(
    { recheckMs: 10, uncheckedMs: 30_000 },
    { authenticate, clock },
  );
  const all = Array.from({ length: 40 }, (_, nth) => exchange("fs.logs", `secret ${nth}`));
  for (const one of all) ledger.admit(one, principal(), scope);
  const short = exchange("fs.ls");
  ledger.admit(short, principal(), scope);
  const keep = setInterval(() => undefined, 1_000);
  t.after(() => clearInterval(keep));
  const rechecked = ledger.recheck();
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.ok(all.every(({ signal }) => !signal.aborted));
  nowMs += 30_001;
  for (const { words } of await Promise.all(all.map(aborted)))
    assert.equal(words, "access ended: the token cannot be checked any more");
  assert.equal(short.signal.aborted, false);
  silent.resolve(principal());
  await rechecked;
  await ledger.close(AbortSignal.timeout(100));
});

test("rights are rechecked by themselves", async () => {
  const authenticate: Authenticate = () => {
    throw new GatewayError("permission_denied");
  };
  const { ledger, exchange } = bench({ recheckMs: 20 }, { authenticate });
  const one = exchange();
  ledger.admit(one, principal(), scope);
  const keep = setInterval(() => undefined, 1_000); // the ledger's own timer keeps no process alive
  assert.equal((await aborted(one)).code, "right_ended");
  clearInterval(keep);
  await ledger.close(AbortSignal.timeout(100));
});

test("a drain admits only what does not last, waits for what ends by itself, and ends the rest after the grace", async () => {
  const { ledger, ends, exchange } = bench();
  const long = exchange("alloc.exec");
  ledger.admit(long, principal(), scope);
  const drained = ledger.drain(60);
  const short = exchange("fs.ls");
  for (const route of ["fs.logs", "fs.cat", "alloc.exec"])
    refuses(() => ledger.admit(exchange(route), principal(), scope), "draining");
  ledger.admit(short, principal(), scope);
  assert.equal(long.signal.aborted, false);
  ledger.done(short);
  await drained;
  assert.equal((await aborted(long)).code, "draining");
  assert.deepEqual(ends, [
    { id: short.id, reason: "eof" },
    { id: long.id, reason: "drained" },
  ]);
  refuses(() => ledger.admit(exchange("fs.ls"), principal(), scope), "draining");
});

test("a drain admits and waits for what had begun before it, as long as the grace lasts", async () => {
  const { ledger, ends, exchange } = bench();
  const [early, late] = [exchange("fs.ls"), exchange("fs.ls")];
  for (const _one of [early, late]) ledger.begun();
  const drained = ledger.drain(60);
  ledger.admit(early, principal(), scope);
  ledger.done(early);
  ledger.over();
  await new Promise((resolve) => setTimeout(resolve, 80));
  refuses(() => ledger.admit(late, principal(), scope), "draining");
  ledger.over();
  await drained;
  assert.deepEqual(ends, [{ id: early.id, reason: "eof" }]);
});

test("what has begun has arrived when it is admitted or over, and is not waited for without end", async () => {
  const { ledger, exchange } = bench();
  await ledger.arrived(60_000);
  for (let nth = 0; nth < 2; nth++) ledger.begun();
  let isThere = false;
  const arrived = ledger.arrived(60_000).then(() => {
    isThere = true;
  });
  ledger.admit(exchange("fs.logs"), principal(), scope);
  await Promise.resolve();
  assert.equal(isThere, false);
  ledger.over();
  await arrived;
  ledger.begun();
  await ledger.arrived(10);
  await ledger.close(AbortSignal.abort());
});

test("a drain with nothing left is over at once", async () => {
  const { ledger, exchange } = bench();
  const one = exchange();
  ledger.admit(one, principal(), scope);
  const drained = ledger.drain(60_000);
  ledger.done(one);
  await drained;
  assert.equal(one.signal.aborted, false);
});

test("the list names who and where, and holds no secret", () => {
  const { ledger, exchange } = bench();
  const one = exchange("alloc.exec", "very-secret");
  ledger.admit(one, principal(), scope);
  const [row] = ledger.list();
  assert.equal(row?.id, one.id);
  assert.equal(row?.route, "alloc.exec");
  assert.equal(row?.accessorId, "a1");
  assert.ok(!JSON.stringify(ledger.list()).includes("very-secret"));
});
