/** Asks a node's agent for its merged metadata. */
import { GatewayError } from "../../errors.ts";
import { isJsonObject, type Json, parseJson } from "../../lib/json.ts";
import { type Meta, toMeta } from "../meta.ts";
import type { AskAgent } from "./agent-client.ts";
import { bearer, type Session } from "./session.ts";

const headersTimeoutMs = 5_000;
const maxBytes = 1024 * 1024;

const parsed = (body: Buffer): Json | undefined => {
  try {
    return parseJson(body.toString());
  } catch {
    return undefined; // the agent's fault, told as one that is no metadata
  }
};

/** Throws GatewayError. */
export const askMetadata = async (
  ask: AskAgent,
  session: Session,
  signal: AbortSignal,
): Promise<Meta> => {
  const invalid = (reason: string): GatewayError =>
    new GatewayError("upstream_invalid", { node: session.name, reason });
  const { status, body } = await ask(
    session,
    {
      method: "GET",
      path: "/v1/client/metadata",
      headers: bearer(session),
      headersTimeoutMs,
      maxBytes,
    },
    signal,
  );
  if (status !== 200) throw invalid(`it answered ${status}`);
  const document = parsed(body);
  const meta = isJsonObject(document) ? toMeta(document["Meta"] ?? {}) : undefined;
  if (meta === undefined) throw invalid("it is no metadata");
  return meta;
};
