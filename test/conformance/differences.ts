/**
 * Where an answer of serai may differ from the recorded one of Nomad, and why. Each row says what differs and what
 * stands there instead; a row that fits no answer any more is an error, so the list stays true. docs/compatibility.md is
 * made of it.
 */
import { type Case, type FileName, pathOf, type Via } from "./corpus.ts";
import type { Difference } from "./replay.ts";

export type Kind = "better" | "choice" | "agent" | "documents" | "cluster";

/** What differs: an aspect, and optionally what was recorded and what is got. */
type Change = readonly [aspect: RegExp, got?: RegExp, recorded?: RegExp];

export interface Permitted {
  readonly kind: Kind;
  /** What Nomad does, in a few words. */
  readonly nomad: string;
  /** What serai does instead. */
  readonly serai: string;
  readonly files?: readonly FileName[];
  readonly via?: Via;
  readonly names?: RegExp;
  readonly paths?: RegExp;
  readonly changes: readonly Change[];
  /** On every answer of a door or a kind of route: not counted as a case's own difference. */
  readonly wide?: true;
}

const anything = /^/;
const status = /^status$/;
const body = /^body$/;
const close = /^close$/;
const contentType = /^header content-type$/;
const refusedToken = /^(1011 )?Permission denied$/;
const tokenWords =
  /^(1008 )?(rpc error: )?(Permission denied|ACL token expired|failed to parse signed token.*)$/;
const corsHeaders = /^header (access-control-.*|vary)$/;
const empty = /^$/;

export const differences: readonly Permitted[] = [
  // better on purpose
  {
    kind: "better",
    nomad: "`cat` and `readat` answer every refusal with 200 and its text as the file's content",
    serai: "the status that was meant: 400, 403, 404 or 500, with the same text",
    paths: /^\/v1\/client\/fs\/(cat|readat)\//,
    changes: [[status, /^(400|403|404|500|502)$/, /^200$/]],
  },
  {
    kind: "better",
    nomad: "`Range` is ignored: a download that broke begins anew",
    serai: "`cat` answers one range with 206 or 416, and heeds `If-Range`",
    names: /^cat: Range is ignored$/,
    changes: [
      [status, /^206$/, /^200$/],
      [body, /^el$/],
    ],
  },
  {
    kind: "better",
    nomad: "a refused token is 403, 500, 1008 or 200, by route and hop, and the text tells why",
    serai: "403 `Permission denied` everywhere, close 1011 `Permission denied` on exec",
    changes: [
      [status, /^403$/, /^500$/],
      [body, refusedToken, tokenWords],
      [close, refusedToken, tokenWords],
    ],
  },
  {
    kind: "better",
    nomad: "the exit frame of an exec without terminal waits until stdin is closed or written to",
    serai: "it comes as soon as the process has ended and its output was sent",
    files: ["exec"],
    names: /^stdin left open/,
    changes: [
      [/^closed$/, /^stdout stderr$/],
      [/^exit$/, /exited/],
    ],
  },
  {
    kind: "better",
    nomad: "after the exit frame of an exec the connection just ends",
    serai: "Close 1000 follows the exit frame",
    changes: [[close, /^1000$/, /^none$/]],
    wide: true,
  },
  {
    kind: "better",
    nomad: "`stdin` `close` on a terminal hangs it up (exit 129) or wedges the session",
    serai: "it is the end of input",
    files: ["exec"],
    names: /^tty: stdin close$|^tty=1$/,
    changes: [[/^(stdout|closed|exit)$/]],
  },
  {
    kind: "better",
    nomad: "a bad message to an exec is noticed when the command next writes, if it ever does",
    serai: "it is noticed at once: the session is closed with the same code and text",
    files: ["exec"],
    names: /^bad input frame/,
    changes: [[/^(stdout|closed|exit)$/], [close, /^1011 /, /^none$/]],
  },
  {
    kind: "better",
    nomad: "an exec refused with more than 123 bytes of text has no Close frame at all",
    serai: "the Close frame holds as much of the text as fits",
    files: ["exec"],
    names: /^error text above 123 bytes/,
    changes: [[close, /^1011 /]],
  },
  {
    kind: "better",
    nomad: "any request with upgrade headers becomes a WebSocket, and its answer is lost",
    serai: "only exec is upgraded; other routes answer as if they had not been asked to",
    files: ["exec"],
    names: /^upgrade on /,
    changes: [[status, anything, /^101$/], [body]],
  },
  {
    kind: "better",
    nomad: "node-bound routes do not find an id in upper case; lists and server reads do",
    serai: "an id is the same in any case, everywhere",
    names: /in upper case$/,
    changes: [[status, /^200$/, /^404$/], [contentType, /json/], [body]],
  },
  {
    kind: "better",
    nomad:
      "client routes answer a bad `wait`, `index`, `stale` or `per_page` with 400 and the document after the text",
    serai: "400 with the text alone",
    names: /: bad (wait|stale|index|per_page)/,
    changes: [[body]],
  },
  {
    kind: "better",
    nomad: "of a repeated parameter the first counts",
    serai: "one that decides something may not be repeated: 400",
    names: /repeated parameter/,
    changes: [[status, /^400$/], [/^header /], [body]],
  },
  {
    kind: "better",
    nomad: "the `Offset` of a frame may lie beyond the file's end after full 64 KiB frames",
    serai: "it is the position after the data, always",
    names: /^stream: follow=false, 150000 bytes$/,
    changes: [[/^last offset$/, /^150000$/]],
  },
  {
    kind: "better",
    nomad: "a plain log that is followed sends no head until there is data",
    serai: "the head comes as soon as the log is open",
    names: /^logs: follow plain, idle/,
    changes: [[status, /^200$/, /^none$/]],
  },
  {
    kind: "better",
    nomad: "only a file that has bytes carries the headers that keep a browser from running it",
    serai: "every answer with bytes of a file or log carries them, refusals included",
    paths: /^\/v1\/client\/fs\/(cat|readat|stream|logs)\//,
    changes: [[/^header (content-security-policy|x-xss-protection)$/, anything, /^absent$/]],
    wide: true,
  },
  {
    kind: "better",
    nomad: "a failure after the head is appended to the body, which then ends as if it were whole",
    serai: "the body is cut: a reader sees that it is not whole",
    names: /the logs directory vanishes|^killed during/,
    changes: [[/^end$/, /^cut$/, /^whole$/], [/^text after the frames$/, empty], [body]],
  },
  {
    kind: "better",
    nomad: "when the node of an exec dies, the connection ends without a Close frame",
    serai: "close 1011 says which node was lost, and that the exit status is unknown",
    files: ["node-down"],
    names: /^killed during exec/,
    via: "server",
    changes: [[close, /^1011 /, /^none$/]],
  },
  {
    kind: "better",
    nomad: "a token in the `AuthToken` field of a request's body is taken",
    serai: "tokens are taken from headers and the exec handshake alone",
    names: /AuthToken field/,
    changes: [[status], [contentType], [body, refusedToken]],
  },
  {
    kind: "better",
    nomad: "allocation statistics are empty unless the client publishes metrics",
    serai: "the agent always answers with samples of running tasks",
    paths: /\/stats$/,
    changes: [[/^\/Tasks\/\w+$/, anything, /^nothing$/]],
  },
  {
    kind: "better",
    nomad: "a second gc soon after the first may be 200 once more",
    serai: "what is collected is not eligible: 500 with Nomad's text at once",
    names: /^after gc: gc again$/,
    changes: [[status, /^500$/], [contentType], [body, /not eligible for GC/]],
  },
  // our choice
  {
    kind: "choice",
    nomad: "answers are compressed when `Accept-Encoding` asks for gzip or deflate",
    serai: "answers are sent as they are (identity), which every client accepts",
    changes: [[/^coding$/, /^identity$/]],
  },
  {
    kind: "choice",
    nomad: "`..` in a path is cleaned with a redirect, an encoded slash is part of the id",
    serai: "both are refused: 400 with the reason",
    names: /^route: (dot-dot segment|encoded slash)/,
    via: "server",
    changes: [[status, /^400$/], [/^header /], [body, /^the path holds/]],
  },
  {
    kind: "choice",
    nomad: "`/` leads to the web UI",
    serai: "the gateway has no UI: `/` says what it is, `/ui/` is 404",
    names: /^route: (root|\/ui\/)/,
    changes: [[status], [/^header /], [body]],
  },
  {
    kind: "choice",
    nomad: "a request from a web page of another origin may change things, or read by POST",
    serai: "it is refused unless `http.allowed_origins` names the origin: 403 says so",
    via: "server",
    names: /Origin given|preflight for GET, client\/gc|^cors: POST with Origin$/,
    changes: [[status, /^403$/], [contentType], [body, /^cross-site request refused/]],
  },
  {
    kind: "choice",
    nomad: "answers that refuse an upgrade carry CORS headers",
    serai: "they carry none: no page may read them",
    files: ["exec"],
    names: /Origin|^version 12$|^bad key$|^upgrade by POST$/,
    via: "server",
    changes: [[corsHeaders]],
  },
  {
    kind: "choice",
    nomad: "`/v1/acl/tokens` is answered",
    serai: "it is not served: 404 without a body",
    paths: /^\/v1\/acl\/tokens$/,
    changes: [[status, /^404$/], [contentType], [body, empty]],
  },
  {
    kind: "choice",
    nomad: "`/v1/allocation/` with nothing after it is 500: the empty id is looked up",
    serai: "404 `resource not found`, as for every other path that has no id",
    names: /^allocation: empty id$/,
    changes: [
      [status, /^404$/],
      [body, /^resource not found$/],
    ],
  },
  {
    kind: "choice",
    nomad: "bytes that are no HTTP request, or an HTTP/2 preface, are refused in Go's words",
    serai: "the same status in other words, or without",
    names: /^raw: /,
    changes: [[contentType], [body]],
  },
  {
    kind: "choice",
    nomad: "a node whose agent died is `No path to node` (404) before its servers notice",
    serai:
      "until the node is called down, 502 says that it cannot be reached and why, and sets Retry-After",
    files: ["node-down"],
    names: /^just killed/,
    changes: [
      [status, /^502$/],
      [body, /cannot be reached|broke off/, /No path to node/],
      [close, /^1013 /, /No path to node/],
    ],
  },
  // the agent's own door
  {
    kind: "agent",
    nomad: "an agent answers browsers: CORS headers and preflights",
    serai: "an agent answers gateways; CORS is the gateway's matter",
    via: "agent",
    changes: [[corsHeaders]],
    wide: true,
  },
  {
    kind: "agent",
    nomad: "an agent answers preflights",
    serai: "an agent takes OPTIONS for any other method",
    via: "agent",
    names: /^cors: preflight/,
    changes: [[status], [contentType], [body]],
  },
  {
    kind: "agent",
    nomad: "an agent's redirect has a small HTML body",
    serai: "it has none",
    via: "agent",
    paths: /./,
    changes: [
      [contentType, /^absent$/, /html/],
      [body, empty, /Temporary Redirect/],
    ],
  },
  // documents
  {
    kind: "documents",
    nomad:
      "an allocation's job holds what the scheduler needs: constraints, update, migrate, templates, identities",
    serai:
      "a workload of serai's agent has no scheduler: these are null or zero, and there is no deployment and no score",
    paths: /^\/v1\/(allocations|%61llocations|allocation\/)/,
    changes: [
      [/^\/Job\//],
      [/^(\/\d+)?\/(DeploymentStatus|DesiredTransition)/],
      [/^\/Metrics\/ScoreMetaData/],
    ],
  },
  {
    kind: "documents",
    nomad: 'a check with `on_update = "ignore"` is one of readiness',
    serai: "the agent's checks have no such setting: all are of healthiness",
    changes: [[/^\/http-404\/Mode$/, /healthiness/]],
  },
  {
    kind: "documents",
    nomad: "`agent/self` shows Nomad's whole configuration",
    serai: "it shows the members that clients read",
    paths: /^\/v1\/agent\/self$/,
    changes: [[/^\/(config|stats|member)(\/|$)/]],
  },
  {
    kind: "documents",
    nomad: "the servers of `agent/members` are of Nomad's version",
    serai: "the one server is the gateway, of its own version",
    paths: /^\/v1\/agent\/members$/,
    changes: [[/^\/Members\/\d+\/Tags\/build$/]],
  },
  {
    kind: "documents",
    nomad: "a policy is HCL with a description, its hash is made of both",
    serai: "a policy is a file in Nomad's JSON form without description; `Rules` is that JSON",
    paths: /^\/v1\/(acl\/polic|namespaces)/,
    changes: [[/\/(Description|Hash|Rules|Raw)$/]],
  },
  {
    kind: "documents",
    nomad:
      "an allocation's directory also holds Nomad's own: fifos in `alloc/logs`, `executor.out`, `.nomad-mount`, `api.sock`",
    serai: "serai's agent has no such files",
    paths: /^\/v1\/client\/fs\/ls\//,
    names: /relative path without|task directory|secrets directory|private directory/,
    changes: [[/^\/(#|\d+\/)/]],
  },
  // what the recorded cluster was
  {
    kind: "cluster",
    nomad: "the recorded cluster ran more allocations, stopped and started between two cases",
    serai: "the cluster of this test runs those that the cases are about",
    files: ["servers"],
    names:
      /^allocations: (without task states$|filter, (ClientStatus|not$|any$)|reverse, per_page=2$|per_page=1 with a prefix of two)/,
    changes: [[/^\/#$/], [/^\/\d+\/(Name|TaskGroup)$/]],
  },
  {
    kind: "cluster",
    nomad: "the log had grown by restarts before these cases",
    serai: "it has what one start wrote",
    names: /^cors: logs with Origin$/,
    changes: [[/^content$/]],
  },
];

const fits = (row: Permitted, one: Case): boolean =>
  (row.files?.includes(one.file) ?? true) &&
  (row.via === undefined || row.via === one.via) &&
  (row.names?.test(one.name) ?? true) &&
  (row.paths?.test(pathOf(one)) ?? true);

const covers = (row: Permitted, { aspect, got, recorded }: Difference): boolean =>
  row.changes.some(
    ([of, gotWords = anything, recordedWords = anything]) =>
      of.test(aspect) && gotWords.test(got) && recordedWords.test(recorded),
  );

/** The row that permits a difference; undefined: it is not expected. */
export const permittedBy = (one: Case, difference: Difference): Permitted | undefined =>
  differences.find((row) => fits(row, one) && covers(row, difference));
