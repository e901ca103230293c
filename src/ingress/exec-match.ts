/** Which upgrades are WebSockets: those on the rows of the route table that say so. */
import type { IncomingMessage } from "node:http";
import { asksForWebSocket } from "../http/upgrade.ts";
import { parseQuery, type RawQuery } from "../parameters.ts";
import { type Route, routes } from "../routes.ts";
import { readTarget } from "./target.ts";

const rows = routes.filter(({ carriage }) => carriage === "websocket");

export interface Match {
  readonly route: Route;
  readonly key: string;
  readonly raw: RawQuery;
}

/** The row of a target; undefined when none has it. Throws `bad_request` for a target that is none. */
export const matchRow = (url: string): Match | undefined => {
  const target = readTarget(url);
  if (target.kind === "redirect") return undefined;
  const segments = target.path.split("/");
  for (const route of rows) {
    const template = route.path.split("/");
    if (template.length !== segments.length) continue;
    const at = template.indexOf(":id");
    if (template.every((part, index) => index === at || part === segments[index]))
      return { route, key: decodeURIComponent(segments[at] ?? ""), raw: parseQuery(target.query) };
  }
  return undefined;
};

/** For node:http's `shouldUpgradeCallback`: any other upgrade is ignored and answered as plain HTTP, as Nomad does. */
export const isExecUpgrade = (request: IncomingMessage): boolean => {
  if (!asksForWebSocket(request)) return false;
  try {
    return matchRow(request.url ?? "") !== undefined;
  } catch {
    return false; // a bad target is refused by the edge, in HTTP
  }
};
