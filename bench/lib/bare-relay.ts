/** What carrying costs at the least: node:http in front, undici behind, and nothing between. `node bare-relay.ts <origin>`. */
import { createServer } from "node:http";
import { Pool } from "undici";

const pool = new Pool(process.argv[2] ?? "", { connections: 128 });

const server = createServer((request, response) => {
  const { url = "/", method = "GET", headers } = request;
  const token = headers["x-nomad-token"];
  pool
    .stream(
      { path: url, method: method as "GET", headers: { "x-nomad-token": String(token) } },
      ({ statusCode, headers: answered }) => response.writeHead(statusCode, answered),
    )
    .catch(() => response.destroy());
});
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  process.send?.({ port: typeof address === "object" ? address?.port : 0 });
});
process.once("disconnect", () => process.exit());
