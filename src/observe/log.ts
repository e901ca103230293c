/** The log: one line of JSON an event; no secrets, no control characters, and never more of one kind than can be read. */
import type { Closer, Log } from "../ports.ts";
import { cleanFields, jsonOf, quoted } from "./fields.ts";
import { createFlatFields } from "./flat-fields.ts";
import { isoTimes } from "./iso-times.ts";
import { redactText } from "./redact.ts";
import { Sink, type SinkState } from "./sink.ts";
import { createThrottle } from "./throttle.ts";

export type Level = "debug" | "info" | "warn" | "error";

export interface LogOptions {
  readonly level: Level;
  /** A file, or `stdout`. */
  readonly destination: string;
  /** Lines of one class; more are counted and told as one line. */
  readonly linesPerSecond?: number;
  /** Said in every line, for example the gateway's name. */
  readonly base?: Readonly<Record<string, string>>;
  readonly suppressed?: (count: number) => void;
}

export interface OpenLog extends Log, Closer {
  readonly state: SinkState;
  /** Opens its file again; throws when that fails, and keeps the old one. */
  reopen(): void;
  /** Before the process ends at once. */
  flush(): void;
}

const defaultLinesPerSecond = 50;
const tellSuppressedMs = 5000;
const levels: readonly Level[] = ["debug", "info", "warn", "error"];

const classOf = (level: Level, fields: object, message: string): string =>
  `${level} ${message}${"code" in fields && typeof fields.code === "string" ? ` (${fields.code})` : ""}`;

/** Throws when its file cannot be opened. Closed by whoever made it. */
export const createLog = (options: LogOptions): OpenLog => {
  const { level, destination, linesPerSecond = defaultLinesPerSecond, base = {} } = options;
  const sink = new Sink({ output: destination });
  const throttle = createThrottle({ perSecond: linesPerSecond, now: () => performance.now() });
  const flat = createFlatFields(new Set(["level", "time", "msg", ...Object.keys(base)]));
  const baseMembers = Object.entries(base)
    .map(([name, value]) => `,${jsonOf(name)}:${jsonOf(value)}`)
    .join("");
  const time = isoTimes(Date.now);
  const enabled: ReadonlySet<Level> = new Set(levels.slice(levels.indexOf(level)));

  const membersOf = (fields: object): string => {
    const members = jsonOf(cleanFields(fields)).slice(1, -1);
    return members === "" ? "" : `,${members}`;
  };

  const tell = (severity: Level, fields: object, words: string): void => {
    const members = flat(fields) ?? membersOf(fields);
    const line = `{"level":"${severity}","time":"${time()}"${baseMembers}${members},"msg":${quoted(words)}}\n`;
    sink.write(line); // what is dropped the sink has counted
  };

  const tellSuppressed = (): void => {
    for (const { name, count } of throttle.take()) {
      options.suppressed?.(count);
      if (enabled.has("warn"))
        tell("warn", { suppressed: count, of: name }, `suppressed ${count} lines`);
    }
  };
  const timer = setInterval(tellSuppressed, tellSuppressedMs);
  timer.unref();

  const at =
    (severity: Level) =>
    (fields: object, message: string): void => {
      if (!enabled.has(severity)) return;
      if (throttle.admit(classOf(severity, fields, message)))
        tell(severity, fields, redactText(message));
    };

  return {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    get state() {
      return sink.state;
    },
    reopen: () => sink.reopen(),
    flush: () => {
      tellSuppressed();
      sink.flush();
    },
    close: (signal) => {
      clearInterval(timer);
      tellSuppressed();
      return sink.close(signal);
    },
  };
};
