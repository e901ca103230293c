/** Whole files and parts of them: no total deadline, an idle one on either side. */
import { type Carrying, deadlineMsOf, type HttpCarriage } from "./carriage.ts";
import { rangeAsked, ranged } from "./range.ts";
import { copy, type StreamTerms, stream } from "./stream.ts";
import { createTagged } from "./tagged.ts";

const termsOf = (carrying: Carrying): StreamTerms => ({
  deadlineMs: deadlineMsOf(carrying),
  silenceMs: carrying.limits.downloadSilenceMs,
  stallMs: carrying.limits.stallMs,
  live: false,
});

const rangeable = { "Accept-Ranges": "bytes" };

export const createDownload = (): HttpCarriage => {
  const tagged = createTagged();

  const whole = async (carrying: Carrying, terms: StreamTerms): Promise<void> => {
    const listener = tagged(carrying, copy(carrying, terms));
    try {
      await stream(carrying, terms, listener);
    } finally {
      listener.stop();
    }
  };

  return (carrying) => {
    const terms = termsOf(carrying);
    if (carrying.exchange.route.name !== "fs.cat") return stream(carrying, terms);
    const asked = rangeAsked(carrying);
    const cat = { ...terms, headers: rangeable };
    return asked === undefined ? whole(carrying, cat) : ranged(carrying, cat, asked);
  };
};
