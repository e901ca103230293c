/** No path, link or race leads out of an allocation or into a task's secrets. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, test } from "node:test";
import fc from "fast-check";
import { openContent, pinIn } from "../../../src/agent/files/content.ts";
import { PathFault, systemFault } from "../../../src/agent/files/fault.ts";
import { type Pin, pinByDescriptor, pinByRealPath } from "../../../src/agent/files/pin.ts";
import { GatewayError } from "../../../src/errors.ts";
import { type Allocation, ask, serveFiles, temporaryAllocation } from "./support.ts";

const secret = "SECRET";
const outside = "OUTSIDE";

interface Trap extends AsyncDisposable {
  readonly allocation: Allocation;
  /** A directory beside the allocation; nothing of it may ever show. */
  readonly foreign: string;
}

/** A tree full of links, with something forbidden behind most of them. */
const setTrap = async (): Promise<Trap> => {
  const allocation = await temporaryAllocation("web", "other");
  const foreign = await mkdtemp(path.join(tmpdir(), "serai-foreign-"));
  await writeFile(path.join(foreign, "f"), outside);
  const neighbour = `${allocation.directory}-x`;
  await mkdir(neighbour);
  await writeFile(path.join(neighbour, "f"), outside);
  const at = allocation.at;
  for (const inside of [
    "web/secrets",
    "web/private",
    "web/local",
    "web/secrets-x",
    "other/SECRETS",
  ])
    await mkdir(at(inside), { recursive: true });
  await mkdir(at("alloc/secrets"));
  await writeFile(at("alloc/data/f"), "fine");
  await writeFile(at("alloc/secrets/f"), "fine");
  await writeFile(at("web/secrets-x/f"), "fine");
  await writeFile(at("web/secrets/f"), secret);
  await writeFile(at("web/private/f"), secret);
  await writeFile(at("other/SECRETS/f"), secret);
  const links: Readonly<Record<string, string>> = {
    out: foreign,
    outfile: path.join(foreign, "f"),
    neighbour: path.join("..", "..", "..", path.basename(neighbour)),
    up: "..",
    upup: "../../..",
    root: allocation.directory,
    secret: "../../web/secrets",
    secretfile: "../../web/secrets/f",
    absolute: at("web/secrets"),
    chain: "secret",
    slash: "/",
    self: "self",
    gone: "nowhere",
    goneout: path.join(foreign, "nowhere"),
    proc: "/proc/self",
  };
  for (const [name, target] of Object.entries(links))
    await symlink(target, at(`alloc/data/${name}`));
  return {
    allocation,
    foreign,
    [Symbol.asyncDispose]: async () => {
      await rm(foreign, { recursive: true });
      await allocation[Symbol.asyncDispose]();
    },
  };
};

const contentOf = async (allocation: Allocation, asked: string, how: Pin): Promise<string> => {
  await using content = await openContent(allocation, asked, how);
  return (await content.handle.readFile()).toString();
};

const outcome = async (task: Promise<string>): Promise<string> => {
  try {
    return await task;
  } catch (error) {
    if (error instanceof PathFault) return error.message;
    throw error;
  }
};

const escapes = "Path escapes the alloc directory";
const prohibited = (asked: string): string => `Reading secret file prohibited: ${asked}`;

// biome-ignore format: a table
const cases: readonly (readonly [asked: string, expected: string])[] = [
  ["alloc/data/f", "fine"],
  ["/alloc/data/f", "fine"],
  ["///alloc//data/./f/", "fine"],
  ["alloc/../alloc/data/f", "fine"],
  ["alloc/data/up/data/f", "fine"],
  ["alloc/data/root/alloc/data/f", "fine"],
  ["web/secrets-x/f", "fine"],
  ["alloc/secrets/f", "fine"],
  ["..", escapes],
  ["../x", escapes],
  ["/../../etc/passwd", escapes],
  ["alloc/../../etc/passwd", escapes],
  ["alloc/data/out/f", escapes],
  ["alloc/data/outfile", escapes],
  ["alloc/data/neighbour/f", escapes],
  ["alloc/data/upup/x", escapes],
  ["alloc/data/slash/etc/passwd", escapes],
  ["alloc/data/proc/environ", escapes],
  ["alloc/data/goneout", escapes],
  ["alloc/data/out/nowhere", escapes],
  ["web/secrets/f", prohibited("web/secrets/f")],
  ["/web/secrets/../secrets/f", prohibited("/web/secrets/../secrets/f")],
  ["web//secrets/./f", prohibited("web//secrets/./f")],
  ["other/SECRETS/f", prohibited("other/SECRETS/f")],
  ["web/private/f", "Reading private file prohibited: web/private/f"],
  ["alloc/data/secret/f", prohibited("alloc/data/secret/f")],
  ["alloc/data/secretfile", prohibited("alloc/data/secretfile")],
  ["alloc/data/absolute/f", prohibited("alloc/data/absolute/f")],
  ["alloc/data/chain/f", prohibited("alloc/data/chain/f")],
  ["alloc/data", 'file "alloc/data" is a directory'],
  ["web/secrets", 'file "web/secrets" is a directory'],
];

for (const [name, how] of [
  ["descriptor", pinByDescriptor],
  ["real path", pinByRealPath],
] as const)
  describe(`confined by ${name}`, () => {
    test("each path of the table gives its file or its refusal", async () => {
      await using trap = await setTrap();
      for (const [asked, expected] of cases)
        assert.equal(await outcome(contentOf(trap.allocation, asked, how)), expected, asked);
    });

    test("what the system says of a path inside is told with the host's path", async () => {
      await using trap = await setTrap();
      const { allocation } = trap;
      const told = (asked: string) => outcome(contentOf(allocation, asked, how));
      const at = allocation.at;
      assert.equal(
        await told("alloc/data/gone"),
        `stat ${at("alloc/data/gone")}: no such file or directory`,
      );
      assert.equal(await told("alloc/data/f/x"), `stat ${at("alloc/data/f/x")}: not a directory`);
      assert.equal(
        await told("alloc/data/self"),
        `stat ${at("alloc/data/self")}: too many levels of symbolic links`,
      );
      assert.equal(await told("n".repeat(300)), `stat ${at("n".repeat(300))}: file name too long`);
      assert.match(await told("a\0b"), /: invalid argument$/);
    });

    test("no random path ever shows a byte from outside or from secrets", async () => {
      await using trap = await setTrap();
      const part = fc.constantFrom(
        "alloc", "data", "web", "other", "secrets", "SECRETS", "Private", "private", "f", "..", ".", "", "out",
        "outfile", "neighbour", "up", "upup", "root", "secret", "secretfile", "absolute", "chain", "slash", "self",
        "goneout", "proc", "etc", "passwd", "tmp", path.basename(trap.foreign), path.basename(trap.allocation.directory),
      ); // biome-ignore format: a list
      const parts = fc.array(part, { minLength: 1, maxLength: 9 });
      let read = 0;
      await fc.assert(
        fc.asyncProperty(parts, fc.boolean(), async (names, absolute) => {
          const asked = `${absolute ? "/" : ""}${names.join("/")}`;
          const got = await outcome(contentOf(trap.allocation, asked, how));
          if (got === "fine") read++;
          assert.ok(
            got === "fine" ||
              /escapes|prohibited|is a directory|no such file|not a directory|symbolic links/.test(
                got,
              ),
            `${asked}: ${got}`,
          );
        }),
        { numRuns: 800 },
      );
      const inside = fc.constantFrom("alloc/data/f", "alloc/secrets/f", "alloc/data/up/data/f");
      await fc.assert(
        fc.asyncProperty(inside, async (asked) => {
          read++;
          assert.equal(await outcome(contentOf(trap.allocation, asked, how)), "fine");
        }),
        { numRuns: 20 },
      );
      assert.ok(read >= 20);
    });

    test("a link swapped while it is opened never shows what lies outside", async () => {
      await using trap = await setTrap();
      const { allocation, foreign } = trap;
      const at = allocation.at;
      await mkdir(at("alloc/data/real"));
      await writeFile(at("alloc/data/real/f"), "fine");
      const targets = [at("alloc/data/real"), foreign, at("web/secrets")];
      let stop = false;
      let swaps = 0;
      const swap = async (): Promise<void> => {
        for (; !stop; swaps++) {
          await symlink(targets[swaps % targets.length] ?? foreign, at("alloc/data/new"));
          await rename(at("alloc/data/new"), at("alloc/data/swapped"));
        }
      };
      await symlink(foreign, at("alloc/data/swapped"));
      const swapping = swap();
      const seen = new Map<string, number>();
      const refused = (): boolean =>
        seen.has(escapes) || seen.has(prohibited("alloc/data/swapped/f"));
      const isEnough = (round: number): boolean =>
        round >= 500 && swaps > 100 && seen.has("fine") && refused();
      const untilMs = performance.now() + 20_000; // a busy machine swaps less often
      for (let round = 0; !isEnough(round) && performance.now() < untilMs; round++) {
        const got = await outcome(contentOf(allocation, "alloc/data/swapped/f", how));
        seen.set(got, (seen.get(got) ?? 0) + 1);
      }
      stop = true;
      await swapping;
      assert.ok(swaps > 100);
      assert.deepEqual(
        [...seen.keys()].filter((got) => got === secret || got === outside),
        [],
      );
      assert.ok(seen.has("fine"), "the link inside was read at least once");
      assert.ok(refused(), "a link outside was refused at least once");
    });
  });

test("a pipe, a socket and a device are refused at once and described by stat", {
  timeout: 20_000,
}, async () => {
  await using allocation = await temporaryAllocation("web");
  execFileSync("mkfifo", [allocation.at("alloc/data/pipe")]);
  const listener = createServer().listen(allocation.at("alloc/data/sock"));
  await new Promise((resolve) => listener.once("listening", resolve));
  await using server = await serveFiles(allocation);
  for (const name of ["pipe", "sock"]) {
    for (const route of ["fs.cat", "fs.stream"]) {
      const answer = await ask(server, `${route}?path=alloc/data/${name}`);
      assert.equal(answer.status, 400);
      assert.equal(answer.body.toString(), `file "alloc/data/${name}" is not a regular file`);
    }
    const described = await ask(server, `fs.stat?path=alloc/data/${name}`);
    assert.match(described.body.toString(), /"FileMode":"[pS]rw.*"application\/octet-stream"/);
  }
  await new Promise((resolve) => listener.close(resolve));
});

test("ls and stat show names in secrets, of links to them too, but never what lies outside", async () => {
  await using trap = await setTrap();
  await using server = await serveFiles(trap.allocation);
  const names = async (asked: string): Promise<string> =>
    (await ask(server, `fs.ls?path=${asked}`)).body
      .toString()
      .replaceAll(/.*?"Name":"([^"]*)".*?(?=\{|$)/g, "$1 ");
  assert.equal((await names("web/secrets")).trim(), "f");
  assert.equal((await names("alloc/data/secret")).trim(), "f");
  for (const asked of ["alloc/data/out", "alloc/data/upup", "alloc/data/slash", ".."])
    assert.equal((await ask(server, `fs.ls?path=${asked}`)).body.toString(), escapes, asked);
  const stat = await ask(server, "fs.stat?path=web/secrets/f");
  assert.match(stat.body.toString(), /"Name":"f".*"Size":6/);
});

test("an allocation whose directory is reached by a link is served", async () => {
  await using allocation = await temporaryAllocation("web");
  await writeFile(allocation.at("alloc/data/f"), "fine");
  const link = `${allocation.directory}-link`;
  await symlink(allocation.directory, link);
  const linked: Allocation = {
    ...allocation,
    directory: link,
    at: (inside) => path.join(link, inside),
  };
  for (const how of [pinByDescriptor, pinByRealPath]) {
    assert.equal(await contentOf(linked, "alloc/data/f", how), "fine");
    await using pinned = await pinIn({ ...linked }, "", how);
    assert.equal(pinned.inside, "");
  }
});

test("a collected allocation's content is a 404 in Nomad's words, its listing a missing directory", async () => {
  await using allocation = await temporaryAllocation("web");
  await using server = await serveFiles(allocation);
  allocation.collected = true;
  await rm(allocation.directory, { recursive: true });
  const words = `state for allocation ${allocation.id} not found on client`;
  for (const target of [
    "fs.cat?path=a",
    "fs.readat?path=a&offset=0",
    "fs.stream?path=a",
    "fs.logs?task=web&type=stdout",
  ]) {
    const answer = await ask(server, target);
    assert.deepEqual([answer.status, answer.body.toString()], [404, words], target);
  }
  const listed = await ask(server, "fs.ls?path=/");
  assert.deepEqual(
    [listed.status, listed.body.toString()],
    [404, `open ${allocation.directory}: no such file or directory`],
  );
  const described = await ask(server, "fs.stat?path=/alloc");
  assert.deepEqual(
    [described.status, described.body.toString()],
    [404, `stat ${allocation.directory}/alloc: no such file or directory`],
  );
});

test("out of descriptors is the agent's fault, not the path's", () => {
  const error = Object.assign(new Error("open"), { code: "EMFILE" });
  const fault = systemFault("open", "/x", error);
  assert.ok(fault instanceof GatewayError);
  assert.equal(fault.status, 503);
});
