/** Nomad's own command line, unchanged, says the same through serai as beside it. */
import assert from "node:assert/strict";
import { spawn as spawnProcess } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { spawn as spawnTerminal } from "@lydell/node-pty";
import { nomadBinary, noNomad } from "../support/nomad-cluster.ts";
import { until } from "../support/processes.ts";
import { type Command, commands } from "./commands.ts";
import { type Side, startWorld, type World } from "./world.ts";

interface Said {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const patienceMs = 20_000;

/* ---- words ---- */

/** Splits at blanks; quotes keep what is in them together. */
const argvOf = (line: string): readonly string[] =>
  [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare ?? "");

const filled = (text: string, words: Readonly<Record<string, string>>): string =>
  text.replace(/\{(\w+)\}/g, (whole, name: string) => words[name] ?? whole);

const jobOf = (job: string): string => `
job "${job}" {
  group "main" {
    update {
      min_healthy_time = "100ms"
    }
    restart {
      attempts = 20
      interval = "1m"
      delay    = "200ms"
    }
    task "talk" {
      driver = "raw_exec"
      kill_timeout = "1s"
      kill_signal = "SIGTERM"
      config {
        command = "/bin/sh"
        args = ["-c", <<SCRIPT
cd "$NOMAD_ALLOC_DIR/data"; echo hello > hello.txt; echo name > 'awkward name & 100%.txt'; seq 1 20000 > numbers.txt
trap 'echo got USR1' USR1; trap 'echo got INT' INT; n=0; while :; do n=$((n+1)); echo line $n; sleep 0.1; done
SCRIPT
        ]
      }
      action "greet" {
        command = "/bin/sh"
        args    = ["-c", "echo hello; exit 3"]
      }
      resources {
        cpu    = 20
        memory = 20
      }
    }
  }
}
`;

/* ---- running ---- */

const plainly = async (
  argv: readonly string[],
  env: NodeJS.ProcessEnv,
  { input = "", until: words }: Command,
): Promise<Said> => {
  const child = spawnProcess(nomadBinary ?? "", argv, { env, stdio: "pipe" });
  let [stdout, stderr] = ["", ""];
  child.stdin.on("error", () => undefined).end(input);
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
    if (words !== undefined && stdout.includes(words)) child.kill("SIGINT");
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const cut = setTimeout(() => child.kill("SIGKILL"), patienceMs);
  const [code] = await once(child, "close");
  clearTimeout(cut);
  return { code: code ?? -1, stdout, stderr };
};

const onTerminal = async (
  argv: readonly string[],
  env: NodeJS.ProcessEnv,
  typed: readonly (readonly [string, string])[],
): Promise<Said> => {
  const terminal = spawnTerminal(nomadBinary ?? "", [...argv], { env, cols: 100, rows: 30 });
  let stdout = "";
  const left = [...typed];
  terminal.onData((text) => {
    stdout += text;
    const [next] = left;
    if (next !== undefined && stdout.includes(next[0])) {
      left.shift();
      terminal.write(next[1]);
    }
  });
  const cut = setTimeout(() => terminal.kill("SIGKILL"), patienceMs);
  const { exitCode } = await new Promise<{ exitCode: number }>((resolve) => {
    terminal.onExit(resolve);
  });
  clearTimeout(cut);
  return { code: exitCode, stdout, stderr: "" };
};

/* ---- comparing ---- */

/** What is of the moment, of one side or made anew, and the widths that columns have from it. */
const masked = (text: string, side: Readonly<Record<string, string>>, figures: boolean): string => {
  const own = ["url", "host", "directory", "job"].reduce(
    (all, name) => all.replaceAll(side[name] ?? name, `{${name}}`),
    text,
  );
  const steady = own
    .replace(
      /\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?( [+-]\d{4} \w+)?/g,
      "{time}",
    )
    .replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, "{id}")
    .replace(/\b(?=[a-f]*\d)[0-9a-f]{8}\b/g, "{id}")
    .replace(/\b(\d+h)?(\d+m)?(\d+(\.\d+)?m?s)?\b (ago|from now)/g, "{age}")
    .replace(/\b(\d+h)?(\d+m)\d+s\b|\b\d+(\.\d+)?m?s\b/g, "{age}")
    .replace(/\b\d{16,}\b/g, "{number}")
    .replace(/(Modify Index|Index|modify index|Raft Index|Version)( *[=:]? *)"?\d+"?/gi, "$1$2{n}")
    .replace(/[ =-]{2,}/g, " ")
    .replace(/[ \t]+$/gm, "");
  return figures
    ? steady.replace(/\d+(\.\d+)?/g, "#").replace(/# (MiB|GiB|KiB|B)\b/g, "# B")
    : steady;
};

describe("Nomad's command line", { skip: noNomad, timeout: 300_000 }, () => {
  let world: World;
  let home = "";
  const mine: Record<Side, string> = { nomad: "", serai: "" };
  before(async () => {
    world = await startWorld();
    home = mkdtempSync(path.join(tmpdir(), "serai-commands-"));
  });
  after(async () => {
    rmSync(home, { recursive: true, force: true });
    await world?.[Symbol.asyncDispose]();
  });

  const wordsOf = (side: Side): Readonly<Record<string, string>> => {
    const words = world.words(side);
    return {
      ...words,
      job: `cli-${words["side"]}`,
      mine: mine[side],
      doneShort: words["done"]?.slice(0, 8) ?? "",
      directory: path.join(home, side),
      url: world.url(side),
      host: new URL(world.url(side)).host,
    };
  };

  const running = async (job: string): Promise<string> => {
    let seen = "";
    return until(
      () => `${job} runs: ${seen}`,
      async () => {
        seen = (await world.nomad.ask(`/v1/job/${job}/allocations`)).text;
        const stubs: readonly { readonly ID: string; readonly ClientStatus: string }[] =
          JSON.parse(seen); // Nomad's own
        return stubs.find(({ ClientStatus }) => ClientStatus === "running")?.ID;
      },
    );
  };

  const say = async (side: Side, command: Command): Promise<Said> => {
    const words = wordsOf(side);
    const argv = argvOf(command.line).map((word) => filled(word, words));
    const token = command.token ?? "operator";
    const env = {
      PATH: process.env["PATH"],
      HOME: home,
      NOMAD_ADDR: world.url(side),
      NOMAD_CLI_SHOW_HINTS: "false",
      NOMAD_CLI_NO_COLOR: "1",
      ...(token === "none" ? {} : { NOMAD_TOKEN: world.token(token) }),
    };
    const stirring = command.line.startsWith("monitor")
      ? setInterval(() => void world.stir(), 200)
      : undefined;
    const said =
      command.typed === undefined
        ? await plainly(argv, env, command)
        : await onTerminal(argv, env, command.typed);
    clearInterval(stirring);
    if (command.waits === true) mine[side] = await running(words["job"] ?? "");
    return said;
  };

  const read = (side: Side, { until: words, says, figures }: Command, said: Said): object => {
    if (words !== undefined) return { seen: said.stdout.includes(words) };
    const own = wordsOf(side);
    if (says !== undefined)
      return {
        code: said.code,
        says: said.stdout.includes(filled(says, own)),
        stderr: masked(said.stderr, own, true),
      };
    const text = (one: string): string => masked(one, own, figures === true);
    return { code: said.code, stdout: text(said.stdout), stderr: text(said.stderr) };
  };

  test("each side has its own job to run", () => {
    for (const side of ["nomad", "serai"] as const) {
      mkdirSync(path.join(home, side));
      writeFileSync(path.join(home, side, "job.hcl"), jobOf(wordsOf(side)["job"] ?? ""));
      writeFileSync(path.join(home, side, "none.hcl"), "nonsense {");
    }
  });

  for (const command of commands)
    test(`${command.name}${command.token === undefined ? "" : ` (${command.token})`}`, async () => {
      const beside = await say("nomad", command);
      const through = await say("serai", command);
      assert.deepEqual(read("serai", command, through), read("nomad", command, beside));
      const words = command.until ?? command.says;
      if (words !== undefined)
        assert.ok(
          through.stdout.includes(filled(words, wordsOf("serai"))),
          `${through.stdout}${through.stderr}`,
        );
    });

  test("operator debug captured the same files", () => {
    const files = (side: Side): readonly string[] => {
      const [name = ""] = readdirSync(path.join(home, side, "debug")).sort();
      return readdirSync(path.join(home, side, "debug", name), {
        recursive: true,
        encoding: "utf8",
      })
        .filter((file) => !file.startsWith("tmp"))
        .sort();
    };
    assert.deepEqual(files("serai"), files("nomad"));
    assert.ok(files("serai").some((file) => file.includes("profile")));
  });

  test("file, log, exec and stats traffic went to the agents alone", () => {
    const carried = / \/v1\/client\/(fs|stats|metadata|gc|allocation)/;
    assert.deepEqual(
      world.relay.requests.filter((one) => carried.test(one)),
      [],
    );
  });
});
