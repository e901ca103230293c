/** Where an answer may differ from the recorded one, and why. Paths are of the document, `*` any member or item. */

export interface Difference {
  /** A case's name, or a pattern of names. */
  readonly of: RegExp;
  /** What is not compared, `""` the whole document; absent: the case is not replayed here. */
  readonly paths?: readonly string[];
  readonly why: string;
}

// biome-ignore format: a table
export const differences: readonly Difference[] = [
  { of: /: (POST|HEAD|OPTIONS|GET)$/, why: "the method is refused at the edge, before any answer" },
  { of: /trailing slash|unknown sub-route$/, why: "the edge redirects or answers" },
  { of: /repeated parameter/, why: "a parameter that decides something and is given twice is a 400 (on purpose)" },
  { of: /^job summary$/, paths: ["/ModifyIndex"], why: "a job is told from the allocations that carry it" },
  { of: /^job versions$/, paths: ["/Index", "/Versions/*/ModifyIndex", "/Versions/*/Stable"], why: "a job is told from the allocations that carry it" },
  { of: /^job deployments$/, paths: [""], why: "no scheduler makes deployments here" },
  { of: /a restart ends the wait|blocked read woken/, why: "blocking.test.ts changes a document while a query waits" },
  { of: /^node: (read|upper-case id|index in the future)/, paths: ["/HTTPAddr"], why: "masked with the authority that the caller used (on purpose); mask.test.ts" },
  { of: /^allocation services: with namespace$/, paths: ["/*/CreateIndex", "/*/ModifyIndex"], why: "registrations are told from the allocation and have no table of their own" },
  { of: /^stop: (success|dead)/, paths: ["/EvalID", "/Index"], why: "a new evaluation each time" },
  { of: /^agent\/self$/, paths: [""], why: "the gateway's own configuration; agent.test.ts says what clients read of it" },
  { of: /^agent.members$/, paths: ["/Members/*/Port", "/Members/*/Tags/id"], why: "one address for everything; no gossip port, no server id" },
  { of: /^namespaces(: prefix)?$/, paths: ["/*/Description", "/*/Hash", "/*/CreateIndex", "/*/ModifyIndex"], why: "namespaces exist by their allocations and are not described" },
  { of: /^jobs: /, paths: ["/*/ModifyIndex", "/*/JobSummary/ModifyIndex"], why: "a job is told from the allocations that carry it" },
  { of: /^job$/, paths: ["/ModifyIndex", "/Stable"], why: "a job is told from the allocations that carry it" },
  { of: /^search: jobs$/, paths: ["/Index"], why: "jobs have the index of the allocations' table" },
];
