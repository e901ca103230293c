/**
 * Which region a request is for. SDKs send `region=global` on a second hop when their user set none (nomad-clients.md §1.3),
 * so that `global` always counts as the gateway's own.
 */
import { failed } from "../errors.ts";
import { queryOf } from "../http/query.ts";

const isOwn = (asked: string | undefined, own: string): boolean =>
  asked === undefined || asked === "" || asked === own || asked === "global";

/** Nomad's words, where there is nobody to hand the request on to. */
export const checkRegion = (asked: string | undefined, own: string): void => {
  if (!isOwn(asked, own)) throw failed("No path to region");
};

/** True when the target names another region: its servers know the way. What cannot be read is refused by the row. */
export const isElsewhere = (url: string, own: string): boolean => {
  if (!url.includes("region=")) return false;
  try {
    const asked = queryOf(url).get("region") ?? [];
    return asked.length === 1 && !isOwn(asked[0], own);
  } catch {
    return false;
  }
};
