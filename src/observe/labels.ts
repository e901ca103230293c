/** Closed sets of label values: whatever a caller or an agent sends, the number of series stays what it is. */
import type { Route } from "../routes.ts";

export type StreamKind = "download" | "follow" | "exec";
export type StreamEnd =
  | "eof"
  | "client"
  | "upstream"
  | "expired"
  | "revoked"
  | "drained"
  | "slow"
  | "error";

const methods: ReadonlySet<string> = new Set(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]);

export const methodLabel = (method: string): string => (methods.has(method) ? method : "OTHER");

const statuses: ReadonlyMap<number, string> = new Map([
  101, 200, 204, 206, 304, 307, 400, 401, 403, 404, 405, 408, 409, 413, 415, 416, 426, 429, 431, 499, 500, 501, 502, 503, 504,
].map((status) => [status, String(status)])); // biome-ignore format: a list

const classes: ReadonlySet<number> = new Set([1, 2, 3, 4, 5]);

const statusClass = (status: number): string => {
  const hundred = Math.floor(status / 100);
  return classes.has(hundred) ? `${hundred}xx` : "other";
};

/** A status as it is when it is a usual one, else its class: an agent may answer with any number. */
export const statusLabel = (status: number): string => statuses.get(status) ?? statusClass(status);

/** What matched no row of the route table. */
const unmatched = "unmatched";

export const routeLabel = (route: Route | undefined): string => route?.path ?? unmatched;

/** The right a route asks for, as its row says it. */
export const rightLabel = ({ rule }: Route): string => {
  switch (rule.on) {
    case "namespace":
      return rule.anyOf.join("|");
    case "node":
    case "agent":
      return `${rule.on}:${rule.level}`;
    case "answer":
    case "nobody":
      return rule.on;
  }
};

/** The kind of a route's stream; undefined when it answers at once. */
export const streamKindOf = ({ carriage }: Route): StreamKind | undefined => {
  switch (carriage) {
    case "download":
    case "follow":
      return carriage;
    case "websocket":
      return "exec";
    case "unary":
    case "registry":
      return undefined;
  }
};
