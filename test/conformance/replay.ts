/** One case asked again and held against what was recorded. */
import { isJsonObject, parseJson } from "../../src/lib/json.ts";
import type { Address, Cluster } from "./cluster.ts";
import { compareJson } from "./compare-json.ts";
import { bodyOf, type Case, headerOf, pathOf } from "./corpus.ts";
import type { Script } from "./during.ts";
import { contentOf, hasCome, joinedOf, lastOffset, readFrames } from "./frames.ts";
import { type NodeName, nodes } from "./jobs.ts";
import { masksOf, toMasks } from "./masks.ts";
import { requestBytes } from "./request.ts";
import { playSession, recordedOutcome } from "./websocket.ts";
import { type Answer, exchange } from "./wire.ts";

/** One thing in which an answer is not the recorded one. */
export interface Difference {
  readonly aspect: string;
  readonly recorded: string;
  readonly got: string;
}

/** The agent that owns what a case is about. */
export const ownerOf = ({ file, request }: Case): NodeName => {
  const text = `${request.path ?? ""}?${request.query ?? ""} ${request.body ?? ""}`.toLowerCase();
  const owner = nodes.find(
    ({ id, allocations }) => text.includes(id) || allocations.some((one) => text.includes(one.id)),
  );
  return owner?.name ?? (file === "node-client" || file === "node-down" ? "golden-3" : "client-2");
};

export const doorOf = (one: Case, cluster: Cluster): Address =>
  one.via === "server" ? cluster.gateway : cluster.agent(ownerOf(one));

/** Host paths and addresses in an answer of ours, as the recording has them. */
const recordedWords = (text: string, cluster: Cluster): string =>
  nodes.reduce(
    (words, { name }) => words.replaceAll(cluster.allocDirectory(name), "/opt/nomad/alloc"),
    text,
  );

const orderedErrors = (text: string): string =>
  /^\d+ errors? occurred:/.test(text) ? text.split("\n").sort().join("\n") : text;

const comparedHeaders = [
  "content-type",
  "location",
  "content-security-policy",
  "x-xss-protection",
  "access-control-allow-origin",
  "access-control-allow-credentials",
  "access-control-allow-methods",
  "access-control-allow-headers",
  "x-nomad-knownleader",
  "x-nomad-lastcontact",
];
/** Their values vary. */
const presentHeaders = ["x-nomad-index", "x-nomad-nexttoken"];

const varyOf = (headers: Answer["headers"]): string =>
  headers
    .filter(([name]) => name.toLowerCase() === "vary")
    .flatMap(([, value]) => value.split(/,\s*/))
    .filter((token) => token !== "Accept-Encoding")
    .sort()
    .join(", ");

const difference = (aspect: string, recorded: string, got: string): readonly Difference[] =>
  recorded === got ? [] : [{ aspect, recorded, got }];

const headerDifferences = (one: Case, got: Answer): readonly Difference[] => {
  const { headers = [] } = one.response;
  return [
    ...comparedHeaders.flatMap((name) =>
      difference(
        `header ${name}`,
        headerOf(headers, name) ?? "absent",
        headerOf(got.headers, name) ?? "absent",
      ),
    ),
    ...presentHeaders.flatMap((name) =>
      difference(
        `header ${name}`,
        headerOf(headers, name) === undefined ? "absent" : "present",
        headerOf(got.headers, name) === undefined ? "absent" : "present",
      ),
    ),
    ...difference("header vary", varyOf(headers), varyOf(got.headers)),
  ];
};

const isFrames = (one: Case): boolean =>
  /^\/v1\/client\/fs\/(stream|logs)\//.test(pathOf(one)) &&
  one.response.status === 200 &&
  !(pathOf(one).includes("/logs/") && /plain=true/.test(one.request.query ?? ""));

/** While a log rotates, which file a line falls into depends on how the pipe was read. */
const isRotating = ({ name }: Case): boolean => name.includes("across a rotation");

const frameDifferences = (one: Case, recorded: Buffer, got: Buffer): readonly Difference[] => {
  const [a, b] = [readFrames(recorded), readFrames(got)];
  const content = isRotating(one) ? joinedOf : contentOf;
  const isFixed = /follow=false/.test(one.request.query ?? "");
  return [
    ...difference("content", content(a), content(b)),
    ...difference("text after the frames", a.rest, b.rest),
    ...(isFixed && a.frames.length > 0 ? difference("last offset", lastOffset(a), lastOffset(b)) : []),
    ...difference(
      "heartbeats",
      a.heartbeats > 0 ? "some" : "none",
      b.heartbeats > 0 || a.heartbeats === 0 ? (a.heartbeats > 0 ? "some" : "none") : "none",
    ),
  ]; // biome-ignore format: short
};

/** Masks of the cluster here: its web server is another program, its checks come more often, its end another signal. */
const ofThisCluster = toMasks([
  "/Job/TaskGroups/*/Tasks/*/KillSignal",
  "/Job/TaskGroups/*/Services/*/Checks/*/Interval",
]);

/** Members named by ids that vary are compared in the order of another member. */
const byCheck = (value: ReturnType<typeof parseJson>): ReturnType<typeof parseJson> =>
  isJsonObject(value)
    ? Object.fromEntries(
        Object.values(value).map((check) => [
          isJsonObject(check) ? String(check["Check"]) : "",
          check,
        ]),
      )
    : value;

const jsonDifferences = (one: Case, recorded: string, got: string): readonly Difference[] => {
  try {
    const prepare = pathOf(one).endsWith("/checks") ? byCheck : <T>(value: T): T => value;
    const masks = [...masksOf(pathOf(one)), ...ofThisCluster];
    return compareJson(prepare(parseJson(recorded)), prepare(parseJson(got)), masks).map(
      ({ path, ...values }) => ({ aspect: path, ...values }),
    );
  } catch {
    return difference("body", recorded, got);
  }
};

const isJson = (headers: Answer["headers"]): boolean =>
  headerOf(headers, "content-type")?.startsWith("application/json") === true;

const bodyDifferences = (one: Case, got: Answer, cluster: Cluster): readonly Difference[] => {
  const recorded = bodyOf(one);
  if (recorded === undefined) return []; // the corpus has it by its digest alone, or not at all
  const encoding = headerOf(one.response.headers ?? [], "content-encoding");
  if (encoding !== undefined)
    return difference("coding", encoding, headerOf(got.headers, "content-encoding") ?? "identity");
  if (isFrames(one) && got.status === 200) {
    const words = Buffer.from(recordedWords(got.body.toString("latin1"), cluster), "latin1");
    return frameDifferences(one, recorded, words);
  }
  const [a, b] = [recorded.toString("latin1"), recordedWords(got.body.toString("latin1"), cluster)];
  if (isJson(one.response.headers ?? []) && isJson(got.headers))
    return jsonDifferences(one, recorded.toString(), recordedWords(got.body.toString(), cluster));
  return difference("body", orderedErrors(a), orderedErrors(b));
};

const endOf = ({ response }: Case): Answer["end"] => {
  const end = response.end ?? "";
  if (end.startsWith("open after") || end.startsWith("no head within")) return "open";
  if (end.startsWith("cut")) return "cut";
  if (end.includes("refused")) return "refused";
  return "whole";
};

const endDifferences = (one: Case, got: Answer): readonly Difference[] =>
  difference("end", endOf(one), got.end);

const longestMs = 12_000;
/** Silence has to be waited for. */
const silenceMs = 1_600;

/** A stream that was left open has shown enough when all recorded bytes came, and a heartbeat if there was one. */
const enoughFor = (one: Case): ((body: Buffer) => boolean) | undefined => {
  if (endOf(one) !== "open") return undefined;
  const recorded = bodyOf(one);
  if (recorded === undefined) return undefined;
  if (!isFrames(one)) return (body) => recorded.length > 0 && body.length >= recorded.length;
  return hasCome(readFrames(recorded));
};

const replayHttp = async (one: Case, cluster: Cluster, script: Script): Promise<readonly Difference[]> => {
  const address = doorOf(one, cluster);
  const enough = enoughFor(one);
  const waiting = [...script.steps];
  const watch = (body: Buffer): boolean => {
    const [next] = waiting;
    if (next?.when(body.toString("latin1"))) {
      waiting.shift();
      next.act().catch(() => undefined); // shows as content that does not come
    }
    return enough?.(body) ?? false;
  };
  const isSilent = one.response.status === null || one.response.status === undefined;
  const answer = await exchange(address, requestBytes(one, address), {
    bodiless: one.request.method === "HEAD",
    enough: watch,
    patienceMs: isSilent && one.request.raw === undefined ? silenceMs : longestMs,
  });
  const status = one.response.status ?? rawStatus(one);
  const found = difference("status", String(status ?? "none"), String(answer.status ?? "none"));
  if (status === undefined || answer.status === undefined)
    return [...found, ...endDifferences(one, answer)];
  return [
    ...found,
    ...headerDifferences(one, answer),
    ...bodyDifferences(one, answer, cluster),
    ...endDifferences(one, answer),
  ];
}; // biome-ignore format: short

const rawStatus = ({ response }: Case): number | undefined => {
  const found = /^HTTP\/1\.[01] (\d{3})/.exec(response.raw ?? "")?.[1];
  return found === undefined ? undefined : Number(found);
};

const replaySession = async (
  one: Case,
  cluster: Cluster,
  script: Script,
): Promise<readonly Difference[]> => {
  const got = await playSession(one, doorOf(one, cluster), script.said);
  const recorded = { status: 101, body: "", ...recordedOutcome(one) };
  const words = recordedWords(got.body, cluster);
  if (got.status !== 101)
    return [
      ...difference("status", String(recorded.status), String(got.status)),
      ...difference("body", recorded.body, words),
    ];
  return (["stdout", "stderr", "closed", "exit", "close", "pongs"] as const).flatMap((aspect) =>
    difference(aspect, recorded[aspect], recordedWords(got[aspect], cluster)),
  );
};

export const replay = async (
  one: Case,
  cluster: Cluster,
  script: Script,
): Promise<readonly Difference[]> => {
  try {
    await script.before?.();
    if (one.frames !== undefined) return await replaySession(one, cluster, script);
    return await replayHttp(one, cluster, script);
  } catch (error) {
    return [{ aspect: "asking again", recorded: "an answer", got: String(error) }];
  } finally {
    await script.after?.();
  }
};
