/** Cases that are not asked again, each with the reason. A reason that fits no case is an error. */
import { type Case, type FileName, pathOf, type Via } from "./corpus.ts";

export interface LeftOut {
  readonly files?: readonly FileName[];
  readonly via?: Via;
  readonly names?: RegExp;
  readonly paths?: RegExp;
  /** Fits what the request's headers hold. */
  readonly headers?: RegExp;
  readonly why: string;
}

export const leftOut: readonly LeftOut[] = [
  {
    via: "other-agent",
    why: "an agent of serai answers for itself alone: nothing is asked of an agent that does not own it",
  },
  {
    paths: /\/action$/,
    why: "job actions: a workload of serai's agent has no actions, and the gateway does not serve the route",
  },
  {
    paths: /^\/v1\/(event\/stream|agent\/(monitor|host|pprof))/,
    why: "the event stream and an agent's own log, host and profile are not served",
  },
  {
    paths: /^\/v1\/client\/identity/,
    why: "node identities belong to Nomad's servers and its own agents",
  },
  { paths: /\/snapshot$/, why: "disk migration between Nomad's agents is not served" },
  {
    files: ["servers", "transport", "companions"],
    via: "agent",
    paths:
      /^\/v1\/(allocations|%61llocations|allocation\/[^/]*(\/services|\/stop)?|nodes|node\/[^/]*|regions|namespaces|status\/.*|acl\/.*|agent\/(members|servers)|search|jobs|job\/.*)$|^\/v1\/node\/.+\/(allocations|nope)$/,
    why: "a Nomad agent relays what only servers know; serai's agent answers what it owns, and callers ask the gateway",
  },
  {
    names: /^killed while .* of 40 MiB/,
    why: "a node that dies under a download is played, reader and byte, in test/carry",
  },
  {
    files: ["servers"],
    names: /(next_token of the last page|second page|filter on HTTPAddr)$/,
    why: "the request itself names an index or an address of the recorded cluster",
  },
  {
    files: ["companions"],
    names:
      /^(evaluation|evaluations|jobs?|job .*|node allocations|nodes|node|search: (allocs|nodes|jobs|all)|namespaces?)\b.*/,
    why: "recorded on another cluster with other jobs; asked again over those documents in test/registry/answers",
  },
];

const fits = (one: Case, rule: LeftOut): boolean => {
  const path = pathOf(one);
  return (
    (rule.files?.includes(one.file) ?? true) &&
    (rule.via === undefined || rule.via === one.via) &&
    (rule.names?.test(one.name) ?? true) &&
    (rule.paths?.test(path) ?? true) &&
    (rule.headers?.test(JSON.stringify(one.request.headers ?? [])) ?? true)
  );
};

export const leftOutBy = (one: Case): LeftOut | undefined =>
  leftOut.find((rule) => fits(one, rule));
