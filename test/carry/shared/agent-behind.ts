/** The agent's real log route over HTTP behind a real front. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createFileHandlers } from "../../../src/agent/files/handlers.ts";
import { writeError } from "../../../src/answer.ts";
import { toGatewayError } from "../../../src/errors.ts";
import { logsParameters, parseQuery } from "../../../src/parameters.ts";
import { temporaryAllocation } from "../../agent/files/support.ts";
import { get, parseAnswer, type RawClient, rawClient } from "../../support/raw-client.ts";
import { framesIn } from "../../support/watchers.ts";
import { allocationId, type FrontOptions, front, nodeAt, pathOf } from "../front.ts";

export const agentBehind = async (options: Partial<FrontOptions> = {}) => {
  const allocation = await temporaryAllocation("web");
  const files = { ...allocation, id: allocationId };
  const handlers = createFileHandlers();
  const follows = new Set<ServerResponse>();
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const [, query = ""] = (request.url ?? "").split("?");
    const { signal } = new AbortController();
    follows.add(response);
    response.once("close", () => follows.delete(response));
    try {
      await handlers["fs.logs"](files, logsParameters(parseQuery(query)), response, signal);
    } catch (error) {
      if (response.headersSent) response.destroy();
      else writeError(response, toGatewayError(error));
    }
  };
  const server = createServer((request, response) => void answer(request, response));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const at = server.address();
  const port = typeof at === "object" && at !== null ? at.port : 0;
  const gate = await front({ route: "fs.logs", node: nodeAt(`127.0.0.1:${port}`), ...options });
  const clients: RawClient[] = [];
  return {
    gate,
    /** Open at the agent. */
    follows,
    log: allocation.at("alloc/logs/web.stdout.0"),
    watch(query = "") {
      const client = rawClient(gate.port, get(`${pathOf("fs.logs")}&${query}`));
      clients.push(client);
      const body = (): Buffer => parseAnswer(client.received()).body;
      const frames = () => framesIn(body());
      return {
        client,
        frames,
        data: (): Buffer =>
          query.includes("plain=true")
            ? body()
            : Buffer.concat(
                frames().map(({ Data: data }) => Buffer.from(`${data ?? ""}`, "base64")),
              ),
      };
    },
    async [Symbol.asyncDispose]() {
      for (const { socket } of clients) socket.destroy();
      await gate[Symbol.asyncDispose]();
      server.closeAllConnections();
      server.close();
      await allocation[Symbol.asyncDispose]();
    },
  };
};
