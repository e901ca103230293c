/** Whole files and parts of them: no total deadline, an idle one on either side. */
import { type Carrying, deadlineMsOf, type HttpCarriage } from "./carriage.ts";
import { rangeAsked, ranged } from "./range.ts";
import { type StreamTerms, stream } from "./stream.ts";

const termsOf = (carrying: Carrying): StreamTerms => ({
  deadlineMs: deadlineMsOf(carrying),
  silenceMs: carrying.limits.downloadSilenceMs,
  stallMs: carrying.limits.stallMs,
  live: false,
});

const rangeable = { "Accept-Ranges": "bytes" };

export const download: HttpCarriage = (carrying) => {
  const terms = termsOf(carrying);
  if (carrying.exchange.route.name !== "fs.cat") return stream(carrying, terms);
  const asked = rangeAsked(carrying);
  const cat = { ...terms, headers: rangeable };
  return asked === undefined ? stream(carrying, cat) : ranged(carrying, cat, asked);
};
