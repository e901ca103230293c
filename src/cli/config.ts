/** `serai config check` and `serai config print`: looks at settings without starting anything. */
import { Command, Option } from "commander";
import type { Sources } from "../config/layers.ts";
import {
  ConfigError,
  type Loaded,
  loadAgentConfig,
  loadConnectConfig,
  loadServerConfig,
} from "../config/load.ts";
import { printConfig } from "../config/print.ts";
import { agentFiles, checkAclFiles, connectFiles, serverFiles } from "./config-files.ts";

interface Options {
  readonly file?: string;
  readonly config?: string;
  readonly kind: "server" | "agent" | "connect";
}

type Load = (sources: Sources) => Loaded<unknown> | Promise<Loaded<unknown>>;

const loaders: Readonly<Record<Options["kind"], Load>> = {
  server: loadServerConfig,
  agent: loadAgentConfig,
  connect: loadConnectConfig,
};

/** They look at the files that the settings name, too. */
const checkers: Readonly<Record<Options["kind"], Load>> = {
  server: async (sources) => {
    const loaded = loadServerConfig(sources, serverFiles);
    await checkAclFiles(loaded.config);
    return loaded;
  },
  agent: (sources) => loadAgentConfig(sources, agentFiles),
  connect: (sources) => loadConnectConfig(sources, connectFiles),
};

/** Mistakes and warnings go to stderr, so that what is printed can be piped to a file. */
const withLoaded =
  (load: Readonly<Record<Options["kind"], Load>>, then: (loaded: Loaded<unknown>) => string) =>
  async ({ config, file = config, kind }: Options): Promise<void> => {
    try {
      const loaded = await load[kind]({ file, env: process.env });
      for (const warning of loaded.warnings) process.stderr.write(`warning: ${warning}\n`);
      process.stdout.write(then(loaded));
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      process.stderr.write(`${error.message}\n`);
      process.exitCode = 1;
    }
  };

const subcommand = (
  name: string,
  about: string,
  action: (options: Options) => Promise<void>,
): Command =>
  new Command(name)
    .description(about)
    .option("-f, --file <path>", "settings file; without it, environment and defaults alone")
    .addOption(
      new Option("--config <path>", "the same, as the commands that run call it").conflicts("file"),
    )
    .addOption(
      new Option("-k, --kind <kind>", "whose settings")
        .choices(Object.keys(loaders))
        .default("server"),
    )
    .action(action);

export const configCommand = (): Command =>
  new Command("config")
    .description("look at settings without starting anything")
    .addCommand(
      subcommand(
        "check",
        "tell every mistake, those in files that settings name too; exit 1 when there is one",
        withLoaded(checkers, () => "settings are sound\n"),
      ),
    )
    .addCommand(
      subcommand(
        "print",
        "print what is in force and where it is from, secrets as ***",
        withLoaded(loaders, printConfig),
      ),
    );
