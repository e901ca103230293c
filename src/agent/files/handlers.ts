/**
 * The agent's file routes, by route name. The caller has checked the token and parsed the parameters. A refusal is
 * thrown before the head is sent; a failure after it cuts the response, and is thrown too, for the log.
 */
import type { ServerResponse } from "node:http";
import { writeJson } from "../../answer.ts";
import { GatewayError } from "../../errors.ts";
import type {
  LogsParameters,
  LsParameters,
  PathParameters,
  ReadAtParameters,
  StreamParameters,
} from "../../parameters.ts";
import type { FilesOf } from "./content.ts";
import { describe, list } from "./documents.ts";
import { download } from "./download.ts";
import { contentRefusal, documentRefusal, PathFault } from "./fault.ts";
import { createShared } from "./follow.ts";
import { logs } from "./logs.ts";
import { stream } from "./stream.ts";

export interface FileOptions {
  readonly pretty?: boolean;
}

/** Resolves when the answer is written, or its reader or signal has gone. */
export type FileHandler<Parameters> = (
  allocation: FilesOf,
  parameters: Parameters,
  response: ServerResponse,
  signal: AbortSignal,
  options?: FileOptions,
) => Promise<void>;

export interface FileHandlers {
  readonly "fs.ls": FileHandler<LsParameters>;
  readonly "fs.stat": FileHandler<PathParameters>;
  readonly "fs.cat": FileHandler<PathParameters>;
  readonly "fs.readat": FileHandler<ReadAtParameters>;
  readonly "fs.stream": FileHandler<StreamParameters>;
  readonly "fs.logs": FileHandler<LogsParameters>;
}

type Refusal = (fault: PathFault) => GatewayError;

/** An aborted answer is never ended politely: refused while it can be, cut after that. */
const endAborted = (response: ServerResponse, signal: AbortSignal): void => {
  if (!signal.aborted || response.writableEnded) return;
  if (!response.headersSent && !response.destroyed && signal.reason instanceof GatewayError)
    throw signal.reason;
  response.destroy();
};

const guarded =
  <P>(refusal: Refusal, handler: FileHandler<P>): FileHandler<P> =>
  async (allocation, parameters, response, signal, options) => {
    try {
      if (!signal.aborted) await handler(allocation, parameters, response, signal, options);
    } catch (error) {
      if (response.headersSent) response.destroy();
      throw error instanceof PathFault ? refusal(error) : error;
    }
    endAborted(response, signal);
  };

/** Watchers, polls and beats are shared by all answers of one set of handlers and end with the last of them. */
export const createFileHandlers = (): FileHandlers => {
  const shared = createShared();
  return {
    "fs.ls": guarded(documentRefusal, async (allocation, { path }, response, _signal, options) =>
      writeJson(response, await list(allocation, path), options),
    ),
    "fs.stat": guarded(
      documentRefusal,
      async (allocation, { path }, response, _signal, options) => {
        const { info, headers } = await describe(allocation, path);
        writeJson(response, info, { ...options, headers });
      },
    ),
    "fs.cat": guarded(contentRefusal, (allocation, { path }, response, signal) =>
      download(allocation, { path, offset: 0n, limit: 0n }, response, signal),
    ),
    "fs.readat": guarded(contentRefusal, download),
    "fs.stream": guarded(contentRefusal, (allocation, parameters, response, signal) =>
      stream(allocation, parameters, response, signal, shared),
    ),
    "fs.logs": guarded(contentRefusal, (allocation, parameters, response, signal) =>
      logs(allocation, parameters, response, signal, shared),
    ),
  };
};
