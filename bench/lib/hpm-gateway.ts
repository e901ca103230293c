/** The gateway of twenty lines that a team writes first: express and http-proxy-middleware. `node hpm-gateway.ts <origin>`. */
import { Agent } from "node:http";
import express from "express";
import { createProxyMiddleware } from "http-proxy-middleware";

const app = express();
app.use(
  createProxyMiddleware({
    target: process.argv[2] ?? "",
    agent: new Agent({ keepAlive: true, maxSockets: 128 }),
  }),
);
const server = app.listen(0, "127.0.0.1", () => {
  const address = server.address();
  process.send?.({ port: typeof address === "object" ? address?.port : 0 });
});
process.once("disconnect", () => process.exit());
