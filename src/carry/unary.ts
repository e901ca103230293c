/** Short calls: the answer is whole before a byte of it is sent, so a broken agent is a 502, never a torn body. */
import { ask } from "./ask.ts";
import { deadlineMsOf, type HttpCarriage } from "./carriage.ts";
import { collect } from "./collect.ts";
import { cut, delivered } from "./cut.ts";
import { agentRequest } from "./request.ts";

/** Above this the caller's reading speed matters. */
const smallBytes = 64 * 1024;

export const unary: HttpCarriage = async (carrying) => {
  const { exchange, reach, tally, response, limits } = carrying;
  const request = agentRequest(exchange, reach.node);
  if (request.body !== undefined) tally.bytesIn = Buffer.byteLength(request.body);
  const terms = {
    reach,
    signal: exchange.signal,
    deadlineMs: deadlineMsOf(carrying),
    silenceMs: 0,
  };
  await ask(request, terms, collect(carrying, "document"));
  if (tally.bytesOut <= smallBytes) return;
  try {
    await delivered(response, exchange.signal, limits.stallMs);
  } catch (error) {
    cut(response);
    throw error;
  }
};
