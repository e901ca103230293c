/** `serai config check` and `serai config print`: looks at settings without starting anything. */
import { Command, Option } from "commander";
import {
  ConfigError,
  type Loaded,
  loadAgentConfig,
  loadConnectConfig,
  loadServerConfig,
} from "../config/load.ts";
import { printConfig } from "../config/print.ts";

interface Options {
  readonly file?: string;
  readonly kind: "server" | "agent" | "connect";
}

const loaders = {
  server: loadServerConfig,
  agent: loadAgentConfig,
  connect: loadConnectConfig,
} as const;

const load = ({ file, kind }: Options): Loaded<unknown> =>
  loaders[kind]({ file, env: process.env });

/** Mistakes and warnings go to stderr, so that what is printed can be piped to a file. */
const withLoaded =
  (then: (loaded: Loaded<unknown>) => string) =>
  (options: Options): void => {
    try {
      const loaded = load(options);
      for (const warning of loaded.warnings) process.stderr.write(`warning: ${warning}\n`);
      process.stdout.write(then(loaded));
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      process.stderr.write(`${error.message}\n`);
      process.exitCode = 1;
    }
  };

const subcommand = (name: string, about: string, then: (loaded: Loaded<unknown>) => string) =>
  new Command(name)
    .description(about)
    .option("-f, --file <path>", "settings file; without it, environment and defaults alone")
    .addOption(
      new Option("-k, --kind <kind>", "whose settings")
        .choices(Object.keys(loaders))
        .default("server"),
    )
    .action(withLoaded(then));

export const configCommand = (): Command =>
  new Command("config")
    .description("look at settings without starting anything")
    .addCommand(
      subcommand(
        "check",
        "tell every mistake; exit 1 when there is one",
        () => "settings are sound\n",
      ),
    )
    .addCommand(
      subcommand(
        "print",
        "print what is in force and where it is from, secrets as ***",
        printConfig,
      ),
    );
