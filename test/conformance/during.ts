/** What happened beside a recorded stream: a file grew, was cut, went away. Steps follow what the reader has seen. */
import { appendFile, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import type { Cluster } from "./cluster.ts";
import type { Case } from "./corpus.ts";
import { webId } from "./jobs.ts";

/** `seen` is everything received so far. */
export interface Step {
  readonly when: (seen: string) => boolean;
  readonly act: () => Promise<void>;
}

export interface Script {
  readonly before?: () => Promise<void>;
  readonly steps: readonly Step[];
  /** Beside a session: when everything recorded has been said. */
  readonly said?: () => Promise<void>;
  readonly after?: () => Promise<void>;
}

const quiet: Script = { steps: [] };

const base64 = (text: string): string => Buffer.from(text).toString("base64");
const hasData = (seen: string): boolean => seen.includes('"Data"');
const hasHeartbeat = (seen: string): boolean => seen.includes("{}");

/** Plain logs have no heartbeat. */
const isReading = (seen: string): boolean =>
  seen.startsWith("out line 1") || (hasData(seen) && hasHeartbeat(seen));

const fileOf = ({ request }: Case): string =>
  new URLSearchParams(request.query ?? "").get("path") ?? "";

/** Several readers watch one directory vanish: the last to be ready does it, the last to leave brings it back. */
const createVanishing = (directory: string, readers: number) => {
  let ready = 0;
  let left = 0;
  const away = `${directory}.away`;
  return {
    ready: async (): Promise<void> => {
      if (++ready === readers) await rename(directory, away);
    },
    leave: async (): Promise<void> => {
      if (++left === readers) await rename(away, directory);
    },
  };
};

/** web, quiet and rot. */
const longRunning = 3;
const vanishingReaders = 4;
const vanishingId = "d18e0bc0-e8bd-5fd6-54f1-841809c7cb37";

/** `dying`: how many readers must be at work before the node's agent is killed. */
export const createScripts = (cluster: Cluster, dying: number): ((one: Case) => Script) => {
  let atWork = 0;
  const kill = async (): Promise<void> => {
    if (++atWork === dying) await cluster.kill();
  };
  const web = path.join(cluster.allocDirectory("client-2"), webId, "alloc");
  const data = path.join(web, "data");
  const vanishing = createVanishing(
    path.join(cluster.allocDirectory("golden-3"), vanishingId, "alloc", "logs"),
    vanishingReaders,
  );

  /** Written aside first: the task looks every 0.2 s and must not find half a line. */
  const say = async (text: string): Promise<void> => {
    await writeFile(path.join(data, ".say"), text);
    await rename(path.join(data, ".say"), path.join(data, "say"));
  };

  const growing = (one: Case): Script => {
    const file = path.join(data, path.basename(fileOf(one)));
    const after = (): Promise<void> => rm(file, { force: true });
    const begin = (text: string) => (): Promise<void> => writeFile(file, text);
    if (one.name.includes("origin=end"))
      return {
        before: begin("first\n"),
        steps: [{ when: hasHeartbeat, act: () => appendFile(file, "second\n") }],
        after,
      };
    if (one.name.includes("truncated"))
      return {
        before: begin("first line\n"),
        steps: [{ when: hasData, act: () => writeFile(file, "new\n") }],
        after,
      };
    if (one.name.includes("deleted"))
      return {
        before: begin("first line\n"),
        steps: [{ when: (seen) => hasData(seen) && hasHeartbeat(seen), act: after }],
      };
    return {
      before: begin("first\n"),
      steps: [
        { when: hasData, act: () => appendFile(file, "second\n") },
        {
          when: (seen) => seen.includes(base64("second\n")),
          act: () => appendFile(file, "third\nfourth\n"),
        },
      ],
      after,
    };
  };

  /** A task that is just being restarted cannot be restarted again. */
  const allRun = (): Promise<void> => cluster.running("client-2", webId, longRunning);

  return (one) => {
    const { name, via } = one;
    if (name.startsWith("killed during"))
      return {
        steps: [
          {
            when: (seen) => seen.length > 0 && (hasHeartbeat(seen) || name.includes("plain")),
            act: kill,
          },
        ],
        said: kill,
      };
    if (name.startsWith("restart: ") && one.response.status === 200)
      return { before: allRun, steps: [] };
    if (/^stream: follow.*(grows|truncated|deleted)/.test(name)) return growing(one);
    if (/a line is written|as alloc logs -f/.test(name)) {
      const isPlain = name.includes("plain");
      const when = (seen: string): boolean => (isPlain ? seen.length > 0 : hasData(seen));
      return { steps: [{ when, act: () => say(`said for ${via}\n`) }] };
    }
    if (name.includes("across a rotation"))
      return { steps: [{ when: hasData, act: () => writeFile(path.join(data, "rot"), "") }] };
    if (name.includes("directory vanishes"))
      return {
        steps: [{ when: isReading, act: vanishing.ready }],
        after: vanishing.leave,
      }; // biome-ignore format: short
    if (name.includes(".stdout.junk is present")) {
      const junk = path.join(web, "logs", "web.stdout.junk");
      return {
        before: () => writeFile(junk, ""),
        steps: [],
        after: () => rm(junk, { force: true }),
      };
    }
    return quiet;
  };
};
