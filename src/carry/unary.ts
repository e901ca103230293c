/** Short calls: the answer is whole before a byte of it is sent, so a broken agent is a 502, never a torn body. */
import { ask } from "./ask.ts";
import { deadlineMsOf, type HttpCarriage } from "./carriage.ts";
import { collect } from "./collect.ts";
import { agentRequest } from "./request.ts";

export const unary: HttpCarriage = (carrying) => {
  const { exchange, reach, tally } = carrying;
  const request = agentRequest(exchange, reach.node);
  if (request.body !== undefined) tally.bytesIn = Buffer.byteLength(request.body);
  const terms = {
    reach,
    signal: exchange.signal,
    deadlineMs: deadlineMsOf(carrying),
    silenceMs: 0,
  };
  return ask(request, terms, collect(carrying, "document"));
};
