/** The command line. One file a command beside this one; only the one asked for is loaded, since each brings much with it. */
import { Command } from "commander";
import { toWords } from "./failures.ts";
import { say } from "./lifetime.ts";
import { version } from "./version.ts";

const commands: Readonly<Record<string, () => Promise<Command>>> = {
  dev: async () => (await import("./dev.ts")).devCommand(),
  server: async () => (await import("./server.ts")).serverCommand(),
  agent: async () => (await import("./agent.ts")).agentCommand(),
  connect: async () => (await import("./connect.ts")).connectCommand(),
  token: async () => (await import("./token.ts")).tokenCommand(),
  config: async () => (await import("./config.ts")).configCommand(),
};

/** All of them for help, or when none is named. */
const wanted = ([name = ""]: readonly string[]): readonly (() => Promise<Command>)[] => {
  const own = Object.hasOwn(commands, name) ? commands[name] : undefined;
  return own === undefined ? Object.values(commands) : [own];
};

const program = new Command("serai")
  .description("One gate in front of Nomad client agents: files, logs, exec, stats and metadata.")
  .version(version);

try {
  const argv = process.argv.slice(2);
  if (argv[0] !== "--version" && argv[0] !== "-V")
    for (const load of wanted(argv)) program.addCommand(await load());
  await program.parseAsync();
  process.exitCode ??= 0;
} catch (error) {
  for (const line of toWords(error).split("\n")) say(`serai: ${line}`);
  process.exitCode = 1;
}
