/** The command line. One file a command below src/cli/. */
import { Command } from "commander";
import { agentCommand } from "./cli/agent.ts";
import { configCommand } from "./cli/config.ts";
import { devCommand } from "./cli/dev.ts";
import { toWords } from "./cli/failures.ts";
import { say } from "./cli/lifetime.ts";
import { serverCommand } from "./cli/server.ts";
import { tokenCommand } from "./cli/token.ts";
import { version } from "./cli/version.ts";

const program = new Command("serai")
  .description("One gate in front of Nomad client agents: files, logs, exec, stats and metadata.")
  .version(version)
  .addCommand(devCommand())
  .addCommand(serverCommand())
  .addCommand(agentCommand())
  .addCommand(tokenCommand())
  .addCommand(configCommand());

try {
  await program.parseAsync();
  process.exitCode ??= 0;
} catch (error) {
  for (const line of toWords(error).split("\n")) say(`serai: ${line}`);
  process.exitCode = 1;
}
