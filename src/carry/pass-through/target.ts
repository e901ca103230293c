/**
 * The target of a request that is passed on. It goes as it was sent, since the servers' own rules decide about `//` and
 * `%2F`; only what could lead two readers to different paths is refused. What the gateway has to know of it is read from
 * the decoded path, as Nomad reads it. Pure.
 */
import { GatewayError } from "../../errors.ts";
import { decodePercent } from "../../lib/percent.ts";
import { commonParameters, parseQuery } from "../../parameters.ts";

/** What needs care on its way. `action` may become a WebSocket. */
export type Kind = "node" | "events" | "action" | "ui" | "plain";

export interface PassTarget {
  /** Path and query for the server. */
  readonly path: string;
  readonly kind: Kind;
}

export const isSocket = (kind: Kind): boolean => kind === "action";

const maxTargetLength = 16 * 1024;
const schemeAndAuthority = /^https?:\/\/[^/?#]*/i;
const forbidden = ["\\", "\0", "\r", "\n"];

const kinds: readonly (readonly [pattern: RegExp, kind: Kind])[] = [
  [/^\/v1\/node\/[^/]+$/, "node"],
  [/^\/v1\/event\/stream$/, "events"],
  [/^\/v1\/job\/.+\/action$/, "action"],
  [/^\/v1\/client\/allocation\/[^/]+\/exec$/, "action"], // in another region
  [/^\/ui(?:\/|$)/, "ui"],
];

const refuse = (text: string): GatewayError => new GatewayError("bad_request", { text });

const decoded = (raw: string): string => {
  const path = decodePercent(raw);
  if (path === undefined) throw refuse("the path is not validly percent-encoded");
  if (forbidden.some((one) => path.includes(one)))
    throw refuse("the path holds a backslash or a control byte");
  if (path.split("/").includes("..")) throw refuse("the path holds a .. segment");
  return path;
};

const isDefaultRegion = (pair: string): boolean => parseQuery(pair).get("region")?.[0] === "global";

/** SDKs send `region=global` on a second hop when their user set none (nomad-clients.md §1.3). */
const withoutDefaultRegion = (query: string, region: string): string =>
  region === "global" || !query.includes("global")
    ? query
    : query
        .split("&")
        .filter((pair) => !isDefaultRegion(pair))
        .join("&");

/** What Go's `Atoi` takes for an index: anything else the event stream refuses by itself, before it reads the rest. */
const wholeNumber = /^[+-]?\d{1,18}$/;

/** Nomad answers these faults on the event stream with two heads in one answer (nomad-http.md §12). */
const checkEventQuery = (query: string): void => {
  const index = parseQuery(query).get("index")?.[0] ?? "";
  if (index !== "" && !wholeNumber.test(index)) return;
  const firsts = [...parseQuery(query)].map(
    ([name, values]) => [name, values.slice(0, 1)] as const,
  );
  commonParameters(new Map(firsts));
};

/** Throws `bad_request`, and Nomad's 400 for an event stream's bad parameters. */
export const readPassTarget = (url: string, region: string): PassTarget => {
  if (url.length > maxTargetLength)
    throw refuse(`the request target is longer than ${maxTargetLength} bytes`);
  const target = url.replace(schemeAndAuthority, "");
  const mark = target.indexOf("?");
  const raw = mark < 0 ? target : target.slice(0, mark);
  if (!raw.startsWith("/")) throw refuse("the request target must be a path that begins with /");
  const path = decoded(raw);
  const kind = kinds.find(([pattern]) => pattern.test(path))?.[1] ?? "plain";
  const sent = mark < 0 ? "" : target.slice(mark + 1);
  if (kind === "events") checkEventQuery(sent);
  const query = withoutDefaultRegion(sent, region);
  return { path: query === "" ? raw : `${raw}?${query}`, kind };
};
