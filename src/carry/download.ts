/** Whole files and parts of them: no total deadline, an idle one on either side. */
import { deadlineMsOf, type HttpCarriage } from "./carriage.ts";
import { stream } from "./stream.ts";

export const download: HttpCarriage = (carrying) =>
  stream(carrying, {
    deadlineMs: deadlineMsOf(carrying),
    silenceMs: carrying.limits.downloadSilenceMs,
    stallMs: carrying.limits.stallMs,
    live: false,
  });
