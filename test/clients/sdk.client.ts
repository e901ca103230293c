/** Clients that others wrote, unmodified, against `serai dev`: the official Go SDK and python-nomad, by `npm run test:clients`. */
import assert from "node:assert/strict";
import path from "node:path";
import { type TestContext, test } from "node:test";
import { allGone, type Directory, ready, run, serai, temporaryDirectory } from "../cli/support.ts";
import { type ClientProgram, goClient, type Places, patienceMs, pythonClient } from "./programs.ts";

type Ready = Awaited<ReturnType<typeof ready>>;

const placesOf = ({ allocations }: Ready): Places => {
  const of = (job: string) => {
    const found = allocations.find(({ JobID }) => JobID === job);
    assert.ok(found, job);
    return found;
  };
  return {
    Node: of("web").NodeID,
    Talker: {
      Alloc: of("chatter").ID,
      Job: "chatter",
      Group: of("chatter").TaskGroup,
      Task: "talk",
    },
    Files: {
      Alloc: of("web").ID,
      Directory: "alloc/data",
      Path: "alloc/data/hello.txt",
      Large: "alloc/data/big.bin",
      Contents: {
        "alloc/data/hello.txt": "Hello from serai.\n",
        "alloc/data/empty.txt": "",
        "alloc/data/дорога.txt": "a name in another script\n",
        "alloc/data/awkward name & 100%.txt":
          "a name with blanks, an ampersand and a percent sign\n",
        "alloc/data/link.txt": "Hello from serai.\n",
      },
    },
    Done: {
      Alloc: of("report").ID,
      Task: "print",
      Stdout: "the report is done\n",
      Stderr: "nothing to worry about\n",
    },
    Ends: { Alloc: of("ledger").ID, Namespace: "finance" },
    Service: "web",
    Cluster: false,
  };
};

/** Runs a client against a fresh `serai dev`; each line it prints is a check. */
const against = async (
  t: TestContext,
  directory: Directory,
  { command, argv }: ClientProgram,
): Promise<void> => {
  const data = path.join(directory.path, "data");
  const dev = serai(["dev", "--json", "--port", "0", "--admin-port", "0", "--data-dir", data]);
  const line = await ready(dev);
  const client = run(command, argv(placesOf(line)), {
    env: { NOMAD_ADDR: line.url, NOMAD_TOKEN: line.tokens.operator },
  });
  const { code } = await client.ended;
  t.diagnostic(client.stdout());
  assert.equal(code, 0, `${client.stdout()}${client.stderr()}`);
  assert.match(client.stdout(), /^ok /m);
  dev.child.kill("SIGTERM");
  await dev.ended;
  await allGone(directory.path);
};

const tests = { "the official Go SDK": goClient, "python-nomad": pythonClient };
for (const [name, clientOf] of Object.entries(tests))
  test(name, { timeout: 2 * patienceMs }, async (t) => {
    using directory = temporaryDirectory();
    const client = clientOf(t, directory.path);
    if (client !== undefined) await against(t, directory, client);
  });
