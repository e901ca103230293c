/**
 * Where an answer through serai may differ from that of the cluster it stands in front of, and why. docs/compatibility.md
 * says the same: `rows of docs` names a row of its tables, the others are the table of clusters, made of this list.
 * A row that fits nothing any more is an error.
 */
import type { Difference } from "./compare.ts";
import type { Row } from "./requests.ts";

type Change = readonly [aspect: RegExp, serai?: RegExp, nomad?: RegExp];

export interface Permitted {
  readonly nomad: string;
  readonly serai: string;
  /** It stands in a table of docs/compatibility.md that other tests made. */
  readonly known?: true;
  readonly names?: RegExp;
  readonly paths?: RegExp;
  readonly changes: readonly Change[];
}

const anything = /^/;
const absent = /^absent$/;

export const permitted: readonly Permitted[] = [
  {
    known: true,
    nomad: "`cat` and `readat` answer every refusal with 200 and its text as the file's content",
    serai: "the status that was meant: 400, 403, 404 or 500, with the same text",
    paths: /^\/v1\/client\/fs\/(cat|readat)\//,
    changes: [[/^status$/, /^(400|403|404|500)$/, /^200$/]],
  },
  {
    known: true,
    nomad: "`Range` is ignored: a download that broke begins anew",
    serai: "`cat` answers one range with 206 or 416, and heeds `If-Range`",
    paths: /^\/v1\/client\/fs\/cat\//,
    changes: [[/^header accept-ranges$/, /^bytes$/, absent]],
  },
  {
    known: true,
    nomad: "a refused token is 403, 500, 1008 or 200, by route and hop, and the text tells why",
    serai: "403 `Permission denied` everywhere, close 1011 `Permission denied` on exec",
    changes: [
      [/^status$/, /^403$/, /^500$/],
      [/^body$/, /^Permission denied$/, /Permission denied|token/],
      [/^close$/, /Permission denied/],
    ],
  },
  {
    known: true,
    nomad: "only a file that has bytes carries the headers that keep a browser from running it",
    serai: "every answer with bytes of a file or log carries them, refusals included",
    paths: /^\/v1\/client\/fs\/(cat|readat|stream|logs)\//,
    changes: [[/^header (content-security-policy|x-xss-protection)$/, anything, absent]],
  },
  {
    known: true,
    nomad: "after the exit frame of an exec the connection just ends",
    serai: "Close 1000 follows the exit frame",
    names: /^exec: /,
    changes: [[/^close$/, /^1000 $/, /^1006 $/]],
  },
  {
    nomad: "an answer about a file may be kept by a cache and held by a proxy on its way",
    serai: "`Cache-Control: no-store` on files and logs, `X-Accel-Buffering: no` on what is followed",
    paths: /^\/v1\/client\/fs\//,
    changes: [
      [/^header cache-control$/, /^no-store$/, absent],
      [/^header x-accel-buffering$/, /^no$/, absent],
    ],
  },
  {
    nomad: "a refusal is a text",
    serai: "it also has `X-Serai-Error`, its code, `X-Serai-Node` where a node refused, and `X-Content-Type-Options: nosniff`",
    changes: [[/^header x-(serai-error|serai-node|content-type-options)$/, anything, absent]],
  },
  {
    nomad: "`/v1/node/:id` shows where the node's agent is",
    serai: "`HTTPAddr` is the address the caller used, unless `nomad.mask_address` is off",
    paths: /^\/v1\/node\/[^/]+$/,
    changes: [[/^\/HTTPAddr$/]],
  },
]; // biome-ignore format: rows

const covers = ({ changes }: Permitted, { aspect, serai, nomad }: Difference): boolean =>
  changes.some(
    ([of, got = anything, recorded = anything]) =>
      of.test(aspect) && got.test(serai) && recorded.test(nomad),
  );

/** The row that permits a difference; undefined: it is not expected. */
export const permittedBy = (
  { name, path }: Pick<Row, "name" | "path">,
  difference: Difference,
): Permitted | undefined => {
  const [bare = ""] = path.split("?");
  return permitted.find(
    (row) =>
      (row.names?.test(name) ?? true) && (row.paths?.test(bare) ?? true) && covers(row, difference),
  );
};
