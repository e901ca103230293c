/**
 * The streams bench: thousands of idle followers, readers that stop beside readers that go on, what an exec waits for, and how
 * long a start takes. docs/benchmark.md explains it. `--json` prints one JSON line at the end, `--only followers,readers,exec,start`
 * leaves parts out, `--followers N` and `--rounds N` change their number, `--node ARG` (again and again) is given to the gateway's
 * node, as in `--node=--cpu-prof`.
 */
import { availableParallelism, cpus, loadavg } from "node:os";
import { parseArgs } from "node:util";
import { bringTools } from "../scripts/tools.ts";
import { openFilesLimit } from "../src/lib/open-files.ts";
import { type Followers, followers, mostFollowers } from "./lib/crowd.ts";
import { drivers } from "./lib/drive.ts";
import { echoes } from "./lib/exec-echo.ts";
import { readers } from "./lib/readers.ts";
import { startUps } from "./lib/start-up.ts";
import { aimsOf, type Measured, tableOf } from "./lib/stream-figures.ts";
import { endTidily } from "./lib/tidy.ts";

endTidily();

const { values: flags } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    only: { type: "string", default: "followers,readers,exec,start" },
    carriers: { type: "string", default: "direct,tunnel" },
    followers: { type: "string", default: String(Math.min(10_000, mostFollowers())) },
    rounds: { type: "string", default: "3" },
    node: { type: "string", multiple: true, default: [] },
  },
});

const rounds = Number(flags.rounds);
const many = Number(flags.followers);
const parts = flags.only.split(",");
const watchMs = 20_000;

const say = (words: string): void => console.error(words);

const measure = async (): Promise<Measured> => {
  const { node } = flags;
  const crowds: Followers[] = [];
  if (parts.includes("followers"))
    for (const carrier of ["direct", "tunnel"] as const)
      if (flags.carriers.split(",").includes(carrier))
        crowds.push(await followers({ carrier, followers: many, watchMs, node }, say));
  return {
    followers: crowds,
    readers: parts.includes("readers") ? await readers({ rounds, node }, say) : undefined,
    echoes: parts.includes("exec") ? await echoes({ rounds, node }, say) : [],
    starts: parts.includes("start") ? await startUps(rounds, say) : [],
  };
};

const main = async (): Promise<void> => {
  const machine = {
    cores: availableParallelism(),
    cpu: cpus()[0]?.model ?? "",
    node: process.version,
    load: loadavg()[0]?.toFixed(1) ?? "",
    openFiles: openFilesLimit(),
  };
  const measured = await measure();
  const aims = aimsOf(measured);
  console.log(`Node ${machine.node}, ${machine.cores} cores (${machine.cpu}), load ${machine.load} before the run, ${machine.openFiles} open files a process

${tableOf(measured, aims)}`);
  if (flags.json) console.log(JSON.stringify({ machine, ...measured, aims }));
};

if (!(rounds >= 1 && many >= 1)) {
  console.error("--rounds and --followers must be numbers from 1.");
  process.exitCode = 2;
} else if (bringTools(drivers, "The streams bench cannot run")) await main();
else process.exitCode = 2;
