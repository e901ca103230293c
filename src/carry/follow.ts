/** Followed files and logs: endless, flushed piece by piece. */
import type { Parameters } from "../parameters.ts";
import { deadlineMsOf, type HttpCarriage } from "./carriage.ts";
import { stream } from "./stream.ts";

/** A plain followed log has no heartbeat: Nomad sends not even a head until the task writes (nomad-http.md §8.7). */
const isSilent = ({ plain, follow }: Parameters): boolean => plain === true && follow === true;

export const follow: HttpCarriage = (carrying) => {
  const silent = isSilent(carrying.exchange.parameters);
  return stream(carrying, {
    deadlineMs: silent ? undefined : deadlineMsOf(carrying),
    silenceMs: silent ? 0 : carrying.limits.followSilenceMs,
    stallMs: carrying.limits.followStallMs,
    live: true,
  });
};
