/**
 * One request asked of Nomad directly and through serai, and how the two answers differ. What varies between two answers of
 * Nomad itself is not compared, except for its form.
 */

import { type Json, parseJson } from "../../src/lib/json.ts";
import { compareJson } from "../conformance/compare-json.ts";
import { contentOf, readFrames } from "../conformance/frames.ts";
import { toMasks } from "../conformance/masks.ts";
import { type Answer, exchange } from "../conformance/wire.ts";
import type { Reading, Row } from "./requests.ts";
import type { Side, World } from "./world.ts";

export interface Difference {
  /** `status`, `header <name>`, `body`, `end`, or the path of a member. */
  readonly aspect: string;
  readonly nomad: string;
  readonly serai: string;
}

const patienceMs = 30_000;
const silenceMs = 300;

/* ---- asking ---- */

const filled = (text: string, words: Readonly<Record<string, string>>): string =>
  text.replace(/\{(\w+)\}/g, (whole, name: string) => words[name] ?? whole);

const enough: Readonly<Record<Reading, ((body: Buffer) => boolean) | undefined>> = {
  answer: undefined,
  frames: undefined,
  archive: undefined,
  silent: undefined,
  follow: (body) => contentOf(readFrames(body)).length > 200,
  "plain follow": (body) => body.length > 200,
  events: (body) => body.length > 1,
};

const requestOf = (row: Row, world: World, side: Side): Buffer => {
  const words = { ...world.words(side), operator: world.token("operator") };
  const { method = "GET", token = "operator", body, headers = {} } = row;
  const text =
    body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body);
  const sent = text === undefined ? undefined : Buffer.from(filled(text, words));
  const lines = [
    `${method} ${filled(row.path, words)} HTTP/1.1`,
    `Host: ${new URL(world.url(side)).host}`,
    ...(token === "none" ? [] : [`X-Nomad-Token: ${world.token(token)}`]),
    ...Object.entries(headers).map(([name, value]) => `${name}: ${filled(value, words)}`),
    ...(sent === undefined ? [] : [`Content-Length: ${sent.length}`]),
    "",
    "",
  ];
  return Buffer.concat([Buffer.from(lines.join("\r\n")), sent ?? Buffer.alloc(0)]);
};

const stirring = async (world: World, answer: Promise<Answer>): Promise<Answer> => {
  let isDone = false;
  const done = answer.finally(() => {
    isDone = true;
  });
  while (!isDone) {
    await world.stir();
    await Promise.race([done, new Promise((resolve) => setTimeout(resolve, 100))]);
  }
  return done;
};

const askOf = async (row: Row, world: World, side: Side): Promise<Answer> => {
  const { hostname: host, port } = new URL(world.url(side));
  const until = enough[row.reading ?? "answer"];
  const answer = exchange({ host, port: Number(port) }, requestOf(row, world, side), {
    bodiless: row.method === "HEAD",
    patienceMs: row.reading === "silent" ? silenceMs : patienceMs,
    ...(until === undefined ? {} : { enough: until }),
  });
  return row.reading === "events" ? stirring(world, answer) : answer;
};

/* ---- headers ---- */

/** Of one connection or one answer: neither side promises them. */
const perAnswer: ReadonlySet<string> = new Set([
  "date", "connection", "keep-alive", "content-length", "transfer-encoding", "x-request-id",
]); // biome-ignore format: a list
/** There or not there; the value varies. */
const presenceOnly: ReadonlySet<string> = new Set([
  "x-nomad-index", "x-nomad-lastcontact", "last-modified", "digest",
]); // biome-ignore format: a list

const headersOf = ({ headers }: Answer): ReadonlyMap<string, string> =>
  new Map(
    headers
      .map(([name, value]): [string, string] => [name.toLowerCase(), value])
      .filter(([name]) => !perAnswer.has(name))
      .map(([name, value]) => [name, presenceOnly.has(name) ? "present" : value]),
  );

const headerDifferences = (nomad: Answer, serai: Answer): readonly Difference[] => {
  const [a, b] = [headersOf(nomad), headersOf(serai)];
  return [...new Set([...a.keys(), ...b.keys()])].map((name) => ({
    aspect: `header ${name}`,
    nomad: a.get(name) ?? "absent",
    serai: b.get(name) ?? "absent",
  }));
};

/* ---- bodies ---- */

const asJson = (text: string): Json | undefined => {
  try {
    return parseJson(text);
  } catch {
    return undefined;
  }
};

/** Members of answers to changes: ids and times of what was made. */
const made: ReadonlySet<string> = new Set([
  "EvalID", "EvalCreateIndex", "JobModifyIndex", "Index", "CreateIndex", "ModifyIndex", "CreateTime", "ModifyTime", "ID", "AccessorID", "SecretID",
  "Hash", "NodeModifyIndex", "EvalIDs", "DeploymentID", "OneTimeSecretID", "ExpiresAt", "DrainCompleteIndex",
]); // biome-ignore format: a list

/** The document with every value that does not count replaced by its kind. */
const formOf = (value: Json, counts: (name: string) => boolean, name = ""): Json => {
  if (Array.isArray(value))
    return made.has(name) ? "a list" : value.map((item) => formOf(item, counts, name));
  if (typeof value === "object" && value !== null)
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key, formOf(item, counts, key)]),
    );
  return counts(name) ? value : value === null ? null : typeof value;
};

/** Maps of samples have members of their own each time; a list of them its length. */
const sampleForm = (value: Json): Json => formOf(value, () => false);

const readBody = (row: Row, { body }: Answer, words: Readonly<Record<string, string>>): string => {
  const { reading = "answer" } = row;
  switch (reading) {
    case "frames":
      return contentOf(readFrames(body));
    case "follow":
      return contentOf(readFrames(body)).slice(0, 200);
    case "plain follow":
      return body.toString("latin1").slice(0, 200);
    case "events":
      return body.length > 0 ? "something" : "nothing";
    case "archive":
      return body.length > 1000
        ? `an archive, ${body.subarray(0, 2).toString("hex")}`
        : body.toString();
    case "answer":
    case "silent":
      if (row.changes !== true) return body.toString("latin1");
      return ["side", "mine"].reduce(
        (text, name) => text.replaceAll(words[name] ?? name, `{${name}}`),
        body.toString("latin1"),
      );
  }
};

const prepared = (row: Row, value: Json): Json => {
  if (row.samples === true) return sampleForm(value);
  return row.changes === true ? formOf(value, (name) => !made.has(name)) : value;
};

const uuid = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;
const dataDirectory = /\/\S+\/client-\d\/data\//g;

/** What is changed are two allocations, one for each side: they have ids of their own, and may be on different clients. */
const withoutPlace = (body: string): string =>
  body.replaceAll(uuid, "{id}").replaceAll(dataDirectory, "{data}/");

const bodyDifferences = (row: Row, nomad: string, serai: string): readonly Difference[] => {
  const [a, b] = [asJson(nomad), asJson(serai)];
  if (a === undefined || b === undefined) {
    const text = (body: string): string => (row.changes === true ? withoutPlace(body) : body);
    return [{ aspect: "body", nomad: text(nomad), serai: text(serai) }];
  }
  return compareJson(prepared(row, a), prepared(row, b), toMasks([])).map(
    ({ path, recorded, got }) => ({ aspect: path, nomad: recorded, serai: got }),
  );
};

const isUnlike = ({ nomad, serai }: Difference): boolean => nomad !== serai;

const differencesOf = (
  row: Row,
  world: World,
  nomad: Answer,
  serai: Answer,
  side: Side = "serai",
): readonly Difference[] =>
  [
    { aspect: "status", nomad: String(nomad.status), serai: String(serai.status) },
    { aspect: "end", nomad: nomad.end, serai: serai.end },
    ...headerDifferences(nomad, serai),
    ...bodyDifferences(
      row,
      readBody(row, nomad, world.words("nomad")),
      readBody(row, serai, world.words(side)),
    ),
  ].filter(isUnlike);

/* ---- together ---- */

const attempts = 3;

/** What is left when what Nomad itself changes between two answers is taken away. */
const steadyDifferences = async (row: Row, world: World): Promise<readonly Difference[]> => {
  const before = await askOf(row, world, "nomad");
  const through = await askOf(row, world, "serai");
  const after = await askOf(row, world, "nomad");
  const moving = new Set(
    differencesOf(row, world, before, after, "nomad").map(({ aspect }) => aspect),
  );
  return differencesOf(row, world, before, through).filter(({ aspect }) => !moving.has(aspect));
};

const changeDifferences = async (row: Row, world: World): Promise<readonly Difference[]> =>
  differencesOf(row, world, await askOf(row, world, "nomad"), await askOf(row, world, "serai"));

/** Asked again when something moved between the two; what makes things at the servers is asked once. */
export const compare = async (
  row: Row,
  world: World,
  isExpected: (difference: Difference) => boolean,
): Promise<readonly Difference[]> => {
  const differences = row.changes === true ? changeDifferences : steadyDifferences;
  const mayAsk = row.changes === true && row.carried !== true ? 1 : attempts;
  let found = await differences(row, world);
  for (let asked = 1; asked < mayAsk && !found.every(isExpected); asked += 1)
    found = await differences(row, world);
  return found;
};
