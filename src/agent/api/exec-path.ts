/** The one path of an agent that is a WebSocket. */
import type { IncomingMessage } from "node:http";
import { asksForWebSocket } from "../../http/upgrade.ts";

const execPath = /^\/v1\/client\/allocation\/([^/]+)\/exec$/;

const pathnameOf = (request: IncomingMessage): string =>
  (request.url ?? "").replace(/^https?:\/\/[^/?#]*/i, "").split("?", 1)[0] ?? "";

const decoded = (text: string): string | undefined => {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
};

/** The allocation id of an exec path; undefined on every other path. */
export const execIdOf = (request: IncomingMessage): string | undefined => {
  const id = decoded(execPath.exec(pathnameOf(request))?.[1] ?? "");
  return id === undefined || id === "" || id.includes("/") ? undefined : id;
};

/** Only `Upgrade: websocket` on the exec route is an upgrade; everything else is answered as plain HTTP. */
export const isExecUpgrade = (request: IncomingMessage): boolean =>
  asksForWebSocket(request) && execIdOf(request) !== undefined;
